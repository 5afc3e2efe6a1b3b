"""Methods: how a model is parameterised for training, one file for each kind.

In: the files of this folder. Out: `Method`, the type of an entry of a study's `methods`, told apart
by `kind`; and `load`, which puts a trained cell on its base model. A new kind is a new file here
with a subclass of `MethodBase`; nothing is registered and nobody else asks for a method's kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args

from pydantic import Field

from lora_ledger.common.errors import require

from .base import MethodBase
from .beside import METHOD


def _names(kind: type[MethodBase]) -> tuple[str, ...]:
    """What `kind` may be for a class; nothing for one that others are made of."""
    return get_args(kind.model_fields["kind"].annotation)


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
        and _names(value)
        and value.__module__ == module.__name__
    )


KINDS = _found()

if TYPE_CHECKING:
    Method = MethodBase
else:
    Method = Annotated[Union[KINDS], Field(discriminator="kind")]  # noqa: UP007


def kinds() -> list[str]:
    """What a method's `kind` may be."""
    return [name for kind in KINDS for name in _names(kind)]


def colours(methods: Mapping[str, MethodBase]) -> dict[str, str]:
    """A colour (#rrggbb) for each method of a study, kind by kind."""
    found: dict[str, str] = {}
    for kind in KINDS:
        mine = {name: method for name, method in methods.items() if type(method) is kind}
        if mine:
            found.update(zip(mine, kind.colours(list(mine.values())), strict=True))
    return {name: found[name] for name in methods}


def load(model: Any, folder: str | Path) -> Any:
    """The untouched base `model` of transformers, changed, as a trained cell's `adapter` has it.

    `folder` is `train/<cell>/adapter`, as a study leaves it; it may be copied anywhere. A peft
    folder is loaded by peft and not merged. A cell that trained the model whole has `model`, a
    folder of transformers. Raises FileNotFoundError for a folder of neither form, ValueError for
    weights that do not fit the model.
    """
    folder = Path(folder)
    if (folder / METHOD).is_file():
        keys = json.loads((folder / METHOD).read_text("utf-8"))["method"]
        kinds = {name: one for one in KINDS for name in _names(one)}
        require(f"{folder / METHOD}: method.kind", keys["kind"], kinds, "a kind of method")
        # A method asks for a rate, which decides nothing here.
        method = kinds[keys["kind"]].model_validate({**keys, "learning_rates": [1.0]})
        return method.load(model, folder)
    if (folder / "adapter_config.json").is_file():
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(folder))
    found = ", ".join(sorted(path.name for path in folder.glob("*"))) or "nothing"
    raise FileNotFoundError(
        f"{folder}: found {found}, expected {METHOD} or adapter_config.json; give the folder "
        "`adapter` of a trained cell"
    )


__all__ = ["KINDS", "Method", "MethodBase", "colours", "kinds", "load"]
