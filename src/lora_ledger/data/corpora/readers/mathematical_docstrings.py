"""Mathematical docstrings: prose about mathematics, as documents for continued pretraining.

In: wheels. Out: docstrings, cut at paragraphs into texts of about `longest` characters, that carry
LaTeX or enough of the vocabulary of mathematics; the group is the file, named as in
`python_source`. It does not take code that stands outside docstrings, and leaves out the sections
of references and cross-references.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.archives import python_files
from lora_ledger.data.corpora.checks import known, whole

LONGEST = 800
SHORTEST = 200
LATEX = re.compile(
    r"(?<!\\)\$[^$\n]{1,200}\$|:math:`|\.\. math::"
    r"|\\(frac|sum|int|sqrt|cdot|left|mathbb|alpha|begin)"
)
WORDS = re.compile(
    r"\b(theorem|lemma|proof|polynomials?|matri(?:x|ces)|integrals?|integers?|derivatives?|"
    r"equations?|groups?|subgroups?|rings?|fields?|ideals?|primes?|roots?|coefficients?|"
    r"eigenvalues?|determinant|vectors?|series|convergen\w+|distributions?|probabilit\w+|"
    r"variance|density|functions?|degree|factor\w*|permutations?|modulo|rational|complex|"
    r"algebra\w*|basis|bases|linear|quadratic|limit|graph|vertices|edges?|tensors?|summation|"
    r"differential|hypergeometric|gcd|congruen\w+|recurrence|bounded|inequalit\w+|sets?)\b",
    re.IGNORECASE,
)
# Distinct words of that vocabulary that a text without LaTeX must have.
ENOUGH_WORDS = 4
HEADING = re.compile(r"^(?P<title>[^\n]{3,60})\n(=|-|~|\^){3,}\s*$", re.MULTILINE)
UNDERLINE = re.compile(r"\s*(={3,}|-{3,}|~{3,}|\^{3,})\s*")
DROPPED = frozenset({"references", "see also", "reference", "notes and references", "todo"})


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Texts of 200 characters and more, in the order of wheel, path and line."""
    known(options, "longest")
    longest = whole(options, "longest", LONGEST, SHORTEST)
    for file in python_files(sources):
        for docstring in _docstrings(file.tree):
            for text in passages(docstring, longest):
                if len(text) >= SHORTEST and prose(text) and mathematical(text):
                    yield Example(group=file.group, text=text)


def mathematical(text: str) -> bool:
    """Whether a text carries LaTeX or at least four words of mathematics."""
    if LATEX.search(text):
        return True
    return len({word.lower() for word in WORDS.findall(text)}) >= ENOUGH_WORDS


def prose(text: str) -> bool:
    """Whether at least 0.4 of the characters stand outside doctests and their output."""
    outside = re.sub(r"^ *>>> .*\n(?:(?! *>>> | *$).*\n?)*", "", text, flags=re.MULTILINE)
    return len(outside) >= max(0.4 * len(text), 0.75 * SHORTEST)


def passages(docstring: str, longest: int) -> list[str]:
    """The docstring without its reference sections, in runs of paragraphs of about `longest`."""
    found = [""]
    for paragraph in re.split(r"\n\s*\n", without_references(docstring)):
        if found[-1] and len(found[-1]) + len(paragraph) > longest:
            found.append("")
        found[-1] += paragraph.rstrip() + "\n\n"
    texts = [_tidy(text) for text in found if len(text) <= 3 * longest]
    return [text for text in texts if text.strip()]


def _tidy(text: str) -> str:
    """Without the indentation that all lines share, and without a heading left at the end."""
    lines = textwrap.dedent(text.strip("\n")).rstrip().splitlines()
    while len(lines) >= 2 and UNDERLINE.fullmatch(lines[-1]):
        lines = "\n".join(lines[:-2]).rstrip().splitlines()
    return "\n".join(lines) + "\n"


def without_references(docstring: str) -> str:
    """The docstring without sections that only point elsewhere."""
    headings = list(HEADING.finditer(docstring))
    if not headings:
        return docstring
    edges = [*(one.start() for one in headings), len(docstring)]
    kept = [docstring[: edges[0]]]
    for heading, start, end in zip(headings, edges, edges[1:], strict=False):
        if heading["title"].strip().rstrip(":").lower() not in DROPPED:
            kept.append(docstring[start:end])
    return "".join(kept)


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, in the order of their lines."""
    owners = [tree, *_definitions(tree.body)]
    for owner in owners:
        first = owner.body[0] if owner.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            value = first.value.value
            if isinstance(value, str) and len(value) >= SHORTEST:
                yield inspect.cleandoc(value)


def _definitions(
    body: list[ast.stmt],
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement
            if isinstance(statement, ast.ClassDef):
                yield from _definitions(statement.body)
