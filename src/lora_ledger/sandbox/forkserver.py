"""The judge's handles on its fork server and on the workers that it forks: start, ask, end.

In: settings, and framed messages. Out: framed answers, TimeoutError, or `Gone` with the cause. A
worker's time is what it computes plus what it sleeps; the time it waits for a processor that others
hold is not its own, nor is the time until there was room to fork it. It does not read what is in a
frame.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import wire
from .confine import Limits
from .patience import SHORT_SECONDS, Short, patiently
from .worker import ORDER, USAGE

ROOT = Path(__file__).resolve().parents[2]


class Gone(Exception):
    """The worker closed its end: it died, or wants to seem so."""


@dataclass(frozen=True)
class Usage:
    """Wait status, processor seconds, and peak memory as the system counts it."""

    status: int
    cpu: float
    peak: int


NOTHING = Usage(0, 0.0, 0)
LOST = "lost"


def command(module: str, function: str, *arguments: str) -> list[str]:
    """A bare interpreter that runs one function of a module, which is named in full.

    Not -I, which would ignore the fixed hash seed: these flags and an environment with nothing else
    in it come to the same. The path of the package is taken away again once it is imported.
    """
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module} as m; sys.path.pop(0); "
        f"m.{function}()"
    )
    return [sys.executable, "-s", "-S", "-P", "-B", "-c", code, *arguments]


def environment() -> dict[str, str]:
    """What a bare interpreter is started with: a fixed hash seed, so that sets keep their order,
    and where its own libraries are, if it needs to be told. Workers see none of it."""
    told = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {"PYTHONHASHSEED": "0"} | {k: os.environ[k] for k in told if k in os.environ}


class ForkServer:
    """A handle on the process that forks workers (`worker.fork_server`), started anew when lost."""

    def __init__(self, settings: dict[str, Any], limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self.process: subprocess.Popen[bytes] | None = None
        self.spares: deque[Worker] = deque()
        self.unread: Worker | None = None
        self.count = 0
        self.layers = self.start()

    def start(self) -> dict[str, str]:
        self.stop()
        ours, theirs = socket.socketpair()
        self.process = patiently(
            lambda: subprocess.Popen(
                command("lora_ledger.sandbox.worker", "fork_server", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Closed by it once it is confined.
                stderr=None,
                env=environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        )
        theirs.close()
        self.control = ours
        self.control.settimeout(2 * SHORT_SECONDS)
        self.control.sendall(json.dumps(self.settings).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            part = self.control.recv(65536)
            if not part:
                raise OSError(f"the fork server ended with {self.process.wait()}")
            line += part
        told = json.loads(line)
        self.counted: bool = told["counted"]
        found: dict[str, str] = told["layers"]
        return found

    def stop(self) -> None:
        for spare in self.spares:
            spare.release()
        self.spares.clear()
        self.unread = None
        if self.process:
            self.control.close()
            self.process.kill()
            self.process.wait()
            self.process = None

    def spawn(self, cpu_seconds: int = 0) -> Worker:
        """A worker; with a limit of its own on processor time unless that is 0.

        The next one stands ready; the one after that is forked when this one ends. Raises Short
        where none can be had, which says nothing of what it was to run.
        """
        limits = self.limits
        if cpu_seconds:
            own = max(limits.own_seconds, cpu_seconds + 1.0)
            limits = replace(limits, cpu_seconds=cpu_seconds, own_seconds=own)
        for attempt in (1, 2):
            try:
                if self.counted and self.unread:
                    # Else the threads of the last one would be counted with those of this one.
                    self.settle()
                if cpu_seconds:
                    return Worker(self, limits, alone=True)
                while len(self.spares) < 2:
                    self.spares.append(Worker(self, limits))
                return self.spares.popleft()
            except OSError as error:
                if attempt == 2:
                    raise Short(f"found no fork server: {error}") from error
                self.start()
        raise AssertionError("unreachable")

    def settle(self) -> None:
        """Read the answer that was left for later: answers come in the order of the orders."""
        if self.unread:
            self.unread.usage = self.reply()
            self.unread = None

    def reply(self) -> Usage:
        data = b""
        while len(data) < USAGE.size:
            part = self.control.recv(USAGE.size - len(data))
            if not part:
                raise OSError("the fork server is gone")
            data += part
        status, user, system, peak = USAGE.unpack(data)
        return Usage(status, user + system, peak)

    def age(self, number: int) -> float:
        """Seconds since a worker could begin; less than 0 when it cannot yet."""
        self.settle()
        self.control.sendall(ORDER.pack(0, 1, number))
        return self.reply().cpu

    def delay(self, newest: bool) -> float:
        """Seconds that the worker has waited for a processor; 0 where the system does not say.

        Of those that live the oldest is at work, unless it was forked for one problem alone.
        """
        assert self.process
        pid = self.process.pid
        with contextlib.suppress(OSError, ValueError, IndexError):
            while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                pid = int(children[-1 if newest else 0])
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0


class Worker:
    """A handle on one confined process, with the two pipes that only it and the judge hold.

    `alone` is one that was forked for one problem, and no spare; `instead` the number of a worker
    that ends before this one begins.
    """

    def __init__(
        self, forkserver: ForkServer, limits: Limits, *, alone: bool = False, instead: int = 0
    ) -> None:
        self.forkserver, self.limits, self.alone = forkserver, limits, alone
        self.lost = False
        self.waited = 0.0
        self.late = 0.0
        self.began: float | None = None
        self.usage: Usage | None = None
        self.slow = False
        forkserver.count += 1
        self.number = forkserver.count
        their_in, self.sink = os.pipe()
        self.source, their_out = os.pipe()
        os.set_blocking(self.sink, False)
        os.set_blocking(self.source, False)
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            socket.send_fds(
                forkserver.control,
                [ORDER.pack(self.number, limits.cpu_seconds, instead)],
                [their_in, their_out, nothing],
            )
        except OSError:
            os.close(self.sink)
            os.close(self.source)
            raise
        finally:
            os.close(their_in)
            os.close(their_out)
            os.close(nothing)

    def exchange(self, message: bytes) -> bytes:
        """The body of the answer. Raises TimeoutError, Gone, Short, or WireError where it is too
        long."""
        began = time.monotonic()
        self.began = self.began or began
        try:
            self._write(message, began)
            data = self._read(began)
            while len(data) < 4:
                data += self._read(began)
            length = 4 + int.from_bytes(data[:4], "big")
            if length > 4 + wire.MAX_BYTES:
                raise wire.WireError(f"a frame of {length} bytes")
            parts, have = [data], len(data)
            while have < length:
                parts.append(self._read(began))
                have += len(parts[-1])
            if have > length:
                raise wire.WireError("more than an answer")
            return b"".join(parts)[4:]
        finally:
            self.waited += time.monotonic() - began

    def cause(self) -> tuple[str, str]:
        """Why a worker that closed its end did so; `LOST` says nothing of what it ran."""
        usage = self.close()
        if self.lost:
            return LOST, "the fork server ended"
        # The kernel's limit counts whole ticks, of which a shared processor may give only a part;
        # what it reports afterwards is the time that was run.
        if usage.cpu >= 0.5 * self.limits.cpu_seconds and os.WIFSIGNALED(usage.status):
            return "timeout", f"{usage.cpu:.2f} s of processor time"
        if os.WIFSIGNALED(usage.status):
            number = os.WTERMSIG(usage.status)
            if number == signal.SIGKILL and usage.peak * 1024 > self.limits.memory_bytes / 2:
                return "memory", "killed by the system"
            return "exception", f"ended by signal {number}"
        return "exception", f"ended with status {os.waitstatus_to_exitcode(usage.status)}"

    def overspent(self) -> str:
        """What processor time it used past its limit, all threads and children together, or "".

        RLIMIT_CPU does not decide it: the kernel adds whole ticks to whoever runs at a tick, so
        threads that give way in time are never charged. Who was not at work for as long as the
        limit, on all processors at once, is not asked: its end would have to be waited for.
        """
        limit = self.limits.cpu_seconds
        processors = os.cpu_count()
        elapsed = time.monotonic() - self.began if self.began else 0.0
        if processors and elapsed * processors < limit:
            return ""
        used = self.close().cpu
        return f"{used:.2f} s of processor time" if used > limit else ""

    def close(self, wait: bool = True) -> Usage:
        """End the worker and all it started; what it used, or nothing yet without `wait`."""
        if self.usage:
            return self.usage
        forkserver = self.forkserver
        self.release()
        try:
            if len(forkserver.spares) < 2:
                forkserver.spares.append(Worker(forkserver, forkserver.limits, instead=self.number))
            else:
                forkserver.control.sendall(ORDER.pack(0, 0, self.number))
            # At most one answer is left for later.
            forkserver.settle()
            if not wait:
                forkserver.unread = self
                return NOTHING
            self.usage = forkserver.reply()
        except OSError:
            forkserver.start()
            self.lost = True
            self.usage = NOTHING
        return self.usage

    def release(self) -> None:
        """Close this side's descriptors."""
        handles, self.sink, self.source = (self.sink, self.source), -1, -1
        for handle in handles:
            if handle >= 0:
                os.close(handle)

    def _write(self, data: bytes, began: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.sink, view) :]
            except BlockingIOError:
                self._wait([], [self.sink], began)
            except BrokenPipeError:
                raise Gone from None

    def _read(self, began: float) -> bytes:
        while True:
            self._wait([self.source], [], began)
            with contextlib.suppress(BlockingIOError):
                if data := os.read(self.source, 2**16):
                    return data
                raise Gone

    def _wait(self, sources: list[int], sinks: list[int], began: float) -> None:
        """Until a pipe is ready. Raises TimeoutError when the worker's own time is up."""
        while True:
            spent = self.waited + time.monotonic() - began - self.late
            if spent >= self.limits.own_seconds and not self.slow:
                # Asked only when the wall clock alone would have ended it.
                spent -= self._lateness(spent)
            wall = self.limits.wall_seconds - spent
            delay = self.forkserver.delay(self.alone) if self.slow else 0.0
            own = self.limits.own_seconds - (spent - delay)
            if wall <= 0 or (own <= 0 and self.slow):
                raise TimeoutError
            self.slow = self.slow or own <= 0
            left = max(0.01, min(wall, own)) if own > 0 else 0.0
            ready = select.select(sources, sinks, [], left)
            if ready[0] or ready[1]:
                return

    def _lateness(self, spent: float) -> float:
        """How much of that was before the worker could begin, for want of room."""
        try:
            age = self.forkserver.age(self.number)
        except OSError:
            # What follows finds the pipes closed, or the time up.
            return 0.0
        late = spent if age < 0 else max(0.0, spent - age)
        self.late += late
        if self.late > SHORT_SECONDS:
            raise Short(f"found no room for a worker for {self.late:.0f} s")
        return late
