"""`ledger claims`: the ledger of claims, one claim with all that stands behind it, and the page of
re-analyses.

In: `claims.yaml`, `results/published/`, and the verdicts of studies as far as there are any. Out:
text. It decides nothing, and it writes no file.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lora_ledger.claims import verdicts
from lora_ledger.claims.catalogue import Claim, Protocol
from lora_ledger.claims.catalogue import claims as all_claims
from lora_ledger.claims.published import Value
from lora_ledger.claims.verdicts import NOT_RUN, OUTCOMES, Verdict
from lora_ledger.common.errors import require

from .show import terminal

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow", NOT_RUN: "dim"}
DIFFERS = "differs"
"""Studies of other scopes came to other verdicts; `--study` shows one."""


def print_claims(ids: Sequence[str], paper: str | None, study: str | None, results: Path) -> int:
    """Print the ledger, of one paper perhaps, or the claims named; 0.

    Raises ValueError for an unknown claim or paper.
    """
    claims = all_claims()
    found = verdicts.read(results, study, list(claims))
    console = terminal()
    if ids:
        for name in ids:
            require("claim", name, claims, "one of the ledger's")
            _print_one(console, claims[name], claims, found.get(name, []))
        return 0
    chosen = _of_paper(claims, paper)
    outcomes = Counter(_outcome(found.get(claim.id, [])) for claim in chosen)
    shown = (*OUTCOMES, DIFFERS) if outcomes[DIFFERS] else OUTCOMES
    counts = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in shown)
    console.print(f"{len(chosen)} claims: {counts}", soft_wrap=True)
    for source in dict.fromkeys(claim.source for claim in chosen):
        console.print()
        heading = f"{source.letter}  {source.cite}: {source.title}"
        console.print(Text(heading, style="bold"), soft_wrap=True)
        grid = _grid("id", "verdict", "claim")
        for claim in chosen:
            if claim.source == source:
                outcome = _outcome(found.get(claim.id, []))
                said = Text(claim.statement)
                if outcome == NOT_RUN:
                    said.append(f"\nmissing: {claim.missing}", style="dim")
                grid.add_row(claim.id, Text(outcome, style=STYLES.get(outcome, "yellow")), said)
        console.print(grid)
    console.print()
    console.print("One claim with all behind it: ledger claims ID", soft_wrap=True)
    return 0


def print_reanalysis() -> int:
    """Print docs/reanalysis.md as the published numbers make it; 0."""
    # Here, since scipy takes a second that nothing else needs.
    from lora_ledger.claims.reanalysis import document, findings

    statements = {claim.id: claim.statement for claim in all_claims().values()}
    sys.stdout.write(document(statements, findings()))
    return 0


def _of_paper(claims: Mapping[str, Claim], paper: str | None) -> list[Claim]:
    """Those of a letter or of a paper's key; all without one."""
    if paper is None:
        return list(claims.values())
    known = {key for claim in claims.values() for key in (claim.source.letter, claim.source.paper)}
    require("--paper", paper, sorted(known), "a letter or a paper")
    return [c for c in claims.values() if paper in (c.source.letter, c.source.paper)]


def _outcome(found: Sequence[Verdict]) -> str:
    """One study's verdict, or that of several where they agree."""
    outcomes = {verdict.outcome for verdict in found if verdict.outcome != NOT_RUN}
    if len(outcomes) > 1:
        return DIFFERS
    return outcomes.pop() if outcomes else NOT_RUN


def _print_one(
    console: Console, claim: Claim, claims: Mapping[str, Claim], found: Sequence[Verdict]
) -> None:
    from lora_ledger.claims.reanalysis import findings

    console.print(Text(f"{claim.id}  {claim.statement}", style="bold"))
    facts = _grid("", "")
    facts.show_header = False
    source = claim.source
    facts.add_row("paper", f"{source.cite}: {source.title}, {claim.place}")
    facts.add_row("", source.address)
    for name in ("kind", "metric", "reported", "scope"):
        facts.add_row(name, getattr(claim, name))
    for verdict in found:
        said = "; ".join((f"{verdict.outcome} in {verdict.study}", *verdict.reasons))
        facts.add_row("verdict", f"{said} (record {verdict.record[:16]})")
    if not found:
        facts.add_row("verdict", f"{NOT_RUN}; missing: {claim.missing}")
    for label, others in (("contradicts", claim.contradicts), ("see", claim.see)):
        for other in others:
            facts.add_row(
                label, f"{other} ({claims[other].source.cite}): {claims[other].statement}"
            )
    console.print(facts)
    _heading(console, f"protocol of the paper ({claim.protocol_name})")
    protocol = _grid("", "")
    protocol.show_header = False
    for name in Protocol.model_fields:
        protocol.add_row(name, getattr(claim.protocol, name))
    console.print(protocol)
    _heading(console, "published numbers" if claim.values else "no published number is held")
    _print_values(console, claim.values)
    retested = [one for one in findings() if one.claim == claim.id]
    if retested:
        _heading(console, "re-analysis of published numbers (no verdict)")
        grid = _grid("asked of the tables", "units", "figure", "test", "reading")
        for one in retested:
            grid.add_row(one.asked, one.units, one.figure, one.test, one.reading)
        console.print(grid)
    console.print()


def _print_values(console: Console, values: Sequence[Value]) -> None:
    """For each table, setting and metric: arms and variants down, budgets across; then notes."""
    groups: dict[tuple[str, ...], list[Value]] = {}
    for value in values:
        key = (value.paper, value.table, value.setting, value.metric, value.unit)
        groups.setdefault(key, []).append(value)
    for (paper, place, setting, metric, unit), rows in groups.items():
        console.print(Text(f"{paper}, {place}, {setting}: {metric} ({unit})", style="dim"))
        console.print(_pivot(rows))
        noted: dict[str, list[str]] = {}
        for row in rows:
            if row.note:
                noted.setdefault(row.note, []).append(_arm(row))
        for note, arms in noted.items():
            whose = f"{', '.join(arms)}: " if len(arms) < len(rows) else ""
            console.print(Text(f"  {whose}{note}", style="dim"))


def _pivot(rows: Sequence[Value]) -> Table:
    budgets = list(dict.fromkeys(str(row.budget or "value") for row in rows))
    written = [f"{row.value:g}" for row in rows]
    if not any("e" in text for text in written):
        places = max(len(text.partition(".")[2]) for text in written)
        written = [f"{row.value:.{places}f}" for row in rows]
    lines: dict[str, dict[str, str]] = {}
    for row, text in zip(rows, written, strict=True):
        error = f" ± {row.error:g}" if row.error else ""
        lines.setdefault(_arm(row), {})[str(row.budget or "value")] = text + error
    grid = _grid("arm", *budgets)
    for arm, cells in lines.items():
        grid.add_row(arm, *(cells.get(budget, "") for budget in budgets))
    return grid


def _arm(row: Value) -> str:
    return "; ".join((row.arm, *(f"{name} {said}" for name, said in row.variant.items())))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _grid(*columns: str) -> Table:
    """Columns whose first never breaks."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for place, column in enumerate(columns):
        grid.add_column(column, no_wrap=place == 0 and len(columns) < 4, overflow="fold")
    return grid
