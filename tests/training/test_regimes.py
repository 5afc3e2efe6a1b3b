"""A regime's facts and its file belong together, and nobody else asks which regime it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lora_ledger.catalogue import TokenRoles
from lora_ledger.models.pretrained import byte_tokenizer
from lora_ledger.study.regimes import REGIMES, UNITS
from lora_ledger.study.schema import Setting, Study
from lora_ledger.training.regimes import names, regime
from tiny_study import STUDY

SOURCE = Path(__file__).parents[2] / "src"
ROLES = TokenRoles(separator="<|endoftext|>", end_of_response="<|end|>", prefix="<|endoftext|>")


def test_each_regime_of_a_study_has_a_file_and_each_file_its_facts() -> None:
    assert set(names()) == set(REGIMES)
    for name in names():
        assert regime(name).facts is REGIMES[name]
        assert regime(name).facts.name == name
        assert regime(name).module() == f"training.regimes.{name}"


def test_nobody_else_asks_for_the_name_of_a_regime() -> None:
    asks = re.compile(rf"""regime\b.*[=!]=\s*["']({"|".join(REGIMES)})["']""")
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if asks.search(line)
    ]
    assert found == []


def test_the_files_need_no_torch() -> None:
    """`prepare` packs in the environment without it."""
    code = (
        "import sys; from lora_ledger.training.regimes import names, regime; "
        "[regime(name) for name in names()]; "
        "print(sorted({'torch', 'numpy', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(SOURCE)},
    )
    assert done.stdout.strip() == "[]"


def test_a_budget_of_a_unit_that_the_regime_lacks_is_refused() -> None:
    assert all(facts.budgets < set(UNITS) for facts in REGIMES.values())
    budgets = {"budgets": {"short": {"episodes": 8}}}
    with pytest.raises(ValueError, match=r"budgets\.short\.episodes: found 8.*steps, since"):
        Study.model_validate(STUDY | budgets)
    for unit in ("tokens", "examples", "steps", "epochs"):
        Study.model_validate(STUDY | {"budgets": {"short": {unit: 3}}})


def test_documents_and_pairs_become_rows(tiny_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    end = tokenizer.token_to_id("<|end|>")
    between = tokenizer.token_to_id("<|endoftext|>")
    a, b, c = (tokenizer.token_to_id(letter) for letter in "abc")
    rows, counts = regime("cpt").pack([{"text": "ab"}, {"text": "c"}], tokenizer, ROLES, 5)
    assert [row["input_ids"] for row in rows] == [[a, b, between, c, between]]
    assert counts["tokens"] == 4
    pairs = [{"prompt": "a", "response": "b"}, {"prompt": "ab", "response": "cab"}]
    rows, counts = regime("ift").pack(pairs, tokenizer, ROLES, 5)
    assert [row["input_ids"] for row in rows] == [[a, b, end]]
    assert (counts["dropped_over_length"], counts["tokens"]) == (1, 2)


def test_the_validation_is_cut_and_an_empty_split_refused(tiny_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    setting = Setting(corpus="texts", regime="cpt", sequence_length=4, validation_examples=2)
    text = {"text": "abcdefghijklmnop"}
    both = {"train": [text], "validation": [text]}
    rows, counts = regime("cpt").splits("settings.x", setting, both, tokenizer, ROLES)
    assert {split: len(found) for split, found in rows.items()} == {"train": 4, "validation": 2}
    assert counts["validation"]["rows"] == 4
    with pytest.raises(ValueError, match=r"settings\.x: found no validation example of at most 4"):
        regime("cpt").splits(
            "settings.x", setting, both | {"validation": [{"text": "a"}]}, tokenizer, ROLES
        )


@pytest.mark.parametrize(("lost", "every"), [(29, 100), (57, 100), (7, 25), (1, 3)])
def test_a_share_that_is_allowed_is_the_share_that_was_written(lost: int, every: int) -> None:
    """0.29 times 100 is 28.999… in binary, and the refusal of 29 asked for 0.29 once more."""
    how = regime("ift")

    def split(allowed: float) -> None:
        setting = Setting.model_validate(
            {"corpus": "a", "regime": "ift", "sequence_length": 12, "dropped_allowed": allowed}
        )
        pairs = [{"prompt": "a", "response": "b" * (20 if i < lost else 2)} for i in range(every)]
        tokenizer = byte_tokenizer([ROLES.separator, ROLES.end_of_response])
        how.splits("settings.s", setting, {"train": pairs}, tokenizer, ROLES)

    with pytest.raises(ValueError, match=r"dropped_allowed: 0\.\d+$") as caught:
        split(lost / every - 0.01)
    split(float(str(caught.value).rpartition(" ")[2]))
