"""Which commit first held a rule as it stands, and whether the records that it reads came after.

In: a study file in a git checkout, a rule's name and digest, the commits in records. Out: *before*,
*post hoc*, or that it cannot be told, with the reason. It reads the history of that one file, runs
git and nothing else, and changes nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_ledger.common import yaml
from lora_ledger.common.yaml import YamlError
from lora_ledger.study.decisions import Decision

When = Literal["before", "post hoc", "unknown"]


@dataclass(frozen=True)
class Commitment:
    """`commit`: the first of those since which the rule stands in the study file as it does now."""

    when: When
    commit: str | None
    reason: str


def first_commits(file: Path, digests: Mapping[str, str]) -> dict[str, str | None]:
    """By rule, the commit since which the file holds it with this digest; None where the newest
    version of the file that is committed does not."""
    found: dict[str, str | None] = dict.fromkeys(digests)
    open_rules = set(digests)
    for commit in _git(file, "log", "--format=%H", "--", file.name).split():
        text = _git(file, "show", f"{commit}:./{file.name}")
        held = _digests(text)
        open_rules = {name for name in open_rules if held.get(name) == digests[name]}
        if not open_rules:
            break
        found |= dict.fromkeys(open_rules, commit)
    return found


def commitment(file: Path, commit: str | None, recorded: Iterable[str | None]) -> Commitment:
    """Of a rule first held by `commit`, against the commit of each record that it reads."""
    if commit is None:
        if not _is_checkout(file):
            return Commitment("unknown", None, f"{file} is in no git checkout")
        return Commitment("post hoc", None, f"the rule as it stands is not committed in {file}")
    short = commit[:12]
    for made in dict.fromkeys(recorded):
        if made is None:
            reason = "a record does not say from which commit it was made"
            return Commitment("unknown", commit, reason)
        holds = _is_ancestor(file, commit, made)
        if holds is None:
            reason = f"a record was made at {made[:12]}, which this checkout does not have"
            return Commitment("unknown", commit, reason)
        if not holds:
            reason = f"a record was made at {made[:12]}, which does not have the rule ({short})"
            return Commitment("post hoc", commit, reason)
    return Commitment("before", commit, f"committed in {short}, before the records that it reads")


def _digests(text: str) -> dict[str, str]:
    """The digests of the rules in an earlier text; a rule that is none today has none."""
    try:
        raw = yaml.load(text)
    except YamlError:
        return {}
    rules = raw.get("decisions") if isinstance(raw, dict) else None
    found = {}
    for name, rule in (rules if isinstance(rules, dict) else {}).items():
        try:
            found[str(name)] = Decision.model_validate(rule).digest
        except ValueError:
            continue
    return found


def _is_checkout(file: Path) -> bool:
    try:
        return _git(file, "rev-parse", "--is-inside-work-tree").strip() == "true"
    except (OSError, subprocess.CalledProcessError):
        return False


def _is_ancestor(file: Path, first: str, second: str) -> bool | None:
    done = subprocess.run(
        ["git", "merge-base", "--is-ancestor", first, second],
        cwd=file.parent, capture_output=True, check=False,
    )  # fmt: skip
    return {0: True, 1: False}.get(done.returncode)


def _git(file: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", *command], cwd=file.parent, capture_output=True, text=True, check=True
    )
    return done.stdout


def commitments(
    file: Path, rules: Mapping[str, str], recorded: Mapping[str, Iterable[str | None]]
) -> dict[str, Commitment]:
    """Of each rule by its name; `recorded` gives the commits behind what it reads."""
    if not _is_checkout(file):
        reason = f"{file} is in no git checkout"
        return {name: Commitment("unknown", None, reason) for name in rules}
    try:
        first = first_commits(file, rules)
    except (OSError, subprocess.CalledProcessError) as error:
        return {name: Commitment("unknown", None, f"git: {error}") for name in rules}
    return {name: commitment(file, first[name], recorded.get(name, ())) for name in rules}
