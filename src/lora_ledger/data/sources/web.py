"""Plain HTTP with the standard library: one request, or one file with resumption and patience.

In: an address. Out: a status, or a file whose bytes nobody has checked yet. `sources` of kind url
load their files with it, and both url and hub ask with it whether an address answers. Only the
standard library is imported, since the workflow asks before any job has its environment.
It knows neither hashes nor hubs, and sends no credentials of its own.
"""

from __future__ import annotations

import email.utils
import http.client
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .cache import SourceError

TRIES = 5
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
WAIT_SECONDS = 120.0
"""For each step of a connection: a machine that is busy is slow itself."""
CHUNK = 1 << 20
AGENT = "lora-ledger"
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)
REASONS = http.client.responses


class NoAnswer(Exception):
    """Nothing answered at an address; the message says why."""


class Late(NoAnswer):
    """Nothing came in time, which says nothing about the address: this machine may be busy."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: following it could carry a token to another host."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def ask(
    url: str,
    method: str = "HEAD",
    headers: Mapping[str, str] | None = None,
    *,
    follow: bool = True,
    limit: int = 0,
) -> tuple[int, bytes]:
    """The status and at most `limit` bytes of one answer, whatever the status.

    Raises Late when none came within WAIT_SECONDS for each step, and NoAnswer when there is nobody
    to answer.
    """
    opener = urllib.request.build_opener(*([] if follow else [_Stay]))
    request = urllib.request.Request(
        url, method=method, headers={"User-Agent": AGENT, **(headers or {})}
    )
    try:
        with opener.open(request, timeout=WAIT_SECONDS) as answer:
            return answer.status, answer.read(limit) if limit else b""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, http.client.HTTPException) as error:
        late = isinstance(getattr(error, "reason", error), TimeoutError)
        raise (Late if late else NoAnswer)(_words(error)) from error


def download(url: str, partial: Path, what: str) -> bool:
    """Complete `partial` from an address; True when its first bytes came from an earlier call.

    A connection that breaks is taken up where it broke, as is a file that an earlier process left.
    Answers 408, 429 and 5xx are waited for with growing pauses, or as long as Retry-After says;
    TRIES failures with no new byte in between, or any other status, raise SourceError.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.exists() and partial.stat().st_size > 0
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        wait: float | None = None
        try:
            if _append(url, partial, what):
                return resumed
            reason = "the connection ended before the file did"
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and before:
                    # Nothing lies beyond what is here: it is complete, or of another file.
                    return True
                if error.code not in AGAIN:
                    raise SourceError(refusal(url, error.code, error.reason)) from error
                reason = f"HTTP {error.code} {error.reason}"
                wait = retry_after(error.headers.get("Retry-After"))
        except BROKEN as error:
            reason = _words(error)
        after = partial.stat().st_size if partial.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures >= TRIES:
            raise SourceError(
                f"{what} could not be fetched: {url} failed {TRIES} times ({reason}); check the "
                "network and run again: what has arrived is kept"
            )
        pause(url, wait, failures)


def refusal(url: str, status: int, reason: str) -> str:
    """What a status that no repetition cures means for a person."""
    meaning = {
        401: "the server wants a login, which an address of a source cannot carry",
        403: "the server refuses the file",
        404: "there is no such file at this address",
        410: "the file was taken from this address",
    }.get(status, "the server does not give the file")
    return f"{url} answers {status} {reason}: {meaning}"


def retry_after(value: str | None) -> float | None:
    """Seconds that a header Retry-After (a number or a date) asks to wait, or None."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, until.timestamp() - time.time())


def _append(url: str, partial: Path, what: str) -> bool:
    """One request for what is not there yet. Whether the file is now as long as announced."""
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": AGENT} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
        length = answer.headers.get("Content-Length")
        if answer.status != 206 or not _continues(answer.headers.get("Content-Range"), start):
            if answer.status == 206:
                partial.unlink()
                return False
            # The whole file comes, so the server took no notice of the range.
            start = 0
        total = start + int(length) if length else None
        with partial.open("ab" if start else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                _show(what, file.tell(), total)
            size = file.tell()
    _show(what, size, None)
    return total is None or size == total


def _continues(content_range: str | None, start: int) -> bool:
    return (content_range or "").startswith(f"bytes {start}-")


def pause(url: str, wait: float | None, failures: int) -> None:
    seconds = PAUSE_SECONDS * 2 ** (failures - 1) if wait is None else wait
    if seconds > LONGEST_PAUSE_SECONDS:
        raise SourceError(
            f"{url} asks to wait {seconds:.0f} seconds before the next request; run again then"
        )
    time.sleep(seconds)


def _show(what: str, size: int, total: int | None) -> None:
    """One line that is written over, for a person who watches a terminal; logs get none."""
    if not sys.stderr.isatty():
        return
    words = f"{what}: {size / 1e6:.0f} of {total / 1e6:.0f} MB, {size / total:.0%}" if total else ""
    print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def _words(error: BaseException) -> str:
    """The reason inside a URLError, or the error's own words."""
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
