"""A proof that is made once on a machine, and a sandbox that was shown to judge.

In: problems with their solutions, and a folder, or none. Out: a sandbox that is open, and the proof
that holds for it. Proofs are kept in the folder, one file for each key: all that decides a proof
but the layers themselves, which are compared with those of the sandbox that is opened. A proof is
made under a lock, so that of jobs that start together one makes it; one that does not hold is not
kept, nor is one below level 2, where generated code could write the file. From level 2 on a worker
opens nothing for writing, so no completion reaches it. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import pool, proof
from .client import Confinement, Problem, Sandbox
from .proof import Count, Proof

WRITES_NOWHERE = 2
"""The level from which generated code writes to no file."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
STATUS = Path("/proc/self/status")
OF_STATUS = (
    "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"
)  # fmt: skip


@contextlib.contextmanager
def judging(
    solutions: Sequence[Problem], jobs: int, level: int, folder: Path | None = None
) -> Iterator[tuple[Sandbox, Proof, bool]]:
    """(a sandbox, the proof that holds for its layers, whether that was kept by another job).

    Raises SandboxError where the machine confines less than `level`, or where the proof fails.
    """
    found, kept = obtain(solutions, jobs, level, folder)
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(jobs, level, found.limits()))
        if kept and sandbox.confinement != found.confinement:
            stack.close()
            found, kept = obtain(solutions, jobs, level, folder, sandbox.confinement)
            sandbox = stack.enter_context(Sandbox(jobs, level, found.limits()))
        yield sandbox, found, kept


def obtain(
    solutions: Sequence[Problem],
    jobs: int,
    level: int,
    folder: Path | None,
    layers: Confinement | None = None,
) -> tuple[Proof, bool]:
    """The proof, and whether it was kept; with `layers`, no kept one of other layers counts."""
    decides = key(solutions) if folder else None
    if folder is None or decides is None:
        return made(solutions, jobs, level), False
    name = hashlib.sha256(_text(decides).encode()).hexdigest()[:16]
    path = folder / f"{name}.json"
    with locked(folder / f"{name}.lock") as alone:
        found = read(path, decides, len(solutions)) if alone else None
        if found and (layers is None or found.confinement == layers):
            return found, True
        found = made(solutions, jobs, level)
        if alone and found.confinement.level >= WRITES_NOWHERE:
            write(path, decides, found)
        return found, False


def made(solutions: Sequence[Problem], jobs: int, level: int) -> Proof:
    """A new proof; SandboxError unless it holds."""
    found = proof.prove(solutions, jobs, level)
    proof.require(found)
    return found


def key(solutions: Sequence[Problem]) -> dict[str, Any] | None:
    """All that decides a proof, but for its layers; None where this start of the machine has no
    name, so that a kept proof could be of another kernel."""
    if not BOOT.is_file():
        return None
    files, listed = pool.readable()
    used = sorted({*files, *listed, str(Path(sys.executable).resolve())})
    status = (line.partition(":") for line in STATUS.read_text("utf-8").splitlines())
    return {
        "sandbox": _digest({str(p): _hash(p.read_bytes()) for p in _sources()}),
        "solutions": _digest([one.message() for one in solutions]),
        "python": [sys.version, sys.executable, *map(str, sys.flags)],
        # What workers may read: the standard library and the libraries that it loads.
        "files": _digest([[path, *_stamp(path)] for path in used]),
        "kernel": list(os.uname()),
        "boot": BOOT.read_text("utf-8").strip(),
        "user": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *sorted(os.getgroups())],
        "namespaces": {
            one.name: str(one.readlink()) for one in sorted(Path("/proc/self/ns").iterdir())
        },
        "process": {name: value.strip() for name, _, value in status if name in OF_STATUS},
        "limits": {
            name: list(resource.getrlimit(getattr(resource, name)))
            for name in sorted(dir(resource))
            if name.startswith("RLIMIT_")
        },
    }


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether this process alone has the file; False where files cannot be written or locked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone
    finally:
        os.close(handle)


def read(path: Path, decides: dict[str, Any], solutions: int) -> Proof | None:
    """The proof in a file; None unless it is whole, of these facts, and holds."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["key"] != json.loads(_text(decides)):
            return None
        kept = _proof(found["proof"])
        whole = len(kept.cpu) == len(kept.wall) == kept.solutions.total == solutions
        return kept if whole and kept.cheats.total and kept.holds else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(path: Path, decides: dict[str, Any], found: Proof) -> None:
    """Keep a proof, as a whole file or not at all."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_text({"key": decides, "proof": asdict(found)}))
                file.flush()
                os.fsync(handle)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _proof(values: dict[str, Any]) -> Proof:
    """What `asdict` and JSON made of a proof, as it was."""
    solutions, stubs, cheats = (
        Count(one["passed"], one["total"], tuple(one["odd"]))
        for one in (values[name] for name in ("solutions", "stubs", "cheats"))
    )
    return Proof(
        Confinement(**values["confinement"]),
        solutions,
        stubs,
        cheats,
        tuple(values["untried"]),
        values["reasons"],
        tuple(values["cpu"]),
        tuple(values["wall"]),
    )


def _sources() -> list[Path]:
    """The files that the sandbox is made of, its cheats among them."""
    return sorted(p for p in Path(__file__).parent.rglob("*") if p.suffix in (".py", ".txt"))


def _stamp(path: str) -> list[int]:
    try:
        found = Path(path).stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1)


def _digest(value: Any) -> str:
    return _hash(_text(value).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
