"""The table of diversity: unique completions, as the paper counts them and at equal class size.

In: `Evidence` with diversity records.
Out: a `Table`, one section for each setting, run and class (passing, failing, all); somebody
else's models stand under `external`.
Counts of unequal classes are not comparable: more samples hold more distinct strings. So beside
the paper's count stands the rarefied one, at the smallest class size that all arms have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lora_ledger.analysis.statistics import (
    Resampling,
    bootstrap_mean,
    expected_distinct,
    paired_mean,
)

from .arms import (
    DIVERGED,
    Family,
    columns_of_arms,
    derived_note,
    external_note,
    named_base,
    trained,
    untrained,
    with_derived,
)
from .document import Column, Section, Table, Value
from .evidence import Evidence, EvidenceError
from .measures import blocked, resampling
from .notes import cut

CLASSES = ("passing", "failing", "all")
Counts = list[list[int]]


def diversity(evidence: Evidence, notes: tuple[str, ...], interval: str) -> Table:
    """Each class of each run and setting; an empty class shows a dash."""
    columns = (
        *columns_of_arms(evidence),
        Column("problems", "problems", right=True),
        Column("size", "samples each", digits=1, right=True),
        Column("exact", f"unique [{interval}]", digits=2, right=True),
        Column("m", "m", right=True),
        Column("compared", "problems at m", right=True),
        Column("exact_m", f"unique at m [{interval}]", digits=2, right=True),
        Column("change", f"change against base [{interval}]", digits=2, signed=True, right=True),
        Column("syntax_m", "syntax-blind at m", digits=2, right=True),
        *(Column(f"distinct_{n}", f"distinct-{n}", right=True) for n in (1, 2, 3)),
    )
    sections = []
    for run, family in _families(evidence):
        for name in CLASSES:
            keys = {"setting": family.heading, "run": run, "class": name}
            sections.append(Section(keys, tuple(_rows(evidence, family, run, name))))
    extra = (
        "unique: distinct completions among a problem's samples, mean over problems whose class is "
        "not empty (the paper's count; larger classes hold more)",
        "at m: expected number of distinct ones among m samples drawn without replacement, m the "
        "smallest class size that all arms of the section have for a problem, over the problems "
        "where that is 2 or more; an arm whose class is empty for every problem takes no part",
        "syntax-blind: white space, comments and docstrings do not count; distinct-n: share of "
        "distinct word n-grams, mean over problems",
        "resampled: problems, all samples of one together",
        *cut(evidence, "generate", evidence.study.evaluation.generate),
        *external_note(evidence),
        *derived_note(evidence),
    )
    return Table(
        "diversity", "How varied the completions are", (*notes, *extra), columns, tuple(sections)
    )


def _families(evidence: Evidence) -> Iterator[tuple[str, Family]]:
    """(run, whose rows stand together): the settings, then what was trained in none."""
    runs = list(evidence.study.evaluation.generate)
    for setting in evidence.study.settings:
        arms = tuple(trained(evidence, evidence.of_setting(setting)))
        family = Family(setting, arms)
        for run in runs:
            if any((run, label) in evidence.diversity for label in family.labels):
                yield run, family
    for run in runs:
        outside = untrained(evidence, [label for one, label in evidence.diversity if one == run])
        if outside:
            yield run, outside


def _rows(evidence: Evidence, family: Family, run: str, name: str) -> Iterator[Mapping[str, Value]]:
    how = resampling(evidence, "problems")
    held = evidence.of_run("diversity", run)
    bases = evidence.bases(family.labels)
    found = {x: held[x].results for x in (*bases, *family.labels) if x in held}
    counts = {label: r["classes"][name]["exact"] for label, r in found.items()}
    taking_part = {label: problems for label, problems in counts.items() if any(problems)}
    sizes = common_sizes(taking_part, run)
    rarefied = {x: _rarefied(counts[x], sizes) for x in bases if x in taking_part}
    for label in bases:
        if label in found:
            row = _counted(found[label], name, sizes, [], how)
            yield named_base(evidence, label) | row
    for arm in with_derived(evidence, family.arms):
        if arm.derived:
            # What is no arm takes no part in the smallest class size, nor is it held against it.
            if arm.labels[0] in held:
                yield arm.named | _counted(held[arm.labels[0]].results, name, [], [], how)
            continue
        given = [label for label in arm.labels if label in found]
        before = [rarefied[x] for label in arm.labels if (x := evidence.base(label)) in rarefied]
        if len(before) < len(arm.labels):
            before = []
        elif len(rarefied) == 1:
            before = before[:1]
        if evidence.diverged(arm.labels[0]):
            yield arm.named | {"exact": DIVERGED, "exact_m": DIVERGED}
        elif len(arm.labels) == 1 and given:
            yield arm.named | _counted(found[given[0]], name, sizes, before, how)
        elif len(given) == len(arm.labels) and all(label in taking_part for label in given):
            drawn = blocked(evidence, how, given)
            yield arm.named | _at_m([counts[label] for label in given], sizes, before, drawn)


def _at_m(
    arm: list[Counts], sizes: list[int], before: list[list[float]], how: Resampling
) -> dict[str, Value]:
    """Rarefied counts of one arm, or of its seeds crossed with the problems; `before` likewise, of
    the base or of each seed's own."""
    compared = [m for m in sizes if m >= 2]
    row: dict[str, Value] = {"compared": len(compared)}
    if compared:
        low, high = min(compared), max(compared)
        row["m"] = str(low) if low == high else f"{low}-{high}"
        exact = [_rarefied(counts, sizes) for counts in arm]
        row["exact_m"] = bootstrap_mean(exact, how)
        if before:
            row["change"] = paired_mean(exact, before, how)
    return row


def common_sizes(counts: Mapping[str, Counts], run: str) -> list[int]:
    """The smallest class size over the arms, for each problem."""
    lengths = {len(problems) for problems in counts.values()}
    if len(lengths) > 1:
        raise EvidenceError(
            f"diversity of {run}: found {sorted(lengths)} problems, expected the "
            "same ones for all cells; generate again with the same study"
        )
    return [min(map(sum, problems)) for problems in zip(*counts.values(), strict=True)]


def _rarefied(counts: Counts, sizes: list[int]) -> list[float]:
    return [expected_distinct(c, m) for c, m in zip(counts, sizes, strict=True) if m >= 2]


def _counted(
    results: Mapping[str, Any],
    name: str,
    sizes: list[int],
    before: list[list[float]],
    how: Resampling,
) -> dict[str, Value]:
    kinds = results["classes"][name]
    filled = [counts for counts in kinds["exact"] if counts]
    row: dict[str, Value] = {"problems": len(filled)}
    if filled:
        row["size"] = sum(map(sum, filled)) / len(filled)
        row["exact"] = bootstrap_mean([len(counts) for counts in filled], how)
    if not filled:
        return row | {"compared": 0}
    row |= _at_m([kinds["exact"]], sizes, before, how)
    if row["compared"]:
        syntax = _rarefied(kinds["syntax"], sizes)
        row["syntax_m"] = sum(syntax) / len(syntax)
    if name == "all":
        for n in (1, 2, 3):
            shares = [share for share in results["distinct_n"][str(n)] if share is not None]
            row[f"distinct_{n}"] = sum(shares) / len(shares) if shares else None
    return row
