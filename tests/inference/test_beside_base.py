"""Cells beside their base on the random model: against forward passes and products in numpy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import load, save
from lora_ledger.inference.subject import Subject
from lora_ledger.inference.weights import load_cell, load_tokenizer, load_weights
from lora_ledger.records.record import Record
from lora_ledger.stages.retain import retain
from lora_ledger.study.schema import Study
from made_records import write_record
from tiny_study import STUDY

WINDOW = 24
TEXTS = ["The river is long; " * 6, "Über den Fluß " * 4, "xyz"]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full", "learning_rates": [1e-3]},
    "lora": {"kind": "lora", "rank": 4, "learning_rates": [1e-3]},
    "prefix": {
        "kind": "peft",
        "config": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5},
        "learning_rates": [1e-2],
    },
}
TEXT = {"corpus": "texts", "kilobytes": 1, "sequence_length": WINDOW}
EVALUATION = {
    "texts": {"general": {**TEXT, "divergence": True, "csd": True}},
    "prompts": {"sums": {"task": "gsm-symbolic", "limit": 3, "csd": True}},
    "batch_size": 2,
}


def study(
    backend: str = "fast",
    device: str = "cpu",
    precision: dict[str, str] | None = None,
    **evaluation: Any,
) -> Study:
    asked = {**EVALUATION, **evaluation}
    where = {**STUDY["compute"], "backend": backend, "device": device}
    where |= {"precision": precision} if precision else {}
    return Study.model_validate(
        {**STUDY, "compute": where, "methods": METHODS, "evaluation": asked, "others": OTHERS}
    )


OTHERS = {"theirs": {"source": {"kind": "local", "path": "nowhere"}, "licence": "-", "title": "t"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    rows = [Example(group=str(i), text=t) for i, t in enumerate(TEXTS)]
    save({"test": rows}, out)
    return out


def trained(name: str, tiny_model: Path, folder: Path, noise: float = 0.05) -> Path:
    """A cell whose weights are `noise` from where they began."""
    method = study().methods[name]
    model = method.apply(load_weights(tiny_model), 1)
    torch.manual_seed(3)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += noise * torch.randn_like(weight)
    method.save(model, folder / method.artefact, "tiny-random-llama", tiny_model)
    write_record(folder / "record.json", stage="train", cell="c", results={})
    return folder


def label(name: str) -> str:
    return f"cpt/{name}/short/s1"


def measured(
    name: str, backend: str, tiny_model: Path, cell: Path | None, data: Path, out: Path
) -> Record:
    named = name if name == "base" or "/" in name else label(name)
    return retain(study(backend), "general", named, tiny_model, cell, data, out / "r.json")


def windows(tokenizer: Any) -> list[list[tuple[list[int], int]]]:
    """Of each text what is fed and how many of its last positions count, the prefix token first."""
    found = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        mine = []
        for start in range(0, len(ids), WINDOW):
            part = ids[start : start + WINDOW]
            context = [0, *ids][max(0, start + len(part) - WINDOW) : start + 1]
            mine.append(([*context, *part[:-1]], len(part)))
        found.append(mine)
    return found


def by_hand(base: Any, cell: Any, tokenizer: Any) -> tuple[list[float], list[float]]:
    """Both divergences of each text, in numpy's fp64, one window at a time."""
    forward, reverse = [], []
    for mine in windows(tokenizer):
        sums = [0.0, 0.0]
        for ids, count in mine:
            with torch.no_grad():
                rows = [m(torch.tensor([ids])).logits[0].double().numpy() for m in (base, cell)]
            logs = [x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in rows]
            p, q = (x[len(x) - count :] for x in logs)
            sums[0] += float((np.exp(p) * (p - q)).sum())
            sums[1] += float((np.exp(q) * (q - p)).sum())
        forward.append(sums[0])
        reverse.append(sums[1])
    return forward, reverse


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("name", ["full", "lora", "prefix"])
def test_divergences_of_a_text(
    name: str, backend: str, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    folder = trained(name, tiny_model, tmp_path / "cell")
    found = measured(name, backend, tiny_model, folder, data, tmp_path).results
    base, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    cell, _ = load_cell(tiny_model, folder, "fp32", "cpu", study().methods[name])
    forward, reverse = by_hand(base, cell, tokenizer)
    assert min(*forward, *reverse) > 1e-4
    assert found["divergence"]["base_cell"] == pytest.approx(forward, rel=1e-3)
    assert found["divergence"]["cell_base"] == pytest.approx(reverse, rel=1e-3)
    assert found["tokens"] == [sum(count for _, count in mine) for mine in windows(tokenizer)]
    if name == "prefix":
        assert found["csd"] == {"why": "no ΔW: peft does not merge"}


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("name", ["full", "lora"])
def test_csd_is_what_explicit_products_give(
    name: str, backend: str, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    folder = trained(name, tiny_model, tmp_path / "cell")
    found = measured(name, backend, tiny_model, folder, data, tmp_path).results["csd"]
    base, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    cell, _ = load_cell(tiny_model, folder, "fp32", "cpu", study().methods[name])
    linear = {n: m for n, m in base.named_modules() if n.endswith("_proj")}
    after = dict(cell.named_parameters())
    inputs: dict[str, list[np.ndarray[Any, Any]]] = {n: [] for n in linear}
    kept: dict[str, torch.Tensor] = {}
    for n, m in linear.items():
        m.register_forward_pre_hook(lambda _, args, n=n: kept.__setitem__(n, args[0][0]))
    for mine in windows(tokenizer):
        rows: dict[str, list[torch.Tensor]] = {n: [] for n in linear}
        for ids, count in mine:
            with torch.no_grad():
                base(torch.tensor([ids]))
            for n, h in kept.items():
                rows[n].append(h[len(h) - count :])
        for n, parts in rows.items():
            inputs[n].append(torch.cat(parts).double().numpy())
    absolute, relative = np.zeros(len(TEXTS)), np.zeros(len(TEXTS))
    kinds: dict[str, list[float]] = {}
    for n, m in linear.items():
        w0 = m.weight.detach().double().numpy()
        delta = after[f"{n}.weight"].detach().double().numpy() - w0
        squares = [(np.linalg.norm(delta @ h.T, axis=0) ** 2).sum() for h in inputs[n]]
        every = np.concatenate(inputs[n])
        size = (np.linalg.norm(w0 @ every.T, axis=0) ** 2).mean()
        absolute += np.asarray(squares) / len(linear)
        relative += np.asarray(squares) / size / len(linear)
        kinds.setdefault(n.rpartition(".")[2], []).append(sum(squares) / len(every))
    assert found["absolute"] == pytest.approx(absolute, rel=1e-3)
    assert found["relative"] == pytest.approx(relative, rel=1e-3)
    assert found["matrices"] == len(linear) == 14
    for kind, values in kinds.items():
        assert found["modules"][kind][0] == pytest.approx(np.mean(values), rel=1e-3)


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_the_base_and_a_cell_that_learnt_nothing_are_at_zero(
    backend: str, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    nothing = [0.0] * len(TEXTS)
    folder = trained("lora", tiny_model, tmp_path / "cell", noise=0)
    for name, cell in (("base", None), ("lora", folder)):
        found = measured(name, backend, tiny_model, cell, data, tmp_path).results
        assert found["divergence"] == {"base_cell": nothing, "cell_base": nothing}
        assert (found["csd"]["absolute"], found["csd"]["relative"]) == (nothing, nothing)


@pytest.mark.parametrize("tied", [True, False])
def test_in_bf16_the_heads_are_wide(
    tied: bool, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    """Weights that stand in the library's own order are found too; what is left is hidden states'
    own rounding, the same in both models where they are one."""
    base = load_weights(tiny_model)
    if not tied:
        base.config.tie_word_embeddings = False
        base.lm_head.weight = torch.nn.Parameter(base.lm_head.weight.detach().clone())
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    base.save_pretrained(folder)
    base.save_pretrained(tmp_path / "same" / "model")
    cell = trained("full", folder, tmp_path / "cell")
    precision = {**STUDY["compute"]["precision"], "evaluate": "bf16"}
    asks = study(precision=precision)
    for at, name in ((tmp_path / "same", "full"), (cell, "full")):
        if at != cell:
            write_record(at / "record.json", stage="train", cell="c", results={})
        found = retain(asks, "general", label(name), folder, at, data, tmp_path / "r.json").results
        if at == cell:
            after, tokenizer = load_cell(folder, cell, "fp32", "cpu")
            forward, _ = by_hand(load_weights(folder).eval(), after, tokenizer)
            assert found["divergence"]["base_cell"] == pytest.approx(forward, rel=0.1)
        else:
            assert found["divergence"]["base_cell"] == [0.0] * len(TEXTS)


def test_somebody_elses_model_with_another_vocabulary_says_so(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    load_weights(tiny_model).save_pretrained(tmp_path / "cell" / "model")
    write_record(tmp_path / "cell" / "record.json", stage="fetch", cell="c", results={})
    same = measured("other/theirs", "fast", tiny_model, tmp_path / "cell", data, tmp_path).results
    assert same["divergence"]["base_cell"] == [0.0] * len(TEXTS)
    own = load_tokenizer(tiny_model)
    own.add_tokens(["<other>"])
    own.save_pretrained(tmp_path / "cell" / "model")
    found = measured("other/theirs", "fast", tiny_model, tmp_path / "cell", data, tmp_path).results
    assert "another vocabulary" in found["divergence"]["why"]
    assert found["csd"] == found["divergence"]


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_prompts(backend: str, tiny_model: Path, tmp_path: Path) -> None:
    """After each token of a prompt, the last included, and of no token twice."""
    rows = [
        Example(
            group=f"g{i % 2}", prompt=f"What is {i} + {i}?", response=f"It is {2 * i}.", fields={}
        )
        for i in range(5)
    ]
    save({"test-seen": rows}, tmp_path / "data")
    folder = trained("full", tiny_model, tmp_path / "cell")
    record = retain(
        study(backend), "sums", label("full"), tiny_model, folder, tmp_path / "data",
        tmp_path / "r.json",
    )  # fmt: skip
    found = record.results
    assert (found["kind"], found["cut_contexts"], len(found["items"])) == ("prompts", 0, 3)
    assert record.science.settings["num_fewshot"] == 0
    base, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    cell, _ = load_cell(tiny_model, folder, "fp32", "cpu")
    by_id = {row["id"]: row["prompt"] for row in load(tmp_path / "data", "test-seen")}
    for place, name in enumerate(found["items"]):
        ids = tokenizer.encode(by_id[name])
        with torch.no_grad():
            logs = [m(torch.tensor([ids])).logits[0].double().log_softmax(-1) for m in (base, cell)]
        p, q = (one.numpy() for one in logs)
        expected = float((np.exp(p) * (p - q)).sum())
        assert found["tokens"][place] == len(ids)
        assert found["divergence"]["base_cell"][place] == pytest.approx(expected, rel=1e-3)
    assert min(found["csd"]["relative"]) > 0


def test_what_asks_nothing_has_nothing(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    asks = study(texts={"general": TEXT}, prompts={})
    record = retain(asks, "general", "base", tiny_model, None, data, tmp_path / "r.json")
    assert not {"divergence", "csd"} & set(record.results)
    assert asks.evaluation.beside_base == []


def test_an_engine_that_gives_no_logits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation.texts.general needs the logits"):
        study("vllm", device="cuda")


def test_a_subject_loads_its_base_once(tiny_model: Path, tmp_path: Path) -> None:
    folder = trained("full", tiny_model, tmp_path / "cell")
    subject = Subject(study(), label("full"), tiny_model, folder)
    assert subject.base_model is subject.base_model
    assert subject.base_model is not subject.held.model
