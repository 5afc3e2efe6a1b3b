"""The code digest sees what computes, wherever it stands, and is blind to all else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_ledger.scheduling import digests, staleness

SOURCE = Path("src").resolve()
CACHED = (digests.code_digest, digests.reached, digests.parsed)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of its own: `stage` imports `helper` inside a function, and `records`."""
    root = tmp_path / "made"
    (root / "inner").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "inner/__init__.py").write_text("")
    (root / "inner/helper.py").write_text(
        "from made.inner.other import A\n\ndef f(x):\n    return x + A\n\ndef g(x):\n    return x\n"
    )
    (root / "inner/other.py").write_text("A = 1\nB = 2\n")
    (root / "inner/data.txt").write_text("one")
    (root / "records.py").write_text("A = 1\n")
    (root / "stage.py").write_text(
        '"""Doc."""\nfrom made.records import A\n\ndef run():\n'
        "    from made.inner.helper import f\n    return f(A)\n"
    )
    monkeypatch.setattr(digests, "PACKAGE", root)
    monkeypatch.setattr(digests, "ROOT", "made")
    _clear()
    yield root
    _clear()


def _clear() -> None:
    for cached in CACHED:
        cached.cache_clear()


def fresh(*modules: str) -> str:
    _clear()
    return digests.code_digest(*modules)


def test_closure_follows_imports_in_functions_and_leaves_records_out(package: Path) -> None:
    assert digests.closure("stage") == {"stage", "inner.helper", "inner.other"}


def test_what_changes_nothing_changes_nothing(package: Path) -> None:
    before = fresh("stage")
    helper = package / "inner/helper.py"
    helper.write_text(
        '"""New."""\n# A reason.\nfrom made.inner.other import A, B\n\n\ndef f(x):\n'
        '    """Adds one."""\n    # another\n\n    return x + A  # here\n\n'
        "def g(x):\n    return 7\n"
    )
    assert fresh("stage") == before, "comments, docstrings, imports, what nobody reaches"
    (package / "inner/other.py").write_text("A = 1\nB = 3\n")
    (package / "records.py").write_text("A = 3\n")
    assert fresh("stage") == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("inner/helper.py", "from made.inner.other import A\n\ndef f(x):\n    return x + A + 0\n"),
        ("inner/other.py", "A = 2\nB = 2\n"),
        # What runs when a module is imported counts, whoever imports it.
        ("inner/other.py", "A = 1\nB = 2\nprint(B)\n"),
    ],
)
def test_what_is_reached_moves_it(package: Path, file: str, text: str) -> None:
    before = fresh("stage")
    (package / file).write_text(text)
    assert fresh("stage") != before


def test_a_moved_module_keeps_it(package: Path) -> None:
    before = fresh("stage")
    (package / "elsewhere/deep").mkdir(parents=True)
    for folder in ("elsewhere", "elsewhere/deep"):
        (package / folder / "__init__.py").write_text("")
    for name in ("helper", "other"):
        text = (package / f"inner/{name}.py").read_text()
        (package / f"inner/{name}.py").unlink()
        text = text.replace("made.inner", "made.elsewhere.deep")
        (package / f"elsewhere/deep/{name}.py").write_text(text)
    stage = package / "stage.py"
    stage.write_text(stage.read_text().replace("made.inner", "made.elsewhere.deep"))
    assert fresh("stage") == before


def test_what_is_found_by_a_name_counts(package: Path) -> None:
    (package / "stage.py").write_text(
        "from pathlib import Path\n\nMODULE = 'made.inner.other'\n"
        "DATA = Path(__file__).with_name('beside.txt')\n"
    )
    (package / "beside.txt").write_text("one")
    before = fresh("stage")
    (package / "inner/other.py").write_text("A = 1\nB = 3\n")
    other = fresh("stage")
    (package / "beside.txt").write_text("two")
    assert len({before, other, fresh("stage")}) == 3


def test_keys_of_a_configuration_are_settings(package: Path) -> None:
    text = "class M(MethodBase):\n    rank: int = 1\n    def f(self):\n        return self.rank\n"
    (package / "stage.py").write_text(text)
    before = fresh("stage")
    (package / "stage.py").write_text(text.replace("int = 1\n", "int = 1\n    new: int = 0\n"))
    assert fresh("stage") == before
    (package / "stage.py").write_text(text.replace("self.rank", "-self.rank"))
    assert fresh("stage") != before


