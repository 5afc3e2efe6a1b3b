"""MBPP's asserts: which functions they try, and which calls need what only the worker has.

In: the text of the asserts, and the entry point if it is known. Out: code for the judge, in which a
call whose arguments only the worker can build (`root`, which setup made, or `Pair(5, 24)`, a class
of the completion) has become a message with the text of that call; the expected value stays with
the judge. It runs nothing.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any

REMOTE = "__remote__"
_KNOWN = frozenset(dir(builtins))


@dataclass(frozen=True)
class Plan:
    """The functions to be reached, modules that the asserts mention, and the asserts."""

    functions: tuple[str, ...]
    modules: dict[str, ModuleType]
    asserts: tuple[CodeType, ...]


@lru_cache(maxsize=4096)
def plan(tests: str, entry_point: str = "") -> Plan:
    """Raises ValueError when there is no assert, or none that calls anything."""
    tree = ast.parse(tests)
    statements = [node for node in tree.body if isinstance(node, ast.Assert)]
    others = [n for n in tree.body if not isinstance(n, ast.Assert | ast.Import | ast.ImportFrom)]
    if not statements or others:
        raise ValueError(f"MBPP: expected plain asserts, found {tests[:80]!r}")
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    modules = {
        name: importlib.import_module(name)
        for name in sorted(names - _KNOWN)
        if name in sys.stdlib_module_names and name != entry_point and not _called(tree, name)
    }
    local = {alias.asname or alias.name for n in imports for alias in n.names}
    unknown = names - _KNOWN - set(modules) - local
    functions = {name for name in unknown if _called(tree, name)}
    if entry_point:
        functions.add(entry_point)
    elif not functions:
        # `assert sum(10, 15) == 6`: the generated function bears the name of a built-in one.
        functions = {_first_called(statements[0])}
    # Setup's objects and the completion's classes: names that stand where an argument would.
    elsewhere = {name for name in unknown if name not in functions}
    elsewhere |= {name for name in functions - {entry_point} if _only_inside(tree, name)}
    functions -= elsewhere
    move = _Move(functions, elsewhere)
    codes: list[ast.Module] = [ast.Module([node], []) for node in imports]
    codes += [ast.Module([ast.fix_missing_locations(move.visit(n))], []) for n in statements]
    return Plan(
        tuple(sorted(functions)),
        modules,
        tuple(compile(code, "<asserts>", "exec", dont_inherit=True) for code in codes),
    )


class _Move(ast.NodeTransformer):
    """Calls that need the worker's own names become messages."""

    def __init__(self, functions: set[str], elsewhere: set[str]) -> None:
        self.functions, self.elsewhere = functions, elsewhere

    def visit_Call(self, node: ast.Call) -> Any:
        mentioned = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if _name(node) in self.functions and mentioned & self.elsewhere:
            source = ast.Constant(ast.unparse(node))
            return ast.copy_location(ast.Call(ast.Name(REMOTE, ast.Load()), [source], []), node)
        return self.generic_visit(node)


def _name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _called(tree: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Call) and _name(n) == name for n in ast.walk(tree))


def _first_called(statement: ast.Assert) -> str:
    for node in ast.walk(statement.test):
        if isinstance(node, ast.Call) and _name(node):
            return _name(node)
    raise ValueError(f"MBPP: an assert that calls nothing: {ast.unparse(statement)[:80]!r}")


def _only_inside(tree: ast.AST, name: str) -> bool:
    """Whether a name is called only within the arguments of another unknown call: a class."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _name(n) not in _KNOWN]
    inner = {
        id(deep)
        for call in calls
        if _name(call)
        for part in [*call.args, *[k.value for k in call.keywords]]
        for deep in ast.walk(part)
    }
    places = [n for n in calls if _name(n) == name]
    return bool(places) and all(id(n) in inner for n in places)
