"""The rooms of src: who may import whom, what a plan needs, and the page that names the rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path("src/lora_ledger")
NAME = PACKAGE.name

LAYERS = (
    ("cli", "scheduling", "stages"),
    ("ledger", "report"),
    *(("claims",), ("tables",), ("training",), ("inference",), ("compute",), ("study",)),
    *(("methods",), ("models",), ("data",)),
    ("sandbox", "analysis"),
    ("records", "catalogue", "common"),
)
"""A room imports from layers to its right, and from rooms beside it in its own."""
ORDER = tuple(room for layer in LAYERS for room in layer)
NARROWER: dict[str, set[str]] = {
    "compute": {"common"},
    "sandbox": set(),
    "analysis": {"common"},
    "common": set(),
}
"""Rooms that may import less than that."""
ASKED_BY = {
    "cli": set[str](),
    "stages": {"cli", "scheduling"},
    "compute": {"cli", "scheduling", "stages", "training", "inference"},
}
"""Rooms that fewer may import."""


class Import(NamedTuple):
    place: str
    room: str
    module: str
    """Of the file that imports, from the package down."""
    target: str
    """As Python names it, such as `lora_ledger.study.cells`."""
    relative: bool


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named(node: ast.AST, package: list[str]) -> Iterator[tuple[str, bool]]:
    """What one node imports; `import_module` of a text or of the beginning of one counts too."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, False) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        stem = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            yield f"{stem}.{alias.name}", bool(node.level)
    elif isinstance(node, ast.Call) and node.args:
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in ("import_module", "__import__"):
            asked = node.args[0]
            asked = asked.values[0] if isinstance(asked, ast.JoinedStr) else asked
            if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
                yield asked.value, False


def imports_of(path: Path, source: str) -> Iterator[Import]:
    module = dotted(path)
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    room = module.split(".")[1] if "." in module else ""
    for node in ast.walk(ast.parse(source)):
        for target, relative in named(node, package):
            place = f"{path}:{getattr(node, 'lineno', 0)}"
            yield Import(place, room, module.removeprefix(f"{NAME}."), target, relative)


IMPORTS = [i for p in sorted(PACKAGE.rglob("*.py")) for i in imports_of(p, p.read_text("utf-8"))]
INSIDE = [one for one in IMPORTS if one.target.split(".")[0] == NAME]
ROOMS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}


def room_of(target: str) -> str:
    """The room of an imported name; "" for the package itself."""
    parts = target.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def permitted(room: str, other: str) -> bool:
    if other in ("", room):
        return True
    at = next(place for place, layer in enumerate(LAYERS) if room in layer)
    reached = {one for layer in LAYERS[at:] for one in layer}
    return other in NARROWER.get(room, reached) and room in ASKED_BY.get(other, {room})


def test_every_room_has_a_place_in_the_order() -> None:
    assert set(ORDER) >= ROOMS
    assert not [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]


def test_a_room_imports_rooms_to_its_right_only() -> None:
    wrong = [one for one in INSIDE if not permitted(one.room, room_of(one.target))]
    assert [f"{one.place} {one.target}" for one in wrong] == []


def test_no_module_imports_itself_by_a_way_round() -> None:
    """Imports in functions count: none is there to cut a circle. What is found by name does not."""
    graph: dict[str, set[str]] = {}
    files = {dotted(path): path for path in PACKAGE.rglob("*.py")}
    for name, path in files.items():
        found = imports_of(path, path.read_text("utf-8"))
        targets = {
            one.target if one.target in files else one.target.rpartition(".")[0] for one in found
        }
        graph[name] = {target for target in targets if target in files and target != name}
    assert graph["lora_ledger.scheduling.staleness"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_stages_import_no_other_stage() -> None:
    """What they share stands in modules whose names begin with an underscore."""
    stages = {p.stem for p in (PACKAGE / "stages").glob("*.py") if not p.stem.startswith("_")}
    wrong = [
        f"{one.place} {one.target}"
        for one in INSIDE
        if one.room == room_of(one.target) == "stages"
        and (set(one.target.split(".")[2:3]) & (stages - {one.module[7:]}))
    ]
    assert wrong == []


def test_relative_imports_stay_in_their_room() -> None:
    assert [
        f"{i.place} {i.target}" for i in INSIDE if i.relative and room_of(i.target) != i.room
    ] == []


def test_the_sandbox_is_standard_library_and_nothing_imports_snakemake() -> None:
    outside = [one for one in IMPORTS if one.target.split(".")[0] != NAME]
    assert [i.place for i in outside if i.target.split(".")[0].startswith("snakemake")] == []
    assert [
        f"{one.place} {one.target}"
        for one in outside
        if one.room == "sandbox" and one.target.split(".")[0] not in sys.stdlib_module_names
    ] == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("import lora_ledger.study.file", "lora_ledger.study.file"),
        ("def f():\n    from lora_ledger.study import cells", "lora_ledger.study.cells"),
        ("from lora_ledger import study", "lora_ledger.study"),
        (
            "if TYPE_CHECKING:\n    from ..study.schema import Study",
            "lora_ledger.study.schema.Study",
        ),
        ("from .. import study", "lora_ledger.study"),
        ("import_module(f'lora_ledger.study.{name}')", "lora_ledger.study."),
    ],
)
def test_no_way_of_importing_goes_unseen(source: str, target: str) -> None:
    (found,) = imports_of(PACKAGE / "analysis/sums.py", source)
    assert (found.room, found.target) == ("analysis", target)
    assert not permitted(found.room, room_of(found.target))


