"""Python source: the modules of a few libraries, as documents for continued pretraining on code.

In: wheels. Out: one text for each file, or for each run of top-level definitions of a long file, as
its author wrote it; the group is the file. Options: `longest`, the characters at which a document
is closed. It does not strip comments, reformat, or judge the code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.archives import PythonFile, mostly_words, python_files
from lora_ledger.data.corpora.checks import known, whole

LONGEST = 6_000
SHORTEST = 200
# A definition that cannot be cut any further may be longer than a document, up to this factor.
SLACK = 2


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Documents of at most twice `longest` characters, in the order of wheel, path and line."""
    known(options, "longest")
    longest = whole(options, "longest", LONGEST, SHORTEST)
    for file in python_files(sources):
        for text in documents(file, longest):
            if len(text) >= SHORTEST and len(text) <= SLACK * longest and mostly_words(text):
                yield Example(group=file.group, text=text)


def documents(file: PythonFile, longest: int) -> list[str]:
    """The file as it stands, or cut before definitions into runs of about `longest` characters."""
    if len(file.text) <= longest:
        return [_tidy(file.text)]
    lines = file.text.splitlines(keepends=True)
    cuts = [0, *_cuts(file.tree.body, lines, longest), len(lines)]
    pieces = ["".join(lines[a:b]) for a, b in pairwise(cuts) if a < b]
    found = [""]
    for piece in pieces:
        if found[-1] and len(found[-1]) + len(piece) > longest:
            found.append("")
        found[-1] += piece
    return [_tidy(text) for text in found if text.strip()]


def _tidy(text: str) -> str:
    """Without blank lines at the ends; the first line keeps its indentation."""
    lines = text.splitlines()
    while lines and not lines[0].strip():
        lines.pop(0)
    return "\n".join(lines).rstrip() + "\n"


def _cuts(body: Sequence[ast.stmt], lines: Sequence[str], longest: int) -> Iterator[int]:
    """Line numbers, from 0, before which a document may end."""
    for statement in body:
        start = _start(statement, lines)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield start
        end = statement.end_lineno or statement.lineno
        if isinstance(statement, ast.ClassDef) and sum(map(len, lines[start:end])) > longest:
            yield from _cuts(statement.body, lines, longest)


def _start(statement: ast.stmt, lines: Sequence[str]) -> int:
    """The statement's first line, from 0, with its decorators and the comments just above."""
    first = statement.lineno
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        first = min([first, *(one.lineno for one in statement.decorator_list)])
    start = first - 1
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start
