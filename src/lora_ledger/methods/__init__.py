"""Methods: how a model is parameterised for training, one file for each kind.

In: the files of this folder. Out: `Method`, the type of an entry of a study's `methods`, told apart
by `kind`. A new kind is a new file here with a subclass of `MethodBase`; nothing is registered and
nobody else asks for a method's kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from .base import MethodBase


def _found() -> tuple[type[MethodBase], ...]:
    """The classes of the folder's files, in the order of the files' names."""
    modules = [
        import_module(f"{__name__}.{path.stem}")
        for path in sorted(Path(__file__).parent.glob("*.py"))
        if path.stem != "__init__"
    ]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, MethodBase)
        and not isabstract(value)
        and value.__module__ == module.__name__
    )


KINDS = _found()

if TYPE_CHECKING:
    Method = MethodBase
else:
    Method = Annotated[Union[KINDS], Field(discriminator="kind")]  # noqa: UP007


def colours(methods: Mapping[str, MethodBase]) -> dict[str, str]:
    """A colour (#rrggbb) for each method of a study, kind by kind."""
    found: dict[str, str] = {}
    for kind in KINDS:
        mine = {name: method for name, method in methods.items() if type(method) is kind}
        if mine:
            found.update(zip(mine, kind.colours(list(mine.values())), strict=True))
    return {name: found[name] for name in methods}


__all__ = ["KINDS", "Method", "MethodBase", "colours"]
