"""Tasks: lm-eval task files over local data, and what can be known of them without lm-eval.

In: the name of a YAML file beside this module. Out: a `TaskInfo`: kind, corpora, split, examples
before the prompt, who judges, version and digest. It renders no prompt (`loading` does) and
imports neither lm-eval nor torch, since the workflow reads it for every job.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from lora_ledger.common import yaml

HERE = Path(__file__).parent
EQUALS = ("same rows", "rebuilt rows", "other text", "own task")
JUDGES = ("humaneval", "mbpp")
OWN_ITEMS = "own items"
LISTED = "listed"


class TaskError(ValueError):
    """A task that is not there, or whose file is not one."""


@dataclass(frozen=True)
class TaskInfo:
    """What a task file says about itself.

    `question` is the field that holds what is asked. `num_fewshot` is the file's own number of
    solved examples; `exemplars` says where they are drawn from: a split of the corpus, `listed`
    (in the file), `own items` (the task's other items), or empty where there are none. `judge`
    says how generated code is run, and is empty where lm-eval's filters and metrics decide.
    """

    name: str
    kind: Literal["generate", "choices", "continuation"]
    corpus: str
    corpora: tuple[str, ...]
    equals: str
    split: str
    question: str
    num_fewshot: int
    exemplars: str
    executes_code: bool
    judge: str
    version: str
    digest: str

    def shots(self, asked: int | None) -> int:
        """The number of solved examples that a run asks for; the file's own where it says none."""
        return self.num_fewshot if asked is None else asked


def names() -> list[str]:
    """The names of all task files, sorted."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """The parsed file of a task; TaskError names the task most like one that is not there."""
    known = names()
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TaskError(f"one of {', '.join(known)}{hint}")
    try:
        content: dict[str, Any] = yaml.read(HERE / f"{name}.yaml", functions=True)
    except yaml.YamlError as error:
        raise TaskError(str(error)) from error
    return content


@cache
def describe(name: str, corpus: str | None = None) -> TaskInfo:
    """The task `name` over `corpus`, one of those that its file names; default: the first.

    `equals` says what the task is of upstream lm-eval's: the same rows; its templates over rows
    rebuilt from another file; other text under the same templates; or a task of this project.
    The digest is the SHA-256 of the parsed file as canonical JSON without its list of changes, so
    that neither a comment nor a better account of a change changes it. Raises TaskError for an
    unknown name or corpus, or a file whose metadata lacks a key or holds a wrong one.
    """
    content = read(name)
    said = content.get("metadata", {})
    wanted = ("version", "kind", "corpora", "split", "executes_code", "changes")
    absent = [key for key in wanted if key not in said]
    if absent or content.get("task") != name:
        raise TaskError(
            f"{name}.yaml: found task {content.get('task')!r} and metadata without "
            f"{', '.join(absent) or 'fault'}; expected task {name!r} and metadata with "
            f"{', '.join(wanted)}"
        )
    corpora: dict[str, str] = said["corpora"]
    chosen = corpus or next(iter(corpora))
    if chosen not in corpora:
        raise TaskError(f"a corpus of the task {name}: {', '.join(corpora)} (found {chosen!r})")
    _check(name, f"metadata.corpora.{chosen}", corpora[chosen], EQUALS)
    judge = said.get("judge", "")
    _check(name, "metadata.judge", judge, JUDGES if said["executes_code"] else ("",))
    last = str(said["changes"][-1]["version"])
    _check(name, "metadata.version", str(said["version"]), (last,), " as the last of its changes")
    kept = {**content, "metadata": {k: v for k, v in said.items() if k != "changes"}}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return TaskInfo(
        name=name,
        kind=said["kind"],
        corpus=chosen,
        corpora=tuple(corpora),
        equals=corpora[chosen],
        split=said["split"],
        question=said.get("question", "prompt"),
        num_fewshot=int(content.get("num_fewshot") or 0),
        exemplars=said.get("exemplars", {}).get(chosen) or _exemplars(content, said["kind"]),
        executes_code=said["executes_code"],
        judge=judge,
        version=str(said["version"]),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _check(name: str, key: str, found: str, known: tuple[str, ...], why: str = "") -> None:
    if found not in known:
        raise TaskError(
            f"{name}.yaml: {key}: found {found!r}, expected {' or '.join(map(repr, known))}{why}"
        )


def _exemplars(content: dict[str, Any], kind: str) -> str:
    """Where examples come from if the corpus has no split for them that upstream trains on. As
    upstream has it, a task of likelihoods then draws from its own items; a generation task is not
    given its own references."""
    if "samples" in content.get("fewshot_config", {}):
        return LISTED
    return str(content.get("fewshot_split", "" if kind == "generate" else OWN_ITEMS))
