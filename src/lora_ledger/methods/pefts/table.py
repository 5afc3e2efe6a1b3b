"""The table of peft's methods: their keys, types and defaults, and the modules that they adapt.

In: the installed peft. Out: `table.json` beside this file, which a study is checked against
where neither torch nor peft is installed; a test compares the two. Written again by
`python -m lora_ledger.methods.pefts.table`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from lora_ledger.models.architecture import SUPPORTED

TABLE = "table.json"
NOT_ASKED = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
)
"""Keys of every method that say where an adapter came from."""


@cache
def table() -> dict[str, Any]:
    """The committed table: `peft` is its version, `types` has for each method its `keys`, and of a
    supported architecture the modules that it adapts where none are named."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name(TABLE).read_text("utf-8"))
    return found


def of_installed() -> dict[str, Any]:
    """The table as the installed peft has it."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as configs

    types = {kind.value: _facts(kind, config) for kind, config in configs.items()}
    return {"peft": peft.__version__, "types": dict(sorted(types.items()))}


def text(found: dict[str, Any]) -> str:
    """The file of a table, a line for each key."""
    lines = [f'{{\n "peft": {json.dumps(found["peft"])},\n "types": {{']
    for kind, facts in found["types"].items():
        parts = [
            f'   "{name}": {json.dumps(value)}' for name, value in facts.items() if name != "keys"
        ]
        keys = ",\n".join(
            f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in facts["keys"].items()
        )
        parts.append(f'   "keys": {{\n{keys}\n   }}')
        lines.append(f"  {json.dumps(kind)}: {{\n" + ",\n".join(parts) + "\n  },")
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join(lines) + "\n }\n}\n"


def _facts(kind: Any, config: Any) -> dict[str, Any]:
    import dataclasses
    from typing import get_type_hints

    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING as tuners
    from peft.utils import constants

    hints = get_type_hints(config)
    keys = {
        field.name: {"types": _types(hints[field.name]), "default": _default(field)}
        for field in dataclasses.fields(config)
        if field.name not in NOT_ASKED
    }
    made: dict[str, Any] = {"keys": keys}
    usual = getattr(tuners.get(kind), "target_module_mapping", None)
    if kind.value == "IA3":
        usual = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
        feedforward = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING
        made["feedforward"] = _usual(feedforward)
    if kind.value == "ADAPTION_PROMPT":
        from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG as known

        usual = {name: [one.target_modules] for name, one in known.items()}
    if usual:
        made["targets"] = _usual(usual)
    return made


def _usual(mapping: Any) -> dict[str, list[str]]:
    """The modules of those architectures that are understood here."""
    return {name: list(mapping[name]) for name in SUPPORTED if name in mapping}


def _types(hint: Any) -> list[str]:
    """What a value may be: `int`, `list[str]`, `null`, or a value itself, as JSON."""
    import enum
    import types
    from typing import Literal, Union, get_args, get_origin

    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        # Their order is that of the first import that wrote such a union, whoever did.
        every = {one for part in arguments for one in _types(part)}
        return sorted(every, key=lambda one: (one == "null", one))
    if origin is Literal:
        return [json.dumps(value) for value in arguments]
    if hint is type(None):
        return ["null"]
    if origin in (list, tuple) and arguments:
        return [f"list[{' | '.join(_types(arguments[0]))}]"]
    if origin is dict and arguments:
        return [f"dict[{' | '.join(_types(arguments[1]))}]"]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [json.dumps(one.value) for one in hint]
    return [getattr(hint, "__name__", str(hint))]


def _default(field: Any) -> Any:
    """A default as JSON has it; null for an object of peft's own."""
    import dataclasses
    import enum

    value = field.default
    if value is dataclasses.MISSING:
        made = field.default_factory is not dataclasses.MISSING
        value = field.default_factory() if made else None
    if isinstance(value, enum.Enum):
        value = value.value
    return value if isinstance(value, str | int | float | list | dict | bool) else None


if __name__ == "__main__":
    Path(__file__).with_name(TABLE).write_text(text(of_installed()), "utf-8")
