"""Judge processes as the score stage sees them: started, asked, replaced when they hang.

In: settings for the confinement, and problems as mappings. Out: verdicts as mappings. A judge that
does not answer in time is ended with all its workers, its problem is a time-out, and a new one
takes its place. One that ends unasked, as when the system is short of memory, says nothing of the
completion, which is judged once more. It knows nothing of tests or values.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from . import confine
from .confine import Limits
from .forkserver import command, environment
from .patience import SHORT_SECONDS, Short, patiently

START_SECONDS = 120.0
# The longest message that may wait in the pipe while a judge is at another: Linux holds 64 KiB.
AHEAD_BYTES = 32768


@cache
def readable() -> tuple[list[str], list[str]]:
    """What workers may read, and list: asked once for each run of the program."""
    files, listed = confine.readable()
    done = patiently(
        lambda: subprocess.run(
            command("lora_ledger.sandbox.worker", "libraries"),
            capture_output=True,
            text=True,
            env=environment(),
            stdin=subprocess.DEVNULL,
            timeout=START_SECONDS,
            check=False,
        )
    )
    if done.returncode:
        raise OSError(f"{command('worker', 'libraries')[0]}: {done.stderr.strip()[-300:]}")
    return files + json.loads(done.stdout.splitlines()[-1]), listed


class Folder:
    """The empty read-only folder that workers live in, and beside it a file they must not read."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.path = self.root / "empty"
        self.path.mkdir()
        self.path.chmod(0o555)
        self.root.chmod(0o755)
        self.planted = self.plant("secret\n")

    def plant(self, text: str) -> Path:
        """A file of that text, readable by any user: what refuses is a layer and not a mode."""
        path = self.root / f"planted-{len(list(self.root.iterdir()))}"
        path.write_text(text, "utf-8")
        path.chmod(0o444)
        return path

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


class JudgeProcess:
    """A handle on one judge process, which has a fork server and workers of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = _message(settings)
        self.process: subprocess.Popen[bytes] | None = None
        self._closed = False
        # One thread asks, and another may close.
        self._lock = threading.RLock()
        self.start()

    def start(self) -> None:
        """A new process in place of the last. Raises OSError when none comes, or after `close`."""
        with self._lock:
            self.stop()
            if self._closed:
                raise OSError("the sandbox was closed")
            self._start()

    def close(self) -> None:
        """End the process for good, whatever another thread waits for."""
        with self._lock:
            self._closed = True
            self.stop()

    def _start(self) -> None:
        self.process = patiently(
            lambda: subprocess.Popen(
                command("lora_ledger.sandbox.judge", "main"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Tests that walk a set must see the same order every time.
                env=environment(),
                start_new_session=True,
                bufsize=0,
            )
        )
        self.rest = b""
        self._send(self.settings)
        try:
            answer = self._receive(time.monotonic() + START_SECONDS + 2 * SHORT_SECONDS)
        except EOFError:
            answer = None
        if answer is None:
            raise OSError(f"a judge did not start: {self._complaint()}")
        self.layers: dict[str, str] = answer["layers"]

    def stop(self) -> None:
        if not self.process:
            return
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        # An idle judge ends by itself when nobody writes any more, and its workers with it.
        self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process = None

    def ask_all(
        self, problems: Iterator[dict[str, Any]], limits: Limits
    ) -> Iterator[dict[str, Any]]:
        """The verdicts, in order: `timeout` for a judge that is late, `protocol` for two that end.
        Raises Short for one that found no room for a worker.

        One problem waits in the pipe while another is judged.
        """
        sent: deque[bytes] = deque()
        held: bytes | None = None
        ended = 0
        while True:
            while len(sent) < 2:
                if held is None and (problem := next(problems, None)) is not None:
                    held = _message(problem)
                if held is None or (sent and len(held) > AHEAD_BYTES):
                    break
                sent.append(held)
                self._send(held)
                held = None
            if not sent:
                return
            patience = limits.wall_seconds + 4 * limits.tests_seconds + 2 * SHORT_SECONDS
            lost = {"reason": "timeout", "detail": "the judge was lost over what came back"}
            try:
                answer = self._receive(time.monotonic() + patience)
            except EOFError:
                ended += 1
                if ended < 2:
                    self._restart(sent)
                    continue
                lost |= {"reason": "protocol", "detail": "the judge ended twice"}
                answer = None
            ended = 0
            sent.popleft()
            if answer is None:
                self._restart(sent)
            yield answer or lost

    def _restart(self, sent: Iterable[bytes]) -> None:
        self.start()
        for message in sent:
            self._send(message)

    def _send(self, message: bytes) -> None:
        assert self.process
        assert self.process.stdin
        data = memoryview(message)
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[self.process.stdin.write(data) or 0 :]

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """The next line; None when it is late. Raises EOFError when the process has ended."""
        assert self.process
        assert self.process.stdout
        handle = self.process.stdout.fileno()
        while b"\n" not in self.rest:
            if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            part = os.read(handle, 65536)
            if not part:
                raise EOFError
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if "short" in found:
            raise Short(found["short"])
        return found

    def _complaint(self) -> str:
        assert self.process
        assert self.process.stderr
        self.process.kill()
        return self.process.stderr.read().decode("utf-8", "replace").strip()[-800:]


def _message(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
