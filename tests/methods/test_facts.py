"""What a method says of itself without a model at hand: values, costs, checks, colours."""

from __future__ import annotations

import math
import subprocess
import sys
from colorsys import rgb_to_hsv
from pathlib import Path
from typing import Any, get_args

import pytest
from matplotlib.colors import to_rgb

from lora_ledger import methods
from lora_ledger.methods import KINDS
from lora_ledger.methods.full import FullMethod
from lora_ledger.methods.full_linear import FullLinearMethod
from lora_ledger.methods.lora import LoraMethod
from lora_ledger.models.architecture import ArchitectureError
from lora_ledger.study.schema import Study

LLAMA = {
    "model_type": "llama",
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
FULL = FullMethod(kind="full", learning_rates=(1e-4,))
LINEAR = FullLinearMethod(kind="full-linear", learning_rates=(1e-4,))


def lora(**keys: Any) -> LoraMethod:
    return LoraMethod(**{"kind": "lora", "rank": 8, "learning_rates": (1e-3,), **keys})


def test_each_file_of_the_folder_gives_its_kinds() -> None:
    found = {get_args(kind.model_fields["kind"].annotation): kind.module() for kind in KINDS}
    files = sorted(path.stem for path in Path(methods.__file__).parent.glob("*.py"))
    helpers = {
        "__init__",
        "base",
        "beside",
        "initialisations",
        "partial",
        "products",
        "recipe",
        "shades",
    }
    assert list(found.values()) == [f"methods.{file}" for file in files if file not in helpers]
    assert found[("full-linear",)] == "methods.full_linear"
    assert set(Study.model_json_schema()["$defs"]) > {kind.__name__ for kind in KINDS}


def test_the_folder_is_read_without_torch() -> None:
    said = "import sys, lora_ledger.methods; print({'torch', 'peft', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_resolved_values_have_the_alpha_that_is_used_and_no_rate() -> None:
    full = lora(title="LoRA").resolved()
    assert full == {
        "kind": "lora",
        "rank": 8,
        "alpha": 16.0,
        "target_modules": "all",
        "dropout": 0.05,
        "rslora": False,
        "dora": False,
        "init": "default",
        "init_scale": 1.0,
        "train": "all",
        "learning_rate_ratio": 1.0,
        "layers": "all",
        "seed_offset": 0,
    }
    assert lora().resolved(defaults=False) == {"kind": "lora", "rank": 8, "alpha": 16.0}
    assert lora(alpha=16, dropout=0.05).resolved(defaults=False) == lora().resolved(defaults=False)
    assert lora(target_modules=("q_proj",)).resolved(defaults=False) == {
        "kind": "lora",
        "rank": 8,
        "alpha": 16.0,
        "target_modules": ["q_proj"],
    }
    assert FULL.resolved() == {"kind": "full", "layers": "all", "freeze": 0.0, "seed_offset": 0}
    assert FULL.resolved(defaults=False) == {"kind": "full"}


def test_distance_is_the_ratio_of_ranks_within_a_kind() -> None:
    assert FULL.distance(FULL) == 0
    assert FULL.distance(LINEAR) == LINEAR.distance(lora()) == lora().distance(FULL) == math.inf
    assert lora().distance(lora(rank=32)) == lora(rank=32).distance(lora()) == math.log(4)


def test_colours_are_apart_and_ranks_darken_in_order() -> None:
    found = methods.colours(
        {
            "r32": lora(rank=32),
            "full": FULL,
            "r2": lora(rank=2),
            "linear": LINEAR,
            "r8": lora(),
            "r8-dora": lora(dora=True),
        }
    )
    assert list(found) == ["r32", "full", "r2", "linear", "r8", "r8-dora"]
    values = [rgb_to_hsv(*to_rgb(found[name]))[2] for name in ("r2", "r8", "r32")]
    assert values == sorted(values, reverse=True)
    assert len(set(found.values())) == 6
    assert (found["full"], found["linear"]) == ("#D55E00", "#E69F00")
    assert (found["r2"], found["r32"]) == ("#9ecae1", "#08306b")


def test_no_two_arms_have_one_colour() -> None:
    arms: list[Any] = [
        *(lora(init=init) for init in ("default", "pissa", "middle", "milora", "olora")),
        lora(rank=32),
        lora(alpha=32),
        lora(dropout=0.0),
        lora(train="b-only"),
        lora(layers="last-1"),
        lora(init_scale=2),
        lora(learning_rate_ratio=16),
        lora(attention_dropout=0.1),
        lora(optimiser={"name": "sgd"}),
        lora(optimiser={"name": "muon"}),
    ]
    for kind in (FullMethod, FullLinearMethod):
        name = kind.model_fields["kind"].annotation.__args__[0]
        for keys in ({}, {"layers": "last-2"}, {"freeze": 0.95}, {"optimiser": {"name": "lion"}}):
            arms.append(kind(kind=name, learning_rates=(1e-3,), **keys))
    found = methods.colours({str(i): arm for i, arm in enumerate(arms)})
    assert len(set(found.values())) == len(arms)
    assert (found["15"], found["19"]) == ("#D55E00", "#E69F00")
    for one in found.values():
        assert len(to_rgb(one)) == 3
    # A sweep over ranks at one alpha is one hue.
    swept = methods.colours({str(r): lora(rank=r, alpha=32) for r in (2, 8, 32)})
    assert [swept["2"], swept["32"]] == ["#9ecae1", "#08306b"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"init": "pissa", "rank": 33}, r"m\.rank: found 33, expected at most 32 with init pissa"),
        ({"init": "orthogonal", "rank": 3}, r"m\.rank: found 3, expected an even one"),
        (
            {"init": "milora", "rank": 33},
            r"m\.rank: found 33, expected at most 32 with init milora",
        ),
        ({"init": "middle", "init_scale": 2}, r"m\.init_scale: found 2.0, expected 1 with init"),
        ({"train": "b-only", "init": "olora"}, r"m\.init: found 'olora', expected default"),
        ({"train": "b-only", "rank": 33}, r"m\.rank: found 33, expected at most 32 with train"),
        (
            {"train": "b-only", "learning_rate_ratio": 4},
            r"m\.learning_rate_ratio: found 4.0, expected 1 with train b-only",
        ),
        (
            {"layers": "last-3"},
            r"m\.layers: found 'last-3', expected all, or last-1 to last-2, since the model has 2 "
            r"blocks; did you mean 'last-2'",
        ),
        ({"target_modules": ("q_porj",)}, r"m\.target_modules: found 'q_porj'.*mean 'q_proj'"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lora(**keys).check(LLAMA, "m.")


@pytest.mark.parametrize("kind", [FullMethod, FullLinearMethod])
def test_more_blocks_than_there_are_do_not_train(kind: Any) -> None:
    method = kind(kind=kind.model_fields["kind"].annotation.__args__[0], layers="last-3", at="m")
    with pytest.raises(ValueError, match=r"m\.layers: found 'last-3'.* did you mean 'last-2'"):
        method.check(LLAMA, "m.")


@pytest.mark.parametrize("layers", ["last-0", "last", "first-2", "2"])
def test_layers_are_all_or_the_last(layers: str) -> None:
    with pytest.raises(ValueError, match="layers"):
        lora(layers=layers)


def test_what_fits_is_not() -> None:
    b_only = lora(train="b-only", rank=32, layers="last-2")
    for method in (FULL, LINEAR, b_only, lora(rank=64), lora(init="olora", rank=32)):
        method.check(LLAMA)
    with pytest.raises(ArchitectureError, match="found none"):
        lora(target_modules=()).check(LLAMA)
