"""Layers and levels: what the filter answers on both machines, and what happens without one."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ledger.sandbox import confine, landlock, mounts, probes, proof, seccomp
from lora_ledger.sandbox.client import Problem, Sandbox, SandboxError

ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY, NOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ADD = Problem(
    "", "def f():\n    return 1\n", "def check(c):\n    assert c() == 1\n", "f", context=""
)
LINUX = pytest.mark.skipif(not landlock.abi() or not seccomp.supported(), reason="needs level 3")


def emulate(program: bytes, number: int, arguments: list[int], arch: int) -> int:
    """What the kernel's own interpreter of the filter would return: a second implementation."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments)
    code = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)]
    place = accumulator = 0
    while True:
        operation, yes, no, k = code[place]
        place += 1
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x05:  # BPF_JMP | BPF_JA
            place += k
        elif operation == 0x06:  # BPF_RET
            return k
        else:
            true = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[operation]
            place += yes if true else no


# Numbers from the kernel's tables, written down here a second time.
CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "mmap": 9, "futex": 202, "exit_group": 231,
        "openat": 257,
        "clone": 56, "fcntl": 72, "ioctl": 16, "tgkill": 234, "prlimit64": 302, "prctl": 157,
        "socket": 41, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "ptrace": 101,
        "mount": 165,
        "unshare": 272, "execveat": 322, "bpf": 321, "keyctl": 250, "socketpair": 53, "unlink": 87,
        "rename": 82, "chmod": 90, "creat": 85, "setrlimit": 160, "memfd_create": 319, "mkdir": 83,
        "setuid": 105, "shmget": 29, "tkill": 200, "rt_sigqueueinfo": 129, "process_vm_readv": 310,
    },
    "aarch64": {
        "read": 63, "write": 64, "close": 57, "mmap": 222, "futex": 98, "exit_group": 94,
        "openat": 56, "clone": 220, "fcntl": 25, "ioctl": 29, "tgkill": 131, "prlimit64": 261,
        "prctl": 167, "socket": 198, "execve": 221, "kill": 129, "ptrace": 117, "mount": 40,
        "unshare": 97, "execveat": 281, "bpf": 280, "keyctl": 219, "socketpair": 199,
        "unlinkat": 35, "renameat2": 276, "fchmodat": 53, "setrlimit": 164, "memfd_create": 279,
        "mkdirat": 34, "setuid": 146, "shmget": 194, "tkill": 130, "rt_sigqueueinfo": 138,
        "process_vm_readv": 270,
    },
}  # fmt: skip
PLAINLY = ("read", "write", "close", "mmap", "futex", "exit_group")


@pytest.mark.parametrize("machine", sorted(CALLS))
def test_the_filter_answers_as_it_should(machine: str) -> None:
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    program = seccomp.assemble(77, machine)
    assert len(program) // 8 < 4096

    def ask(name: str | int, *arguments: int) -> int:
        number = CALLS[machine][name] if isinstance(name, str) else name
        return emulate(program, number, [*arguments, *[0] * 6][:6], arch)

    for name in PLAINLY:
        assert ask(name) == ALLOW, name
    checked = ("openat", "clone", "fcntl", "ioctl", "tgkill", "prlimit64", "prctl")
    for name in CALLS[machine]:
        if name not in PLAINLY and name not in checked:
            assert ask(name) == DENY, name
    assert ask("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY) == ALLOW
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_RDWR | 0x410000):
        assert ask("openat", 0, 0, flag) == DENY
    # A thread as glibc starts it, and a process as fork does.
    assert ask("clone", 0x3D0F00) == ALLOW
    assert ask("clone", 0x1200011) == DENY
    assert ask("fcntl", 3, 1) == ALLOW
    assert ask("fcntl", 3, 4) == ask("fcntl", 3, 8) == DENY
    assert ask("ioctl", 0, 0x5401) == ALLOW
    assert ask("ioctl", 0, 0x5412) == DENY
    assert ask("tgkill", 77, 78, 6) == ALLOW
    assert ask("tgkill", 76, 76, 9) == DENY
    assert ask("prlimit64", 0, 9) == ALLOW
    assert ask("prlimit64", 1, 9) == DENY
    assert ask("prctl", 15) == ALLOW
    assert ask("prctl", 22) == ask("prctl", 4) == DENY
    assert ask(435) == ask(437) == NOSYS
    for number in (425, 426, 427, 434, 438, 440, 443, 450, 500, 0x40000000, 0x40000001, 2**31 - 1):
        assert ask(number) == DENY, number
    other = 0x40000003
    assert emulate(program, 0, [0] * 6, other) == KILL


@pytest.mark.parametrize("machine", sorted(CALLS))
def test_every_number_is_the_kernels(machine: str) -> None:
    """Against the headers of this machine, where there are any."""
    header = {
        "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "aarch64": "/usr/include/asm-generic/unistd.h",
    }[machine]
    if not Path(header).is_file():
        pytest.skip(f"needs {header}")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    found["newfstatat"] = found.get("newfstatat", found.get("fstatat"))
    ours = seccomp.PLAIN[machine] | seccomp.CHECKED[machine] | probes.NUMBERS[machine]
    ours |= CALLS[machine]
    assert {n: int(found[n]) for n in ours if n in found} == {
        n: k for n, k in ours.items() if n in found
    }
    assert len(set(ours) - set(found)) == 0


