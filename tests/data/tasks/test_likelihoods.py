"""LAMBADA's accuracy through `retain`, against lm-eval's own evaluation of the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.weights import load_tokenizer, load_weights
from lora_ledger.stages.retain import retain
from lora_ledger.study.evaluation import LikelihoodTask
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from .upstream import upstream_task

SMOKE = Path(__file__).parents[3] / "config" / "smoke.yaml"
NAMES = ("Ada", "Ben", "Carla", "Deng", "Emil", "Fatima", "Goran", "Hana")
THINGS = ("box", "lamp", "stone", "shell", "drum")


def passages() -> list[str]:
    """40 passages that end in a name of their first sentence."""
    return [
        f"{NAMES[i % 8]} gave {NAMES[(i + 3) % 8]} the {THINGS[i % 5]} number {i}.\n"
        f"So the {THINGS[i % 5]} now belongs to {NAMES[(i + 3) % 8]}"
        for i in range(40)
    ]


@pytest.fixture(scope="module")
def taught(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after some steps on every other passage, so that it ends some rightly."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, tokenizer = load_weights(tiny_model), load_tokenizer(tiny_model)
    ids = [torch.tensor([tokenizer.encode(text)]) for text in passages()[::2]]
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(12):
        for one in ids:
            optimiser.zero_grad()
            model(one, labels=one).loss.backward()
            optimiser.step()
    folder = tmp_path_factory.mktemp("taught")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_accuracy_and_nats_item_by_item(taught: Path, tmp_path: Path) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    rows = [{"text": text} for text in passages()]
    task = upstream_task("lambada/lambada_openai.yaml", {"test": rows}, tmp_path / "upstream")
    reference: Any = evaluate(
        HFLM(str(taught), device="cpu", dtype="float32", batch_size=1),
        {"lambada_openai": task},
        bootstrap_iters=0,
        log_samples=True,
    )
    theirs = {s["doc"]["text"]: s for s in reference["samples"]["lambada_openai"]}

    examples = [
        Example(group=str(i), prompt=text.rpartition(" ")[0], fields={"text": text})
        for i, text in enumerate(passages())
    ]
    save({"test": examples}, tmp_path / "data")
    raw: dict[str, Any] = load(str(SMOKE)).model_dump(mode="json", exclude_unset=True)
    choices = {"last-word": LikelihoodTask(task="lambada").model_dump(mode="json")}
    raw["evaluation"] |= {"likelihood": choices, "texts": {}}
    record = retain(
        Study.model_validate(raw), "last-word", "base", taught, None, tmp_path / "data",
        tmp_path / "r.json", tmp_path / "r.csv.gz",
    )  # fmt: skip
    found = record.results
    assert set(found) == {
        "kind",
        "cut_contexts",
        "items",
        "groups",
        "acc",
        "nats",
        "bytes",
        "tokens",
    }
    assert found["kind"] == "continuation"
    assert sorted(found["groups"], key=int) == [str(i) for i in range(40)]
    for place, group in enumerate(found["groups"]):
        text = passages()[int(group)]
        assert found["acc"][place] == theirs[text]["acc"]
        assert -found["nats"][place] == pytest.approx(theirs[text]["perplexity"], abs=1e-3)
        # The tokenizer has one token a byte, and the blank is scored with the word.
        name = text.rpartition(" ")[2]
        assert found["bytes"][place] == found["tokens"][place] == len(name) + 1
    print(f"last words: 40 items compared, {sum(found['acc'])} right")
    # The comparison would say little if all were wrong, or all right.
    assert 5 < sum(found["acc"]) < 35
    assert reference["results"]["lambada_openai"]["acc,none"] == sum(found["acc"]) / 40
