"""One strict reader of YAML 1.2 for studies, the catalogue and task files.

In: the bytes or the text of one document. Out: dicts with text as keys, lists, text, whole numbers,
fractions, truth values and None. `no`, `12:30`, `0x10` and dates are text.
Refused, each with its line: a key that stands twice, a key that is a list or a map, `<<`, an anchor
inside itself, tags, bytes that are not UTF-8. It knows no key of any file.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TAG = "tag:yaml.org,2002:"
FUNCTION = "!function"
VALUES: dict[str, str] = {
    "bool": r"true|True|TRUE|false|False|FALSE",
    "null": r"~|null|Null|NULL|",
    "int": r"[-+]?[0-9][0-9_]*",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
}
FIRST = {"bool": "tTfF", "null": ["~", "n", "N", ""], "int": "-+0123456789"}
EXPECTED = "YAML 1.2 with plain values"


class YamlError(ValueError):
    """A text that is not what this module reads: the line, what was found, what was expected."""

    def __init__(self, line: int, found: str, expected: str, where: str = "") -> None:
        self.said = (line, found, expected)
        super().__init__(f"{where}line {line}: found {found}, expected {expected}")


def read(path: Path, *, functions: bool = False) -> Any:
    """The value of the one document in a file; raises YamlError that names the file."""
    try:
        return load(path.read_bytes(), functions=functions)
    except YamlError as error:
        raise YamlError(*error.said, where=f"{path}: ") from None


def load(text: str | bytes, *, functions: bool = False) -> Any:
    """The value of the one document in `text`; raises YamlError.

    With `functions` a value `!function module.name` is the text that it is, as lm-eval writes it.
    """
    decoded = _decoded(text) if isinstance(text, bytes) else text
    unprintable = yaml.reader.Reader.NON_PRINTABLE.search(decoded)
    if unprintable:
        line = decoded.count("\n", 0, unprintable.start()) + 1
        raise YamlError(line, f"the character {unprintable[0]!r}", "printable text")
    try:
        loader = _Loader(decoded)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(node, functions, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        line = mark.line + 1 if mark else 1
        raise YamlError(line, problem.removeprefix("found "), EXPECTED) from None
    except RecursionError:
        raise YamlError(1, "too many levels", EXPECTED) from None


class _Loader(PARSER):  # type: ignore[misc]
    """PyYAML's parser, C where it was built, with the plain scalars of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern in VALUES.items():
    _Loader.add_implicit_resolver(
        TAG + _name, re.compile(f"^(?:{_pattern})$"), list(FIRST.get(_name, "-+.0123456789"))
    )


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{text[error.start]:02x}, which is not UTF-8"
        raise YamlError(line, found, "a file in UTF-8; save it so") from None


def _value(node: Any, functions: bool, above: tuple[int, ...]) -> Any:
    """What a node stands for; `above` are the nodes that it stands in."""
    line = node.start_mark.line + 1
    if id(node) in above:
        raise YamlError(line, "an anchor that refers to itself", "an end to it")
    inside = (*above, id(node))
    if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = _key(key)
            if name in found:
                raise YamlError(
                    key.start_mark.line + 1, f"the key {name!r} stands twice", "it once"
                )
            found[name] = _value(value, functions, inside)
        return found
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
        return [_value(item, functions, inside) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        if functions and node.tag == FUNCTION:
            return f"{FUNCTION} {node.value}"
        kind = node.tag.removeprefix(TAG)
        if kind == "str":
            return node.value
        if kind in VALUES and re.fullmatch(VALUES[kind], node.value):
            return _scalar(kind, node.value, line)
    raise YamlError(line, f"the tag {node.tag!r}", EXPECTED)


def _key(node: Any) -> str:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        shape = "list" if isinstance(node, yaml.SequenceNode) else "map"
        raise YamlError(line, f"a {shape} as a key", "text")
    if node.value == "<<":
        raise YamlError(line, "the key '<<', which merges maps", "the keys themselves")
    return str(node.value)


def _scalar(kind: str, text: str, line: int) -> bool | int | float | None:
    if kind == "bool":
        return text in ("true", "True", "TRUE")
    if kind == "null":
        return None
    value = float(text.replace("_", ""))
    if math.isinf(value):
        raise YamlError(line, f"the number {text[:20]}", "one below 1.8e308")
    # A 0 with a sign would be another record's digest for the same study.
    return value + 0.0 if kind == "float" else int(text.replace("_", ""))
