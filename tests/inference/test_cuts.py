"""How many items the window cuts, against counts by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lora_ledger.common.errors import KeyProblem
from lora_ledger.inference.cuts import count_cut
from lora_ledger.inference.generation import _cut
from lora_ledger.study.evaluation import TaskRun


@pytest.mark.parametrize(("long", "every"), [(0, 4), (1, 5), (7, 35), (20, 100)])
def test_a_fifth_is_borne_and_one_more_is_not(long: int, every: int) -> None:
    lengths = [11] * long + [10] * (every - long)
    assert count_cut(lengths, 10, "key", 3, "fit") == long
    with pytest.raises(KeyProblem, match=rf"key: found 3, .* {long + 1} of {every} items .* 11"):
        count_cut([11, *lengths[:long], *lengths[long + 1 :]], 10, "key", 3, "fit")


@pytest.mark.parametrize(("shots", "said"), [(2, "num_fewshot: found 2"), (0, "max_gen_toks: fo")])
def test_prompts_are_refused_with_solved_examples_and_without(shots: int, said: str) -> None:
    requests = [[SimpleNamespace(args=("x" * 60, {}))] for _ in range(3)]
    config = SimpleNamespace(num_fewshot=shots)
    task: Any = SimpleNamespace(instances=requests, task=SimpleNamespace(config=config))
    lm: Any = SimpleNamespace(max_length=64, tok_encode=list)
    run = TaskRun(task="words", max_gen_toks=4)
    assert _cut(task, [0, 1, 2], run, lm) == 0
    with pytest.raises(KeyProblem, match=said):
        _cut(task, [0, 1, 2], run.model_copy(update={"max_gen_toks": 5}), lm)
