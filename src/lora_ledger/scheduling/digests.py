"""The code digest: a hash over the code that a stage runs, blind to comments and docstrings.

In: a module of this package.
Out: a hash over the syntax trees of the module and of all that it imports from the package, in
whatever function the import stands. Left out are the modules that change no number: records, the
command line, printing, the schemas of study and catalogue, whose values enter as settings, and the
sources, whose bytes are hash-checked.
It follows `import` statements only; a module that is imported by name is given as `extra`.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.name
LEFT_OUT = ("records", "scheduling", "cli", "study", "catalogue", "data.sources")
# Modules that a stage reaches by their file or by a name: no import statement shows them.
BY_NAME = {"stages.score": ("sandbox.probes",)}


@cache
def code_digest(module: str, extra: tuple[str, ...] = ()) -> str:
    """Hex SHA-256 for a module named from the package down, such as `training.schedule`."""
    total = hashlib.sha256()
    for name in sorted(closure(module, *extra, *BY_NAME.get(module, ()))):
        total.update(f"{name}\0{_tree(name)}\0".encode())
    return total.hexdigest()


def closure(*modules: str) -> set[str]:
    """The modules reached from those given through imports inside the package."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or any(f"{name}.".startswith(f"{out}.") for out in LEFT_OUT):
            continue
        if _file(name) is None:
            raise ValueError(f"code digest: found no module {ROOT}.{name}")
        found.add(name)
        waiting += [parent for parent in _parents(name) if parent not in found]
        waiting += [other for other in _imports(name) if other not in found]
    return found


def _file(name: str) -> Path | None:
    base = PACKAGE.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


@cache
def _parsed(name: str) -> ast.Module:
    path = _file(name)
    assert path is not None
    return ast.parse(path.read_text("utf-8"))


@cache
def _imports(name: str) -> tuple[str, ...]:
    path = _file(name)
    assert path is not None
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = []
    for node in ast.walk(_parsed(name)):
        if isinstance(node, ast.Import):
            found += [
                a.name.removeprefix(f"{ROOT}.")
                for a in node.names
                if a.name != ROOT and a.name.startswith(f"{ROOT}.")
            ]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                target = [*base, *(node.module or "").split(".")] if node.module else base
            elif (node.module or "").split(".")[0] == ROOT:
                target = (node.module or "").split(".")[1:]
            else:
                continue
            stem = ".".join(target)
            found += [stem] if stem and _file(stem) else []
            for alias in node.names:
                inner = f"{stem}.{alias.name}" if stem else alias.name
                found += [inner] if _file(inner) else []
    return tuple(found)


@cache
def _tree(name: str) -> str:
    """The dumped syntax tree without docstrings; comments are not in it to begin with."""
    tree = _parsed(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