@pytest.mark.parametrize(
    ("without", "level", "lost"),
    [
        ({"Landlock"}, 2, "Landlock"),
        ({"seccomp"}, 1, "seccomp"),
        ({"Landlock", "seccomp"}, 1, "seccomp"),
        ({"namespaces"}, 3, ""),
        (set(), 3, ""),
    ],
    ids=str,
)
@LINUX
def test_without_a_layer_the_level_falls_and_scoring_refuses(
    without: set[str], level: int, lost: str
) -> None:
    with Sandbox(1, 0, _without=frozenset(without)) as one:
        found = one.confinement
        assert found.level == level
        assert one.judge_all([ADD])[0].passed
    past = {name.partition(":")[0] for name, state in found.probes.items() if state != "refused"}
    assert past <= without
    if lost:
        with (
            pytest.raises(
                SandboxError, match=rf"found {level} .*expected {level + 1}(.|\n)*{lost} is off"
            ),
            Sandbox(1, level + 1, _without=frozenset(without)),
        ):
            raise AssertionError("a level too low was accepted")


def test_a_layer_that_says_on_and_is_got_past_counts_as_off() -> None:
    layers = dict.fromkeys(confine.LAYERS, "on")
    assert confine.level_of(layers) == 3
    assert confine.level_of(layers, ["Landlock"]) == 2
    assert confine.level_of(layers, ["seccomp"]) == 1
    assert confine.level_of(layers, ["limits"]) == 0
    assert confine.level_of(layers | {"Landlock": "off: no"}) == 2


@LINUX
@pytest.mark.skipif(os.getuid() != 0 or not Path("/usr/bin/setpriv").exists(), reason="needs root")
def test_an_ordinary_user_has_the_same_level(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Python that any user can read; the one that runs the tests may lie in a closed folder."""
    python = Path("/usr/bin/python3")
    source = Path(confine.__file__).resolve().parents[2]
    if not python.exists() or not source.stat().st_mode & 0o005:
        pytest.skip("needs a system Python and a checkout that others can read")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(source)!r})\n"
        "assert sys.version_info >= (3, 11), 'old'\n"
        "from lora_ledger.sandbox.client import Sandbox\n"
        "with Sandbox(1, 0) as one:\n"
        "    print(one.confinement.level, one.confinement.layers['identity'])\n"
    )
    command = ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*command, str(python), "-B", "-c", code],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    if "old" in done.stderr or "Permission" in done.stderr:
        pytest.skip(done.stderr[-200:])
    assert done.stdout.strip() == "3 on: uid 65534", done.stderr


def threads_and_bound(sandbox: Sandbox) -> tuple[int, int]:
    """How many threads a worker gets when it wants 300, and its limit on processes."""
    code = (
        "import resource, threading\n"
        "def f():\n"
        "    threading.stack_size(2**17)\n"
        "    end, made = threading.Event(), []\n"
        "    try:\n"
        "        while len(made) < 300:\n"
        "            made.append(threading.Thread(target=end.wait))\n"
        "            made[-1].start()\n"
        "    except RuntimeError:\n"
        "        made.pop()\n"
        "    end.set()\n"
        "    return len(made), resource.getrlimit(resource.RLIMIT_NPROC)[1]\n"
    )
    tests = "def check(candidate):\n    raise AssertionError(candidate())\n"
    detail = sandbox.judge_all([Problem("", code, tests, "f", context="")])[0].detail
    count, bound = re.findall(r"\d+", detail)
    return int(count), int(bound)


@LINUX
def test_threads_have_a_bound() -> None:
    """Also as root with a Python that only root can read: the kernel would exempt uid 0."""
    with Sandbox(1, 0) as one:
        layers = one.confinement.layers
        if "user" not in layers["namespaces"]:
            pytest.skip("needs a user namespace")
        if os.getuid() == 0:
            assert layers["identity"] in ("on: a uid of its own", "on: uid 65534")
        count, bound = threads_and_bound(one)
        assert bound == 32
        assert 4 < count <= 32
    with Sandbox(1, 0, _without=frozenset({"namespaces"})) as one:
        assert threads_and_bound(one)[1] <= confine.MOST_TASKS


def test_which_folder_hides_a_library(tmp_path: Path) -> None:
    library = tmp_path / "home/python/lib/python3.11"
    library.mkdir(parents=True)
    for folder in (tmp_path / "home", tmp_path / "home/python"):
        folder.chmod(0o700)
    found = mounts.closed_above(library)
    assert found is not None
    assert not found.stat().st_mode & 0o001
    assert all(folder.stat().st_mode & 0o001 for folder in found.parents)
    assert mounts.closed_above(Path("/usr/lib")) is None


def test_a_library_that_is_open_or_scattered_is_left_alone(tmp_path: Path) -> None:
    assert not mounts.uncover(Path("/usr/lib/python3.11"), [])
    library = tmp_path / "home/python/lib/python3.11"
    library.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    elsewhere = str(tmp_path / "home/other/lib.so")
    assert not mounts.uncover(library, [elsewhere])
    assert library.is_dir()


def test_the_environment_has_no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables nor the working folder reach a judge or a worker."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    wrong = Problem("", "def f():\n    return 2\n", ADD.tests, "f", context="")
    with Sandbox(1, 0) as one:
        assert [v.reason for v in one.judge_all([ADD, wrong])] == ["passed", "wrong"]


def test_the_sandbox_needs_no_package() -> None:
    """Started with a bare interpreter, and nothing of torch, pydantic or numpy comes in."""
    code = (
        "import sys, lora_ledger.sandbox.proof\n"
        "print([m for m in ('numpy', 'pydantic', 'torch', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_cheat_says_what_it_tries_and_compiles() -> None:
    found = proof.cheats()
    assert len(found) >= 50
    for name, text in found.items():
        assert text.startswith("# "), name
        compile(text, name, "exec")
