"""The page of re-analyses: in sync, and its figures worked out from the tables in other ways."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lora_ledger.claims.catalogue import claims
from lora_ledger.claims.finding import Finding
from lora_ledger.claims.published import read, select
from lora_ledger.claims.reanalysis import document, findings
from lora_ledger.claims.retest_biderman import gaussian_share

PAGE = Path("docs/reanalysis.md")


def of(claim: str, asked: str) -> Finding:
    (found,) = [one for one in findings() if one.claim == claim and re.search(asked, one.asked)]
    return found


def test_the_page_is_what_the_command_prints() -> None:
    statements = {claim.id: claim.statement for claim in claims().values()}
    assert PAGE.read_text("utf-8") == document(statements, findings()), (
        "ledger claims --reanalysis > docs/reanalysis.md"
    )


def test_every_finding_is_of_a_claim_with_its_values() -> None:
    assert {one.claim for one in findings()} <= set(claims())
    assert all(claims()[one.claim].values for one in findings())


def test_points_of_one_run_are_not_tested() -> None:
    slopes = [one for one in findings() if one.claim == "LA1" and "against tokens" in one.asked]
    assert len(slopes) == 6
    assert {one.reading for one in slopes} == {"description"}
    for one in findings():
        if "one run" in one.units:
            assert one.reading == "description", one


@pytest.mark.parametrize(
    ("claim", "asked", "above", "below"),
    [
        ("LA4", "r16 less full", 13, 0),
        ("LA4", "r256 less full", 12, 1),
        ("LA5", "less instruction tuning", 8, 0),
        ("LA5", "math less code", 6, 2),
        ("LB1", "RoBERTa-base: LoRA less full", 4, 4),
        ("LB1", "^GPT-2", 6, 0),
        ("LB1", "^all of these", 12, 5),
        ("LB10", "pre-layer", 8, 0),
        ("LD4", "fall of forgetting, %", 12, 0),
        ("LD4", "rise of accuracy", 5, 6),
    ],
)
def test_sign_tests(claim: str, asked: str, above: int, below: int) -> None:
    """Counts read off the tables by hand; p by scipy's binomial test."""
    found = of(claim, asked)
    assert found.figure.startswith(f"{above} above, {below} below")
    p = stats.binomtest(above, above + below).pvalue
    assert found.test == f"sign test, p = {p:.2g}"


def test_forgetting_is_ordered_by_rank() -> None:
    """Page's L by scipy over 13 rows, gathered anew: 10 of tables S6 and S8, three last ones."""
    values = read()
    rows = []
    for table, last in (("S6", 0), ("S8", 0), ("S2", 1), ("S4", 1), ("S13", 1)):
        arms = [
            [v.value for v in select(values, {"paper": "biderman-2024", "table": table, **arm})]
            for arm in ({"rank": 16}, {"rank": 64}, {"rank": 256}, {"method": "full"})
        ]
        points = list(zip(*arms, strict=True))
        rows += points[-1:] if last else points
    assert len(rows) == 13
    theirs = stats.page_trend_test(-np.array(rows), method="exact")
    found = of("LA4", "falls from rank 16")
    assert f"L = {theirs.statistic:g}" in found.test
    assert f"p = {theirs.pvalue:.0e}" in found.test


def test_glue_rests_on_one_task() -> None:
    """Gains -.1, .3, -.5, -.2, .5, -1.1, 7.9, .3: 7.1 over 8; -.8 over 7 without RTE."""
    assert of("LB1", "mean gain").figure == f"{7.1 / 8:+.2f} with RTE, {-0.8 / 7:+.2f} without"


def test_the_gap_over_tokens_by_hand() -> None:
    tokens = np.log2([0.25, 0.5, 1, 2, 4, 8, 16, 20])
    full = np.array([0.155, 0.152, 0.165, 0.158, 0.224, 0.238, 0.283, 0.293])
    r256 = np.array([0.162, 0.161, 0.140, 0.170, 0.193, 0.196, 0.203, 0.202])
    gradient = np.polyfit(tokens, full - r256, 1)[0]
    assert of("LA1", "math-cpt: full less lora r256 ").figure.startswith(f"{gradient:+.4f}")


def test_points_beaten_on_both_axes() -> None:
    """Code. Full: (.302, .595), (.464, .579), (.470, .512), (.497, .446), (.416, .414); each has
    less of both than rank 256 at (.385, .659), (.498, .631) or both. Of rank 256's points only
    (.437, .552) has less of both than one of full's, (.464, .579)."""
    figures = [one.figure for one in findings() if one.claim == "LA6" and "code-ift" in one.asked]
    assert figures[1] == "5 of full's and 1 of lora r256's"


def test_gaussian_noise_has_half_of_its_dimensions() -> None:
    drawn = np.random.default_rng(0).standard_normal((600, 600))
    squares = np.linalg.svd(drawn, compute_uv=False) ** 2
    needed = int(np.searchsorted(np.cumsum(squares) / squares.sum(), 0.9)) + 1
    assert gaussian_share(0.9) == pytest.approx(needed / 600, abs=0.005)


def test_the_sequences() -> None:
    t = 19.3 / math.sqrt(4.8**2 / 5 + 1.4**2 / 5)
    assert f"t = {t:.1f}" in of("LN5", "past tasks").test
