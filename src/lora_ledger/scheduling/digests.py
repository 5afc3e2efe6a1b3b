"""The code digest: a hash over the statements that a stage reaches, as far as they compute.

In: modules of this package. Out: a hash over the *set* of top-level statements that the modules
hold and, through the names in them, reach elsewhere in the package. A statement counts as its
source text without comments, docstrings, imports and the package's paths, so that the digest is
the same on every Python and after a file was moved.
Followed are names that were imported, in whatever function the import stands; modules and files
that are named in a text (`"lora_ledger.sandbox.judge"`, a file beside a module that asks for
`__file__`). Left out is what decides no number: see LEFT_OUT. The keys of a configuration class
are left out too, since their values enter as settings.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.name
# Schemas, whose values enter as settings; what schedules, stores or shows; sources, whose bytes are
# compared with their hashes.
LEFT_OUT = ("records", "scheduling", "cli", "study", "catalogue", "data.sources", "common.errors")
CONFIGURATION = ("Frozen", "MethodBase", "Rates")
"""Base classes of configuration: what their subclasses' annotated keys are set to is a setting."""
OF_PICTURES = ("colours", "distance")
"""Functions of such classes that pictures alone ask."""


Bound = dict[str, set[tuple[str, str]]]
"""Local name -> what it may mean: (module, name), or (module, "") for the whole module."""


@dataclass
class Statement:
    """One top-level statement: what it defines, its text, and the (module, name) pairs it uses.

    An empty name stands for a whole module.
    """

    names: frozenset[str]
    text: str
    uses: frozenset[tuple[str, str]]


@dataclass
class Module:
    """A module's statements; those without a name run when it is imported, whoever imports it."""

    statements: list[Statement] = field(default_factory=list)
    imported: Bound = field(default_factory=dict)

    def defining(self, name: str) -> list[Statement]:
        return [one for one in self.statements if name in one.names]

    def unnamed(self) -> list[Statement]:
        return [one for one in self.statements if not one.names]


@cache
def code_digest(*modules: str) -> str:
    """Hex SHA-256 of all that these modules reach; named from the package down.

    Raises ValueError for a module that is not there.
    """
    texts = sorted({text for _, text in reached(*modules)})
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def closure(*modules: str) -> set[str]:
    """The modules of which something is reached."""
    return {module for module, _ in reached(*modules)} | set(modules)


@cache
def reached(*modules: str) -> frozenset[tuple[str, str]]:
    """(module, text) of each statement that the modules reach, and of each file beside a module."""
    for name in modules:
        if file_of(name) is None:
            raise ValueError(f"code digest: found no module {ROOT}.{name}")
    found: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in modules]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in seen or left_out(module):
            continue
        seen.add((module, name))
        if module.startswith("file:"):
            found.add((module, _content(module.removeprefix("file:"))))
            continue
        content = parsed(module)
        if name and not content.defining(name):
            if name in content.imported:
                waiting += content.imported[name]
            elif file_of(f"{module}.{name}"):
                waiting.append((f"{module}.{name}", ""))
            continue
        chosen = content.defining(name) if name else content.statements
        for one in [*chosen, *content.unnamed()]:
            if (module, one.text) not in found:
                found.add((module, one.text))
                waiting += one.uses
    return frozenset(found)


def left_out(module: str) -> bool:
    """Whether a module decides no number."""
    return any(f"{module}.".startswith(f"{name}.") for name in LEFT_OUT)


def file_of(module: str) -> Path | None:
    """The file of a module named from the package down; None where there is none."""
    base = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def modules() -> list[str]:
    """Every module of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in found if name]


@cache
def parsed(name: str) -> Module:
    """A module's statements with what each of them uses."""
    path = file_of(name)
    assert path is not None
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    lines = _without_comments(source)
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    made = Module()
    bodies = [node for node in tree.body if not _docstring(node)]
    for node in bodies:
        _add(made.imported, _imports(node, here))
    own = {one for node in bodies for one in _names(node)}
    for node in bodies:
        if isinstance(node, ast.Import | ast.ImportFrom) or _only_types(node):
            continue
        uses = {(name, one) for one in _loaded(node) & own}
        uses |= set(_references(node, _add(_imports(node, here), made.imported)))
        uses |= set(_texts(node, path))
        made.statements.append(
            Statement(frozenset(_names(node)), _text(node, lines), frozenset(uses - {(name, "")}))
        )
    return made


