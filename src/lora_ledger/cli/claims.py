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
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lora_ledger.claims import verdicts
from lora_ledger.claims.catalogue import Claim, Protocol
from lora_ledger.claims.catalogue import claims as all_claims
from lora_ledger.claims.published import Value
from lora_ledger.claims.verdicts import DIFFERS, NOT_RUN, OUTCOMES, Verdict, outcome
from lora_ledger.common.errors import require

from .show import terminal

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow", NOT_RUN: "dim"}
SIDE_BY_SIDE = "claims that contradict each other, side by side"


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
            _print_one(console, claims[name], claims, found)
        return 0
    chosen = _of_paper(claims, paper)
    outcomes = Counter(outcome(found.get(claim.id, [])) for claim in chosen)
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
                mine = found.get(claim.id, [])
                word = outcome(mine)
                said = Text(claim.statement)
                for verdict in mine:
                    said.append(f"\n{_short(verdict)}", style="dim")
                if not mine:
                    said.append(f"\nmissing: {claim.missing}", style="dim")
                grid.add_row(claim.id, _styled(word), said)
        console.print(grid)
    _print_pairs(console, chosen, claims, found)
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


def _print_one(
    console: Console,
    claim: Claim,
    claims: Mapping[str, Claim],
    decided: Mapping[str, list[Verdict]],
) -> None:
    found = decided.get(claim.id, [])
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
    for verdict in found:
        if verdict.found.get("rule"):
            _print_rule(console, verdict)
    if claim.contradicts:
        _print_pairs(console, [claim], claims, decided)
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


def _short(verdict: Verdict) -> str:
    """A verdict in one line: study, rule, what was found, the first reason."""
    found = verdict.found
    said = f"{verdict.study}/{verdict.decision}: {verdict.outcome}"
    if found.get("estimate") is not None:
        said += f", {_estimate(found)}"
    return f"{said}; {verdict.reasons[0]}" if verdict.reasons else said


def _estimate(found: Mapping[str, Any]) -> str:
    bounds = [found.get("low"), found.get("high")]
    interval = "" if None in bounds else f" [{bounds[0]:+.4g}, {bounds[1]:+.4g}]"
    return f"{found['estimate']:+.4g}{interval}"


def _styled(word: str) -> Text:
    return Text(word, style=STYLES.get(word, "yellow"))


def _print_rule(console: Console, verdict: Verdict) -> None:
    """Everything behind one verdict: the rule, the test, the numbers, what was read."""
    found = verdict.found
    _heading(console, f"{verdict.study}: {verdict.decision}, {verdict.outcome}")
    grid = _grid("", "")
    grid.show_header = False
    rank = "primary" if found["primary"] else "secondary"
    grid.add_row("rule", f"{found['rule']} ({rank}, version {found['version']})")
    grid.add_row("digest", str(found["digest"]))
    if found.get("committed"):
        since = found["committed"]
        grid.add_row("committed", f"{since['when']}: {since['reason']}")
    if found.get("estimate") is not None:
        grid.add_row("test", str(found["test"]))
        unit = f" {found['unit']}" if found.get("unit") else ""
        grid.add_row("estimate", f"{_estimate(found)}{unit}, 95 %")
        for name in ("margin", "df", "n", "p", "adjusted"):
            if found.get(name) is not None:
                units = f" {found['units']}" if name == "n" else ""
                grid.add_row(
                    "adjusted p" if name == "adjusted" else name, f"{found[name]:.4g}{units}"
                )
        grid.add_row("found", found.get("word") or "no word at the corrected level")
    for reason in verdict.reasons:
        grid.add_row("", reason)
    if found.get("lost"):
        grid.add_row("diverged", ", ".join(found["lost"]))
    grid.add_row("scope", str(found["scope"]))
    if verdict.inputs:
        read = ", ".join(f"{name} {record}" for name, record in verdict.inputs.items())
        grid.add_row("records", read)
    console.print(grid)


def _print_pairs(
    console: Console,
    chosen: Sequence[Claim],
    claims: Mapping[str, Claim],
    found: Mapping[str, list[Verdict]],
) -> None:
    """Claims of two papers that cannot both be so, beside each other with their verdicts."""
    pairs = {tuple(sorted((one.id, other))) for one in chosen for other in one.contradicts}
    if not pairs:
        return
    _heading(console, SIDE_BY_SIDE)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False)
    for pair in sorted(pairs):
        sides = []
        for name in pair:
            said = Text(f"{name} ({claims[name].source.cite}): ", style="bold")
            said.append_text(_styled(outcome(found.get(name, []))))
            sides.append(said.append(f"\n{claims[name].statement}", style="not bold"))
        grid.add_row(*sides)
    console.print(grid)


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
