"""Stage `decide`: a verdict for each rule of a study's `decisions`.

In: a study and the paths of its records, in any order; the history of the study file. Out: in one
folder a record for each rule, `<decision>.json`, and the table `claims` as CSV, Markdown and LaTeX.
A rule whose cells are not there is *not run*, and says what is missing; one that was committed
after the first record that it reads decides nothing. It evaluates nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.atomic import write_text_atomic
from lora_ledger.records.record import Record
from lora_ledger.scheduling.stage import Names, Stage, every_method, lean, of_the_whole
from lora_ledger.study.file import load, path_of
from lora_ledger.study.schema import Study

from ._main import flag, place, run
from ._records import paths_of

if TYPE_CHECKING:
    from lora_ledger.claims.deciding import Decided
    from lora_ledger.tables.evidence import Evidence


def reads(study: Study, names: Names) -> dict[str, Any]:
    """What the tables read, and the rules."""
    rules = {name: lean(rule) for name, rule in study.decisions.items()}
    return {**of_the_whole(study, names), "decisions": rules}


STAGE = Stage("decide", ("the first",), reads, modules=every_method)


def verdicts(evidence: Evidence, file: Path) -> list[Decided]:
    """The verdicts on the study's rules, by the records and by the history of the study file."""
    from lora_ledger.analysis.coverage import may_decide
    from lora_ledger.claims.catalogue import check_decided
    from lora_ledger.claims.committed import commitments
    from lora_ledger.claims.deciding import decide
    from lora_ledger.claims.observed import observe
    from lora_ledger.study.models import model_config

    study = evidence.study
    check_decided(study.decisions)
    observed, config = observe(evidence), model_config(study.model_entry())
    unsure = decide(study, observed, config, {})
    commits = {one.id: (one.run.get("code") or {}).get("commit") for one in evidence.every()}
    since = commitments(
        file,
        {name: rule.digest for name, rule in study.decisions.items()},
        {one.name: [commits[record] for record in one.records] for one in unsure},
    )
    return decide(study, observed, config, since, may_decide)


def record(one: Decided, evidence: Evidence, out: Path) -> Record:
    """The record of one rule; its inputs are the records that it read."""
    from lora_ledger.claims.report import results

    read = set(one.records)
    return STAGE.record(
        out / f"{one.name}.json",
        evidence.study,
        {"claim": one.rule.claim, "decision": one.name},
        one.name,
        inputs={name: found for name, found in evidence.ids().items() if found.id in read},
        settings={"decision": one.rule.model_dump(mode="json"), "digest": one.rule.digest},
        results=results(one, evidence.study),
    )


def write(found: list[Decided], evidence: Evidence, out: Path) -> None:
    """All records, and the table in its three forms."""
    from lora_ledger.claims.catalogue import statements
    from lora_ledger.claims.report import table
    from lora_ledger.tables.document import as_csv, as_latex, as_markdown
    from lora_ledger.tables.notes import header

    for one in found:
        record(one, evidence, out)
    made = table(found, statements(), header(evidence))
    for suffix, writer in {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}.items():
        write_text_atomic(out / f"claims{suffix}", writer(made))


FLAGS = (
    flag("study"),
    flag("records", "FILE.json ..., or - to read their names from standard input", nargs="+"),
    place("out", "folder of the verdicts"),
)


def main(args: argparse.Namespace) -> str:
    """Decide, and say how many came to which verdict."""
    from lora_ledger.tables.evidence import gather

    study = load(args.study)
    if not study.decisions:
        raise KeyProblem("decisions", {}, f"one rule or more in the study {study.name}")
    evidence = gather(study, paths_of(args.records))
    found = verdicts(evidence, path_of(args.study))
    write(found, evidence, args.out)
    counts = Counter(one.verdict for one in found)
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items())


if __name__ == "__main__":
    sys.exit(run(STAGE, __doc__, FLAGS, main))