def _names(node: ast.stmt) -> set[str]:
    """The names that a top-level statement gives a value; none where it only acts."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return set()
    # `table[key] = value` changes what another statement made.
    if any(isinstance(target, ast.Subscript | ast.Attribute) for target in targets):
        return set()
    return {name for target in targets if target for name in _stored(target)}


def _stored(node: ast.AST) -> set[str]:
    names = (one for one in ast.walk(node) if isinstance(one, ast.Name))
    return {one.id for one in names if isinstance(one.ctx, ast.Store)}


def _loaded(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _only_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _add(bound: Bound, more: Bound) -> Bound:
    for name, meanings in more.items():
        bound.setdefault(name, set()).update(meanings)
    return bound


def _imports(node: ast.AST, here: list[str]) -> Bound:
    """What a node imports of the package: local name -> (module, name or "" for the whole)."""
    found: Bound = {}
    for one in ast.walk(node):
        if isinstance(one, ast.Import):
            for alias in one.names:
                if alias.name.startswith(f"{ROOT}.") and alias.asname:
                    whole = alias.name.removeprefix(f"{ROOT}.")
                    found.setdefault(alias.asname, set()).add((whole, ""))
        elif isinstance(one, ast.ImportFrom):
            module = (one.module or "").split(".") if one.module else []
            if one.level:
                target = here[: len(here) - one.level + 1] + module
            elif module and module[0] == ROOT:
                target = module[1:]
            else:
                continue
            stem = ".".join(target)
            for alias in one.names:
                inner = f"{stem}.{alias.name}" if stem else alias.name
                meaning = (inner, "") if file_of(inner) else (stem, alias.name)
                found.setdefault(alias.asname or alias.name, set()).add(meaning)
    return found


def _references(node: ast.AST, bound: Bound) -> Iterator[tuple[str, str]]:
    """What the names in a node mean: `module.name` of an imported module, or what was imported."""
    taken = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
            for module, name in bound.get(one.value.id, ()):
                if not name:
                    taken.add(id(one.value))
                    yield module, one.attr
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and id(one) not in taken:
            yield from bound.get(one.id, ())


def _texts(node: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """Modules that a text names in full; files beside this one where `__file__` is asked for."""
    beside = "__file__" in _loaded(node)
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            name = one.value.removeprefix(f"{ROOT}.")
            if name != one.value and file_of(name):
                yield name, ""
            if beside and one.value and (path.parent / one.value).exists():
                target = path.parent / one.value
                module = ".".join(target.relative_to(PACKAGE).with_suffix("").parts)
                yield (module, "") if target.suffix == ".py" else (f"file:{target}", "")


def _content(path: str) -> str:
    """The bytes of a file, or of all files of a folder, as a hash."""
    found = Path(path)
    files = sorted(found.rglob("*")) if found.is_dir() else [found]
    hashes = [(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files if f.is_file()]
    return "\n".join(" ".join(pair) for pair in hashes)


def _docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _without_comments(source: str) -> list[str]:
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return lines


def _text(node: ast.stmt, lines: list[str]) -> str:
    """A statement's lines without docstrings, imports, keys of configuration and blank lines."""
    gone: set[int] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Import | ast.ImportFrom):
            gone |= set(range(one.lineno, (one.end_lineno or one.lineno) + 1))
        inside = getattr(one, "body", None)
        for inner in inside if isinstance(inside, list) else []:
            if _docstring(inner):
                gone |= set(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
        if isinstance(one, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id in CONFIGURATION for base in one.bases
        ):
            for key in one.body:
                shown = isinstance(key, ast.FunctionDef) and key.name in OF_PICTURES
                if isinstance(key, ast.AnnAssign) or shown:
                    gone |= set(range(key.lineno, (key.end_lineno or key.lineno) + 1))
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)])
    kept = [
        lines[i - 1].rstrip()
        for i in range(first, (node.end_lineno or node.lineno) + 1)
        if i not in gone and lines[i - 1].strip()
    ]
    return re.sub(rf"\b{ROOT}(?:\.\w+)*\.(\w+)", r"\1", "\n".join(kept))
