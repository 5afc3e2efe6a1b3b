"""One run at a time, and a killed one leaves nothing in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SOURCE = Path("src").resolve()
HANG_SECONDS = 1800
SLEEP = "import sys, time; print('up', flush=True); time.sleep(3600)"


def start(where: Path, code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lora_ledger.scheduling.lock", sys.executable, "-c", code]
    return subprocess.Popen(
        command,
        cwd=where,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def test_a_second_run_is_refused_and_a_killed_one_is_not_in_the_way(tmp_path: Path) -> None:
    first = start(tmp_path, SLEEP)
    assert first.stdout is not None
    assert first.stdout.readline() == "up\n"
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("left")
    second = start(tmp_path, "print('never')")
    out, err = second.communicate(timeout=HANG_SECONDS)
    assert second.returncode == 1
    assert "never" not in out
    assert "another run is at work" in err
    assert (locks / "0.output.lock").exists()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    out, err = start(tmp_path, "print('third')").communicate(timeout=HANG_SECONDS)
    assert (out, err) == ("third\n", "")
    assert not (locks / "0.output.lock").exists()


def test_another_user_of_the_group_may_take_the_lock(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        start(tmp_path, "").communicate(timeout=HANG_SECONDS)
    finally:
        os.umask(before)
    assert (tmp_path / ".snakemake/alone.lock").stat().st_mode & 0o777 == 0o664
