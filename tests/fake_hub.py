"""A hub, or any web server, on this machine: a thread that serves bytes and misbehaves on demand.

In: repositories and plain files as bytes. Out: an endpoint for HF_ENDPOINT or an address, and notes
of what was asked. It speaks as much of the hub's API as the library needs for commits, listings
and files: `/api/<type>s/<repo>/revision/…`, `/tree/…`, `/refs`, and `/resolve/…` with ranges.

    with FakeHub() as hub:
        commit = hub.commit("model", "someone/model", {"config.json": b"{}"})
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 1000
"""Files of at least so many bytes are LFS files."""


@dataclass
class Request:
    """One request: method, path, headers in lower case, status and bytes of the body sent."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Repo:
    """A repository: files of each commit, and the commit of each branch."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FakeHub:
    """`with FakeHub() as hub:` serves until the block ends."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.answers: list[tuple[str, int, dict[str, str]]] = []
        self.cuts: list[tuple[str, int, threading.Event | None]] = []
        self.ranges = True
        self.token = "hf_made_up_token_of_a_test"
        self.swapped: dict[str, bytes] = {}

    def commit(
        self,
        kind: str,
        name: str,
        files: dict[str, bytes],
        branch: str = "main",
        gated: bool = False,
    ) -> str:
        """Push files as a commit; its id follows from them."""
        repo = self.repos.setdefault((kind, name), Repo())
        repo.gated = gated
        listed = "".join(f"{path} {git_blob(content)}\n" for path, content in files.items())
        commit = hashlib.sha1(f"{kind} {name}\n{listed}".encode()).hexdigest()
        repo.commits[commit] = files
        repo.branches[branch] = commit
        return commit

    def answer(self, part: str, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests whose path holds `part` with a bare status."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.answers += [(part, status, named)] * times

    def cut(
        self, part: str, after: int, times: int = 1, hold: threading.Event | None = None
    ) -> None:
        """End the connection of the next GETs of such a path after so many bytes of the body; with
        `hold`, not before that event (or half an hour)."""
        self.cuts += [(part, after, hold)] * times

    def swap(self, name: str, content: bytes) -> None:
        """Serve other bytes for a file, under the listing and headers of the real ones."""
        self.swapped[name] = content

    def asked(self, part: str, method: str = "GET") -> list[Request]:
        return [r for r in self.requests if part in r.path and r.method == method]

    def sent(self, part: str = "") -> int:
        """Bytes of bodies sent for paths that hold `part`."""
        return sum(r.sent for r in self.requests if part in r.path)

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(_Handler):
            owner = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.request_note = Request(self.command, self.path, headers)
        self.owner.requests.append(self.request_note)
        for at, (part, status, extra) in enumerate(self.owner.answers):
            if part in self.path:
                del self.owner.answers[at]
                return self._send(status, b"", extra)
        path = unquote(urlsplit(self.path).path)
        if path in self.owner.files:
            return self._content(self.owner.files[path], {})
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) >= 4 and parts[1] in ("models", "datasets"):
            return self._api(parts[1][:-1], "/".join(parts[2:4]), parts[4:])
        kind = "dataset" if parts[0] == "datasets" else "model"
        parts = parts[1:] if kind == "dataset" else parts
        if len(parts) > 4 and parts[2] == "resolve":
            return self._resolve(kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self._error(404, "")

    def _found(self, kind: str, name: str, revision: str) -> tuple[Repo, str] | None:
        """The repository and commit, or None after an error was sent."""
        repo = self.owner.repos.get((kind, name))
        if repo is None:
            self._error(404, "RepoNotFound")
            return None
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            self._error(404, "RevisionNotFound")
            return None
        return repo, commit

    def _api(self, kind: str, name: str, rest: list[str]) -> None:
        if rest[:1] == ["refs"]:
            repo = self.owner.repos[kind, name]
            branches = [
                {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": commit}
                for branch, commit in repo.branches.items()
            ]
            return self._json({"branches": branches, "tags": [], "converts": []})
        revision = rest[1] if len(rest) > 1 else "main"
        found = self._found(kind, name, revision)
        if found is None:
            return None
        repo, commit = found
        if rest[:1] == ["tree"]:
            return self._tree(repo.commits[commit], "/".join(rest[2:]))
        gated: str | bool = "manual" if repo.gated else False
        return self._json({"id": name, "sha": commit, "gated": gated, "private": False})

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in files if path.startswith(prefix)]
        if folder and not inside:
            return self._error(404, "EntryNotFound")
        entries: list[dict[str, Any]] = []
        for path in inside:
            below = path[len(prefix) :]
            if "/" in below and not recursive:
                entry = {"type": "directory", "path": prefix + below.split("/")[0], "oid": "0" * 40}
                entries += [] if entry in entries else [entry]
                continue
            content = files[path]
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_blob(content)}
            if len(content) >= LFS_FROM:
                entry["oid"] = git_blob(b"a pointer")
                size = {"size": len(content), "pointerSize": 130}
                entry["lfs"] = {"oid": sha256(content), **size}
            entries.append(entry)
        return self._json(entries)

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        found = self._found(kind, name, revision)
        if found is None:
            return None
        repo, commit = found
        if repo.gated and self.headers.get("Authorization") != f"Bearer {self.owner.token}":
            status = 403 if self.headers.get("Authorization") else 401
            return self._error(status, "GatedRepo")
        content = repo.commits[commit].get(path)
        if content is None:
            return self._error(404, "EntryNotFound")
        etag = sha256(content) if len(content) >= LFS_FROM else git_blob(content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        return self._content(self.owner.swapped.get(path, content), headers)

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = self.headers.get("Range")
        if not (wanted and self.owner.ranges):
            return self._send(200, content, headers)
        first, last = wanted.removeprefix("bytes=").split("-")
        start = int(first)
        stop = min(int(last) + 1, len(content)) if last else len(content)
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        span = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        return self._send(206, content[start:stop], headers | span)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code} if code else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        length, hold = len(body), None
        if self.command == "HEAD":
            body = b""
        for at, (part, after, event) in enumerate(self.owner.cuts):
            if part in self.path and body:
                del self.owner.cuts[at]
                body, hold = body[:after], event
                self.close_connection = True
                break
        # Noted first: who reads the head alone may look before the body is on its way.
        self.request_note.status, self.request_note.sent = status, len(body)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        if hold:
            self.wfile.flush()
            hold.wait(1800)
