"""What a log and a terminal show of a run, with a clock that the test winds."""

from __future__ import annotations

import io

from lora_ledger.training.progress import Progress, spoken


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(seconds: list[float], tokens: int = 100, total: int = 0, done: int = 0) -> list[str]:
    """What is said of steps that take so long; the loss of step n is n."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress([tokens] * (total or len(seconds)), done, stream, clock)
    for number, wait in enumerate(seconds, start=done + 1):
        clock.now += wait
        progress.step(number, float(number))
    progress.close()
    return stream.getvalue().splitlines()


def test_the_first_line_stands_after_the_first_step() -> None:
    """50 s for 100 tokens, and 9 steps to go."""
    assert lines([50.0], total=10) == ["step 1/10, loss 1.0000, 2 tokens/s, 8 min left"]


def test_a_line_a_minute_and_one_at_the_end() -> None:
    found = lines([20.0, *[10.0] * 13])
    assert [line.split(",")[0] for line in found] == [
        "step 1/14",
        "step 7/14",
        "step 13/14",
        "step 14/14",
    ]
    # From the end of the first step on: 600 tokens in 60 s, 700 to go.
    assert found[1] == "step 7/14, loss 7.0000, 10 tokens/s, 1 min left"
    assert found[2].endswith("10 s left")
    assert found[3] == "step 14/14, loss 14.0000, 10 tokens/s"


def test_steps_longer_than_a_minute_have_a_line_each() -> None:
    assert len(lines([90.0] * 5)) == 5


def test_a_run_that_goes_on_counts_from_where_it_was() -> None:
    found = lines([10.0, 60.0], total=10, done=5)
    assert found == [
        "step 6/10, loss 6.0000, 10 tokens/s, 40 s left",
        "step 7/10, loss 7.0000, 2 tokens/s, 3 min left",
    ]


def test_a_terminal_has_a_bar() -> None:
    clock, stream = Clock(), Terminal()
    progress = Progress([100] * 4, 1, stream, clock)
    for number in (2, 3, 4):
        clock.now += 1
        progress.step(number, 0.5)
    progress.close()
    shown = stream.getvalue()
    assert "4/4" in shown
    assert "\n" not in shown.rstrip("\n")


def test_times_as_they_are_said() -> None:
    assert [spoken(s) for s in (0.4, 59, 61, 3599, 12000)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h 0 min",
        "3 h 20 min",
    ]
