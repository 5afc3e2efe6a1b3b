"""Re-analysis of published numbers: claims re-tested on the tables of the papers that make them.

In: `results/published/`. Out: `Finding`s by claim, and the page docs/reanalysis.md
(`ledger claims --reanalysis`). It uses no number of this project and decides no claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from . import published
from .finding import Finding
from .published import Tables
from .retest_biderman import BIDERMAN
from .retest_hu import HU
from .retest_later import LATER

INTRO = """# Re-analysis of published numbers

Claims re-tested on the tables of the papers that make them, from `results/published/`. **Nothing
here was measured by this project, and no reading is a verdict.** A reading is *for* or *against*
where p is below 0.05 or a 95 % interval leaves zero out, else *open*; *description* where the
numbers are points of one run, share a run, or are too few to test. A claim that two things are
equal can be spoken against or stay open. Nothing is corrected for the number of tests, and runs of
one setting share their data. Best epochs are those of the paper, chosen on the items that are then
reported.

`ledger claims --reanalysis > docs/reanalysis.md` writes this page."""


@cache
def findings(folder: Path = published.FOLDER) -> tuple[Finding, ...]:
    """Every finding, in the order of the claims."""
    tables = Tables(published.read(folder))
    found = [finding for test in (*BIDERMAN, *HU, *LATER) for finding in test(tables)]
    return tuple(sorted(found, key=lambda one: (one.claim[:2], int(one.claim[2:]))))


def document(statements: Mapping[str, str], found: Sequence[Finding]) -> str:
    """The page, in Markdown; `statements` are the claims' by their ids."""
    lines = [INTRO]
    for claim in dict.fromkeys(one.claim for one in found):
        lines += ["", f"## {claim}", "", statements[claim], ""]
        lines += [
            "| asked of the tables | units | figure | test | reading |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {one.asked} | {one.units} | {one.figure} | {one.test} | {one.reading} |"
            for one in found
            if one.claim == claim
        ]
    return "\n".join(lines) + "\n"