def test_unknown_module_is_named(package: Path) -> None:
    with pytest.raises(ValueError, match=r"no module .*nowhere"):
        fresh("nowhere")


# Found by a name in a study: a corpus's reader, a kind of method, a regime, what fetches a model.
BY_NAME = ("data.corpora.readers.", "methods.", "models.", "training.regimes.")
DECIDE_NO_NUMBER = {
    "claims.catalogue": "what papers claim",
    "claims.finding": "of published numbers alone",
    "claims.published": "what papers print",
    "claims.reanalysis": "of published numbers alone",
    "claims.retest_biderman": "of published numbers alone",
    "claims.retest_hu": "of published numbers alone",
    "claims.retest_later": "of published numbers alone",
    "claims.verdicts": "reads what a study decided",
    "stages._main": "the command line",
    "stages._weights": "what it trains has the hash that the record holds",
    "stages.fetch": "calls what makes models and corpora",
}
# Statistics of verdicts: no stage decides yet.
NOT_ASKED_YET = {
    *("analysis.association", "analysis.blocked", "analysis.coverage", "analysis.equivalence"),
    *("analysis.fronts", "analysis.matched", "analysis.multiplicity", "analysis.paired"),
    *("analysis.power", "analysis.rates", "analysis.simulated", "analysis.student"),
    "analysis.trend",
}


def test_every_module_is_in_a_closure_or_decides_no_number() -> None:
    _clear()
    every = set(digests.modules())
    found: set[str] = set()
    for name in staleness.names():
        found |= digests.closure(f"stages.{name}")
    found |= digests.closure(*(m for m in every if m.startswith(BY_NAME)))
    found |= digests.closure("data.corpora.selection", "data.corpora.store")
    empty = {m for m in every if not digests.parsed(m).statements}
    lost = {m for m in every - found - empty if not digests.left_out(m)}
    assert lost <= set(DECIDE_NO_NUMBER) | NOT_ASKED_YET


def test_a_mended_judge_scores_again(tmp_path: Path) -> None:
    """The judge, its workers, the probes and the cheats are started by name, or read as data."""
    digest = "import sys; from lora_ledger.scheduling.digests import code_digest; "
    digest += "print(code_digest('stages.score'))"
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))

    def now() -> str:
        return _python(sys.executable, digest, tmp_path / "src")

    found = [now()]
    sandbox = tmp_path / "src/lora_ledger/sandbox"
    for path, old, new in (
        (sandbox / "judge.py", 'Stop("passed")', 'Stop("wrong")'),
        (sandbox / "worker.py", "def serve(", "X = 1\n\n\ndef serve("),
        (sandbox / "seccomp.py", "def supported(", "_Y = 1\nprint()\n\n\ndef supported("),
        (sandbox / "probes.py", "def held(", "Z = 1\n\n\ndef held("),
        (next((sandbox / "cheats").glob("*.txt")), "", "# more\n"),
    ):
        text = path.read_text("utf-8")
        assert old in text, path
        path.write_text(text.replace(old, new, 1) if old else new + text, "utf-8")
        found.append(now())
    # The unused names in worker and probes count where the whole module is started.
    assert len(set(found)) == len(found)


ALL = """
import json, sys
from lora_ledger.scheduling import digests, staleness
from lora_ledger.study import cells
from lora_ledger.study.file import load
found = {}
for name in ("smoke", "quickstart"):
    study = load(name)
    for cell in cells.cells(study):
        names = dict(setting=cell.setting, method=cell.method, budget=cell.budget)
        names["seed"] = str(cell.seed)
        found[f"{name}/{cell.label}"] = staleness.science(study, "train", **names)
for stage in staleness.names():
    found[stage] = digests.code_digest("stages." + stage)
print(json.dumps([sys.version_info[:2], found]))
"""


def _python(python: str, code: str, source: Path = SOURCE) -> str:
    done = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_digests_are_the_same_on_every_python_of_the_machine() -> None:
    """Those that have pydantic and PyYAML; CI makes such environments for 3.11, 3.12 and 3.13."""
    said = os.environ.get("LEDGER_PYTHONS", "")
    pythons = [sys.executable, *filter(None, said.split(os.pathsep))]
    found = [json.loads(_python(python, ALL)) for python in pythons]
    assert all(digests_ == found[0][1] for _, digests_ in found), [v for v, _ in found]
