"""Runs HF evaluate's `code_eval` where what it runs can harm nothing: a container of namespaces.

X confines nothing,
so it runs in bubblewrap alone: own processes, network, IPC and host name, nothing of the machine
writable and little of it visible, no capability, bounded processes, memory, output and time. Before
the first program probes try that from inside, and RuntimeError says what does not hold. It holds no
code of `code_eval` and judges nothing itself.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 3.0
# Processes are counted by user, so as root the container has a user that nothing else runs as; and
# the kernel exempts the user root from that count.
USER = 64999
PROCESSES, MEMORY, OUTPUT, PROCESSOR = 64, 2**30, 2**24, 60
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
BATCH = 100

# Runs first in the container. Nothing foreign has run when the limits are laid.
LIMITS = f"""
import json, os, resource, sys
for name, value in {{"NPROC": {PROCESSES}, "AS": {MEMORY}, "FSIZE": {OUTPUT}, "CPU": {PROCESSOR},
                    "CORE": 0, "NOFILE": 256}}.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
"""
# A line that a program prints does not begin with the mark, which is drawn for each container.
RUN = """
sys.path.insert(0, "/code_eval")
import execute
# `code_eval` comes with it, and programs find it imported.
try: import numpy
except ImportError: pass
order = json.loads(sys.stdin.read())
for place, program in enumerate(order["programs"]):
    found = execute.check_correctness(program, order["limit"], place, 0)
    line = json.dumps([place, found["passed"], str(found["result"])[:300]])
    os.write(1, ("\\n" + order["mark"] + line + "\\n").encode())
"""
PROBE = """
order = json.loads(sys.stdin.read())
bad = []
for kind, theirs in order["namespaces"].items():
    if os.readlink("/proc/self/ns/" + kind) == theirs: bad.append(kind + " namespace is the host's")
seen = [name for name in os.listdir("/proc") if name.isdigit()]
if len(seen) > 4 or os.getpid() > 9: bad.append("processes of others: " + " ".join(seen))
for line in open("/proc/self/mountinfo"):
    before, after = line.split(" - ")
    if after.split()[0] not in ("tmpfs", "proc", "devpts", "mqueue"):
        options = before.split()[5].split(",")
        # bubblewrap gives the usual devices one by one.
        if "rw" in options and not before.split()[4].startswith("/dev/"):
            bad.append("writable: " + before.split()[4])
for path in order["places"]:
    try:
        with open(os.path.join(path, "probe"), "w"): bad.append("wrote in " + path)
        os.unlink(os.path.join(path, "probe"))
    except OSError: pass
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
if os.getuid() == 0 or int(status["CapEff"], 16) or int(status["CapPrm"], 16):
    bad.append("has capabilities")
if status["NoNewPrivs"].strip() != "1": bad.append("may gain privileges")
devices = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
if devices not in ([], ["lo"]): bad.append("network devices " + " ".join(devices))
children = []
try:
    while len(children) < 2 * resource.getrlimit(resource.RLIMIT_NPROC)[0]:
        child = os.fork()
        if child == 0:
            import signal
            signal.pause()
        children.append(child)
    bad.append("processes without bound")
except BlockingIOError: pass
for child in children: os.kill(child, 9)
try: bytearray(2 * resource.getrlimit(resource.RLIMIT_AS)[0]); bad.append("memory without bound")
except MemoryError: pass
os.write(1, json.dumps(bad).encode())
"""


@dataclass(frozen=True)
class Answer:
    """What `code_eval` said: its word is "passed", "timed out", "failed: …", or "lost"."""

    passed: bool
    result: str


class Container:
    """The confinement, shown to hold when it is made. Raises RuntimeError where it does not.

    `shown` are files of the host that programs may read, by their paths inside.
    """

    def __init__(self, evaluate: Path, shown: Mapping[str, Path] | None = None) -> None:
        self.folder = (evaluate / "metrics/code_eval").resolve()
        if not (self.folder / "execute.py").is_file():
            raise RuntimeError(f"--evaluate: found no metrics/code_eval/execute.py in {evaluate}")
        self.shown = dict(shown or {})
        self._prove()

    def command(self, code: str) -> list[str]:
        """The command that runs Python code in the container."""
        tool = shutil.which("bwrap")
        if not tool:
            raise RuntimeError("code_eval runs in a container only: install bubblewrap (bwrap)")
        root = os.geteuid() == 0
        python = {str(Path(sys.prefix)), str(Path(sys.base_prefix))}
        visible = [*SYSTEM, *sorted(python)]
        # Made by bubblewrap itself they would be closed to all but root.
        above = {folder for path in visible for folder in list(Path(path).parents)[:-1]}
        mounts = [p for path in sorted(above) for p in ("--perms", "755", "--dir", str(path))]
        mounts += [part for path in visible for part in ("--ro-bind-try", path, path)]
        mounts += ["--ro-bind", str(self.folder), "/code_eval"]
        for inside, path in self.shown.items():
            mounts += ["--ro-bind", str(path), inside]
        # Root needs no user namespace, and in one it would stay exempt from the count of processes.
        identity = [] if root else ["--unshare-user"]
        become = [
            "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
        ]  # fmt: skip
        return [
            tool, *identity, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--die-with-parent", "--new-session", "--clearenv", "--proc", "/proc", "--dev", "/dev",
            "--size", str(2**26), "--perms", "1777", "--tmpfs", "/tmp", *mounts, "--chdir", "/tmp",
            "--remount-ro", "/", *(become if root else []),
            sys.executable, "-B", "-c", LIMITS + code,
        ]  # fmt: skip

    def start(self, code: str, order: Mapping[str, Any], seconds: float) -> bytes:
        """What the code wrote; the container and all in it end by then, or after `seconds`."""
        # A file, since its size is bounded by a limit; a pipe's reader would have to hold a flood.
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                self.command(code),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                process.communicate(json.dumps(order).encode(), timeout=seconds)
            except subprocess.TimeoutExpired:
                # The first process of the namespace ends with it, and with that one all others.
                process.kill()
                process.wait()
            output.seek(0)
            return output.read()

    def judge(self, programs: Sequence[str], limit: float = LIMIT) -> list[Answer]:
        """`code_eval`'s answers, in order; "lost" where the judging process ended or hung."""
        found: dict[int, Answer] = {}
        while len(found) < len(programs):
            first = len(found)
            batch = list(programs[first : first + BATCH])
            mark = secrets.token_hex(16)
            order = {"programs": batch, "limit": limit, "mark": mark}
            output = self.start(RUN, order, 20 + len(batch) * (limit + 3))
            for line in output.decode("utf-8", "replace").split("\n"):
                if line.startswith(mark):
                    place, passed, result = json.loads(line.removeprefix(mark))
                    found[first + place] = Answer(passed, result)
            if len(found) < first + len(batch):
                found[len(found)] = Answer(False, "lost")
        return [found[place] for place in range(len(programs))]

    def _prove(self) -> None:
        kinds = ("pid", "net", "ipc", "uts", "mnt")
        order = {
            "namespaces": {kind: str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds},
            "places": ["/", "/usr", "/etc", "/var/tmp", str(Path.home()),
                       str(Path(__file__).parents[1]), sys.prefix, str(self.folder), "/code_eval"],
        }  # fmt: skip
        output = self.start(PROBE, order, 60)
        if not output:
            raise RuntimeError("the container does not start: try `bwrap --ro-bind / / true`")
        if bad := json.loads(output):
            raise RuntimeError(f"the container does not hold: {'; '.join(bad)}")
