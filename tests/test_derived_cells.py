"""A derived cell through the stages that evaluate, and in the tables beside its parent."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import factories
from lora_ledger.data.corpora.readers.smoke import read as smoke
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.weights import load_weights
from lora_ledger.records.record import Record, read_record
from lora_ledger.stages import tabulate
from lora_ledger.stages.generate import generate
from lora_ledger.stages.retain import retain
from lora_ledger.study import cells
from lora_ledger.study.file import parse
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import gather
from lora_ledger.tables.points import intervals

SMOKE = Path(__file__).parents[1] / "config" / "smoke.yaml"
CELL = "code-cpt/lora-r2/tokens/s1"
ZERO, HALF = (f"derived/rewound/{CELL}/lambda-{value}" for value in ("0", "0.5"))


@pytest.fixture(scope="module")
def study() -> Study:
    made = "\nderived: {rewound: {of: {methods: [lora-r2]}, lambda: [0, 0.5]}}\n"
    return parse(SMOKE.read_text("utf-8") + made)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell whose adapter is not 0, with a record."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cell")
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load_weights(tiny_model), settings).save_pretrained(str(folder / "adapter"))
    factories.train(folder / "record.json", CELL, [1.0], [0.9], [10])
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    for kind in ("code", "text"):
        examples = list(smoke({}, {"kind": kind}))
        save({"train": examples, "test": examples}, folder / kind)
    return {kind: folder / kind for kind in ("code", "text")}


def files(*folders: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for where in folders for p in where.rglob("*") if p.is_file()}


def test_it_is_answered_like_a_cell_and_its_weights_are_never_written(
    study: Study, tiny_model: Path, trained: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    before = files(tiny_model, trained, data["code"], data["text"])
    found: dict[str, Record] = {}
    for i, (label, folder) in enumerate(
        {"base": None, CELL: trained, ZERO: trained, HALF: trained}.items()
    ):
        out = tmp_path / f"{i}.json"
        found[label] = retain(study, "general", label, tiny_model, folder, data["text"], out)
    nats = {label: record.results["nats"] for label, record in found.items()}
    assert nats[ZERO] == nats["base"]
    assert len({tuple(one) for one in nats.values()}) == 3
    run = tmp_path / "g.jsonl.gz"
    record = generate(
        study, "code", HALF, 1, tiny_model, trained, data["code"], run, tmp_path / "g.json"
    )
    assert files(tiny_model, trained, data["code"], data["text"]) == before
    made = sorted(path.name for path in tmp_path.rglob("*"))
    assert made == ["0.json", "1.json", "2.json", "3.json", "g.json", "g.jsonl.gz"]

    for one in (found[HALF], record):
        said = one.science.settings["derived"]
        assert (said["kind"], said["of"], said["lambda"]) == ("rewound", CELL, 0.5)
        assert said["tensors"] == 14
        assert one.cell == HALF
        assert one.science.inputs["train"].asked == read_record(trained / "record.json").asked
    assert "derived" not in found[CELL].science.settings
    assert len({record.asked for record in found.values()}) == 4


def test_what_is_halved_moves_a_quarter_of_the_squares(
    tiny_model: Path, trained: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    """CSD of λΔW is λ² that of ΔW; the divergence from the base is 0 at λ = 0, less at a half."""
    text = "general: {corpus: smoke-text, "
    asked = SMOKE.read_text("utf-8").replace(text, f"{text}divergence: true, csd: true, ")
    study = parse(asked + "\nderived: {rewound: {of: {methods: [lora-r2]}, lambda: [0, 0.5]}}\n")
    found = {
        label: retain(
            study, "general", label, tiny_model, trained, data["text"], tmp_path / f"{i}.json"
        ).results
        for i, label in enumerate((CELL, ZERO, HALF))
    }
    whole, none, half = (found[x]["csd"]["absolute"] for x in (CELL, ZERO, HALF))
    assert none == pytest.approx([0.0] * len(whole), abs=1e-12)
    assert half == pytest.approx([0.25 * value for value in whole], rel=1e-4)
    kl = {label: sum(one["divergence"]["base_cell"]) for label, one in found.items()}
    assert kl[ZERO] == pytest.approx(0.0, abs=1e-9)
    assert 0 < kl[HALF] < kl[CELL]


PASSED = {"base": [0.0] * 4, "trained": [1.0, 1.0, 0.0, 0.0], "made": [1.0, 0.0, 0.0, 0.0]}
SIZE = [100, 300]
PARENT = "code-cpt/full/short/s1"
MADE = f"derived/random/{PARENT}/rank-full"


def tables(root: Path, **more: Any) -> tuple[Study, dict[str, Any]]:
    """Tables of a study of one cell with numbers by hand: 1 bit a byte of the base, 1.25 of what
    was trained, 1.5 of what is derived from it."""
    study = factories.study(
        settings={"code-cpt": {"corpus": "texts", "regime": "cpt", "tasks": ["humaneval"]}},
        methods={"full": factories.METHODS["full"]},
        **more,
    )
    paths = [root / "train.json"]
    factories.train(paths[0], PARENT, [80.0, 160.0], [70.0, 150.0], SIZE)
    for label in cells.labels(study):
        kind = {"base": "base", PARENT: "trained"}.get(label, "made")
        level = {"base": 1.0, "trained": 1.25, "made": 1.5}[kind]
        nats = [size * level * math.log(2) for size in SIZE]
        paths += factories.retain(root, label, nats, SIZE, [1, 0, 0, 0], [math.log(4)] * 4)
        paths += [root / f"{stage}-{kind}.json" for stage in ("score", "diversity")]
        factories.score(paths[-2], label, {"pass@1": PASSED[kind]}, nats, SIZE)
        # Of four samples of each of two problems: one text, three, two of which one thrice.
        kinds = {"base": [[4]] * 2, "trained": [[2, 1, 1]] * 2, "made": [[2]] * 2}[kind]
        classes = dict.fromkeys(("all", "passing", "failing"), kinds)
        factories.diversity(paths[-1], label, classes)
    evidence = gather(study, paths)
    record = tabulate.tabulate(evidence, root / "tables")
    assert evidence.base(MADE) == "base"
    assert intervals(evidence) == {}
    return study, dict(record.results["tables"])


def lines(table: Any) -> list[list[str]]:
    return [row for section in table["sections"] for row in section["rows"]]


def test_it_stands_below_its_parent_and_changes_no_other_row(tmp_path: Path) -> None:
    _, plain = tables(tmp_path / "plain")
    _, found = tables(tmp_path / "found", derived={"random": {}})
    for name in ("learning", "forgetting", "diversity"):
        rows = lines(found[name])
        own = [i for i, row in enumerate(rows) if MADE in row]
        assert own
        for i in own:
            assert "full" in rows[i - 1]
        assert [row for row in rows if MADE not in row] == lines(plain[name])
        assert any(note.startswith("derived: made from") for note in found[name]["notes"])
        assert not any("derived" in note for note in plain[name]["notes"])
    general = found["forgetting"]["sections"][0]["rows"]
    values = {row[1]: (row[4].split()[0], row[5].split()[0]) for row in general}
    assert values["full"] == ("1.250", "+0.250")
    assert values[MADE] == ("1.500", "+0.500")
    accuracies = next(
        section["rows"]
        for section in found["learning"]["sections"]
        if "pass@1" in section["heading"]
    )
    assert [row[5].split()[0] for row in accuracies] == ["0.000", "0.500", "0.250"]
    assert re.match(r"\+0\.250", accuracies[2][6])