# What a plan needs: the Snakefile reads studies in an environment that has neither torch nor numpy.
LIGHT = ("yaml", "_yaml", "pydantic", "pydantic_core", "annotated_types", "typing_extensions")
LIGHT += ("typing_inspection", NAME)
REFUSE = f"""
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        known = {{*sys.stdlib_module_names, *{LIGHT!r}}}
        if name.split(".")[0] not in known and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"{{name}} is not for the plan", name=name)
sys.meta_path.insert(0, Refuse())
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        print(module)
        print(error, file=sys.stderr)
"""


def read_by_the_workflow() -> set[str]:
    """Modules that the Snakefile and its rules import."""
    found = set()
    for path in [Path("workflow/Snakefile"), *Path("workflow/rules").glob("*.smk")]:
        for stem, names in re.findall(
            rf"^from ({NAME}[\w.]*) import (.+)$", path.read_text("utf-8"), re.MULTILINE
        ):
            found |= {stem, *(f"{stem}.{n.split()[0]}" for n in names.split(","))}
    return {m for m in found if Path("src", *m.split(".")).with_suffix(".py").is_file()} | {
        m for m in found if Path("src", *m.split("."), "__init__.py").is_file()
    }


def test_a_plan_needs_yaml_and_pydantic_only() -> None:
    asked = read_by_the_workflow()
    assert f"{NAME}.study.file" in asked
    rooms = ("study", "methods", "scheduling", "stages")
    asked |= {dotted(path) for room in rooms for path in (PACKAGE / room).rglob("*.py")}
    done = subprocess.run(
        [sys.executable, "-c", REFUSE, *sorted(asked)], text=True, capture_output=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def page() -> dict[str, list[str]]:
    """Of ARCHITECTURE.md's folders: those of the checkout, the rooms, and the folders in them."""
    text = Path("ARCHITECTURE.md").read_text("utf-8")
    block = re.search(r"^## Folders\n\n```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block
    found: dict[str, list[str]] = {"": [], "rooms": [], "inner": []}
    for line in block[1].splitlines():
        entry = re.match(r"(|  |    )(\S+)(?:  |$)", line)
        if entry is None:
            continue
        indent, name = entry.groups()
        if indent == "    ":
            name = f"{found['rooms'][-1]}{name}"
        found[{"": "", "  ": "rooms", "    ": "inner"}[indent]].append(name)
    return found


def test_the_architecture_names_the_rooms_that_exist() -> None:
    written = page()
    assert written["rooms"] == [f"{room}/" for room in ORDER if room in ROOMS]
    inner = {
        f"{path.relative_to(PACKAGE)}/"
        for room in ROOMS
        for path in (PACKAGE / room).iterdir()
        if path.is_dir() and any(path.glob("*.*")) and path.name != "__pycache__"
    }
    assert set(written["inner"]) == inner


def test_the_architecture_names_the_folders_that_exist() -> None:
    made = {"results/<study>/", "work/<study>/", "logs/<study>/"}
    written = {name for name in page()[""] if name not in made}
    assert [name for name in written if not Path(name).exists()] == []
    left_out = {line.strip("/*") for line in Path(".gitignore").read_text("utf-8").split()}
    there = {
        path.name
        for path in Path().iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and path.name not in left_out
        and any(file.is_file() for file in path.rglob("*") if "__pycache__" not in file.parts)
    }
    assert {name.split("/")[0] for name in written if "/" in name} >= there


ACROSS = {
    "claims/test_arithmetic.py",
    "compute/test_same_arithmetic.py",
    "data/corpora/test_benchmarks.py",
    "data/corpora/test_benchmarks_choices.py",
    "data/corpora/test_benchmarks_layouts.py",
    "data/corpora/test_benchmarks_sources.py",
    "data/corpora/test_embedded.py",
    "data/corpora/test_hub_corpora.py",
    "data/sources/test_available.py",
    "data/tasks/test_likelihoods.py",
    "data/tasks/test_upstream.py",
    "inference/test_unmerged.py",
    "methods/test_facts.py",
    "sandbox/test_apart.py",
    "tables/test_benchmark_tables.py",
    "training/test_beside.py",
    "training/test_liger.py",
    "training/test_peft_runs.py",
    "training/test_resume.py",
}
"""Tests of what several modules of a room do together."""


def test_tests_stand_where_the_modules_stand() -> None:
    """Beside a module, a folder of modules, a reader, or the room itself, of the same name."""
    strays = set()
    for path in Path("tests").glob("*/**/test_*.py"):
        folder, name = path.parent.relative_to("tests"), path.stem.removeprefix("test_")
        room = PACKAGE / folder
        places = [room / f"{name}.py", room / name, room / "readers" / f"{name}.py"]
        if name != folder.name and not any(place.exists() for place in places):
            strays.add(path.relative_to("tests").as_posix())
    assert strays == ACROSS
