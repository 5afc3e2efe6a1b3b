"""Tasks: lm-eval task files over local data, and what can be known of them without lm-eval.

In: the name of a YAML file beside this module. Out: a `TaskInfo`: kind, corpus, split, whether it
runs generated code, version and digest. It renders no prompt (`loading` does) and imports neither
lm-eval nor torch, since the workflow reads it for every job.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml

HERE = Path(__file__).parent


class TaskError(ValueError):
    """A task that is not there, or whose file is not one."""


@dataclass(frozen=True)
class TaskInfo:
    """What a task file says about itself."""

    name: str
    kind: Literal["generate", "choices"]
    corpus: str
    split: str
    executes_code: bool
    version: str
    digest: str


class _Loader(yaml.SafeLoader):
    """SafeLoader that takes `!function module.name` for the text that it is."""


_Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")


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
    content: dict[str, Any] = yaml.load((HERE / f"{name}.yaml").read_text("utf-8"), Loader=_Loader)
    return content


def describe(name: str) -> TaskInfo:
    """The task `name`.

    The digest is the SHA-256 of the parsed file as canonical JSON, so that a comment changes
    nothing. Raises TaskError for an unknown name or a file whose metadata lacks a key.
    """
    content = read(name)
    said = content.get("metadata", {})
    wanted = ("version", "kind", "corpus", "split", "executes_code")
    absent = [key for key in wanted if key not in said]
    if absent or content.get("task") != name:
        raise TaskError(
            f"{name}.yaml: found task {content.get('task')!r} and metadata without "
            f"{', '.join(absent) or 'fault'}; expected task {name!r} and metadata with "
            f"{', '.join(wanted)}"
        )
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return TaskInfo(
        name=name,
        kind=said["kind"],
        corpus=said["corpus"],
        split=said["split"],
        executes_code=said["executes_code"],
        version=str(said["version"]),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )
