"""Documented functions: signature and docstring, then the body, for instruction tuning on code.

In: wheels. Out: pairs in HumanEval's layout: the prompt is `def name(arguments):`, a newline and
the indented docstring; the response is the indented body with a newline at its end. Prompt and
response together parse. The group is the file, named as in `python_source`. Imports, decorators
and the surrounding class are left out, so a body may use names that the prompt does not show; it
is not run here.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.archives import parse, python_files
from lora_ledger.data.corpora.checks import known

Function = ast.FunctionDef
FEWEST_WORDS = 5
MOST_LINES = 40
LONGEST_PROMPT = 1_500
# The sections of a docstring that point elsewhere or repeat what the first lines say.
TAIL = re.compile(
    r"\n[ \t]*\n[ \t]*(References|See Also|See also|Notes)[ \t]*\n[ \t]*(=|-|~|\^){3,}[ \t]*\n.*",
    re.DOTALL,
)


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Pairs in the order of wheel, path and line; it takes no options."""
    known(options)
    for file in python_files(sources):
        lines = file.text.splitlines()
        for function in functions(file.tree.body):
            pair = as_pair(function, lines)
            if pair is not None:
                fields: dict[str, object] = {"name": function.name}
                yield Example(file.group, prompt=pair[0], response=pair[1], fields=fields)


def functions(body: list[ast.stmt]) -> Iterator[Function]:
    """Top-level functions, and methods that use neither their instance nor their class."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            yield statement
        elif isinstance(statement, ast.ClassDef):
            for member in statement.body:
                if isinstance(member, ast.FunctionDef) and _stands_alone(member):
                    yield member


def _stands_alone(method: Function) -> bool:
    """Whether a method is a plain function: static, and without a mention of a class's own."""
    static = any(
        isinstance(one, ast.Name) and one.id == "staticmethod" for one in method.decorator_list
    )
    used = {node.id for node in ast.walk(method) if isinstance(node, ast.Name)}
    return static and not used & {"self", "cls", "super", "__class__"}


def as_pair(function: Function, lines: list[str]) -> tuple[str, str] | None:
    """Prompt and response of a function, or None when it is no good exercise."""
    documented = function.body[0]
    if len(function.body) < 2 or not isinstance(documented, ast.Expr):
        return None
    value = documented.value
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return None
    if not _exercise(function.body[1:]) or _changed(function):
        return None
    if documented.lineno <= _signature_end(function) or '"""' in value.value:
        return None
    end = documented.end_lineno or documented.lineno
    last = function.body[-1].end_lineno or function.body[-1].lineno
    if function.body[1].lineno <= end:
        return None

    indent = function.col_offset
    raw = "\n".join(lines[documented.lineno - 1 : end])
    signature = _dedented(lines[function.lineno - 1 : documented.lineno - 1], indent)
    docstring = _docstring(raw, indent)
    body = _dedented(lines[end:last], indent).strip("\n").rstrip()
    if docstring is None or not signature.rstrip().endswith(":"):
        return None  # A comment after the colon would stand between signature and docstring.
    if len(body.splitlines()) > MOST_LINES:
        return None
    prompt = f"{signature.rstrip()}\n{docstring}\n"
    response = f"{body}\n"
    if "deprecat" in response or len(prompt) > LONGEST_PROMPT:
        return None
    if not _parses(prompt, response, function.name):
        return None
    return prompt, response


def _changed(function: Function) -> bool:
    """Whether a decorator makes something else of the function, or a class takes it over."""
    text = " ".join(ast.unparse(one) for one in function.decorator_list)
    makes = re.search(r"contextmanager|property|overload|deprecat|fixture", text)
    first = [one.arg for one in function.args.args[:1]]
    return bool(makes) or first in (["self"], ["cls"])


def _signature_end(function: Function) -> int:
    """The last line that an argument, default or annotation of the signature stands on."""
    ends = [function.lineno]
    for node in [function.args, function.returns]:
        if node is not None:
            for part in ast.walk(node):
                ends.append(getattr(part, "end_lineno", None) or 0)
    return max(ends)


def _dedented(lines: list[str], indent: int) -> str:
    """`lines` without `indent` blanks at the start, where they are blank."""
    return "\n".join(
        line[indent:] if not line[:indent].strip() else line.lstrip() for line in lines
    )


def _docstring(raw: str, indent: int) -> str | None:
    '''The docstring in HumanEval's form, `    """…"""`, or None when it says too little.'''
    opened = re.match(r"\s*([rRuU]?)(\"\"\"|'''|\"|')", raw)
    if opened is None or not raw.rstrip().endswith(opened[2]):
        return None
    inner = raw[opened.end() : len(raw.rstrip()) - len(opened[2])]
    escapes = opened[1].lower() == "r" or "\\" not in inner
    if not escapes or inner.endswith('"') or '"""' in inner:
        return None
    inner = TAIL.sub("\n", inner)
    first, *rest = inner.split("\n")
    block = textwrap.dedent("\n".join(rest)).strip("\n").rstrip()
    first = first.strip()
    gap = "\n\n" if rest and not rest[0].strip() else "\n"
    text = f"{first}{gap}{block}" if first and block else first or block
    words = re.findall(r"[A-Za-z]{2,}", text)
    if len(words) < FEWEST_WORDS:
        return None
    text = textwrap.indent(text, "    ").strip()
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    mark = "r" if "\\" in text else ""
    close = "\n    " if "\n" in text else ""
    return f'    {mark}"""{text}{close}"""'


def _exercise(body: list[ast.stmt]) -> bool:
    """Whether a body does something: not a lone pass, raise, ellipsis or NotImplemented."""
    for statement in body:
        if isinstance(statement, ast.Pass | ast.Raise | ast.Import | ast.ImportFrom):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.Return) and (
            statement.value is None
            or isinstance(statement.value, ast.Constant)
            or (isinstance(statement.value, ast.Name) and statement.value.id == "NotImplemented")
        ):
            continue
        return True
    return False


def _parses(prompt: str, response: str, name: str) -> bool:
    """Whether the two together are one function of that name with a docstring and a body."""
    tree = parse(prompt + response)
    if tree is None or len(tree.body) != 1:
        return False
    function = tree.body[0]
    return (
        isinstance(function, ast.FunctionDef)
        and function.name == name
        and ast.get_docstring(function) is not None
        and len(function.body) > 1
        and response.startswith("    ")
    )
