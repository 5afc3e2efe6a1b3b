"""The choice of a token against cases worked by hand and against the distribution it claims."""

from __future__ import annotations

import pytest
import torch

from lora_ledger.inference import sampling
from lora_ledger.inference.sampling import Sampling, choose, nucleus, uniforms

PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, 1), (0.41, 2), (0.7, 2), (0.71, 3), (0.95, 4), (1.0, 5), (0.0, 1)]
)
def test_nucleus_by_hand(top_p: float, kept: int) -> None:
    # In fp64 0.4 + 0.3 is exactly 0.7; before the third stand 0.7, before the fourth 0.85.
    ordered = PROBABILITIES.double().sort(descending=True).values.round(decimals=2)
    assert nucleus(ordered, top_p).tolist() == [i < kept for i in range(5)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Sampling(1.0), [0.1, 0.4, 0.05, 0.3, 0.15]),
        (Sampling(1.0, top_p=0.75), [0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85]),
        (Sampling(1.0, top_k=2), [0, 4 / 7, 0, 3 / 7, 0]),
        # After top-k 3 the masses are 8/17, 6/17, 3/17: two reach 0.8.
        (Sampling(1.0, top_p=0.8, top_k=3), [0, 8 / 14, 0, 6 / 14, 0]),
        # Temperature 0.5 squares the odds.
        (Sampling(0.5), [0.01, 0.16, 0.0025, 0.09, 0.0225]),
    ],
)
def test_draws_follow_the_distribution(settings: Sampling, expected: list[float]) -> None:
    count = 20_000
    draws = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    logits = PROBABILITIES.log()[None, :].expand(count, -1)
    found = torch.bincount(choose(logits, draws, settings), minlength=5) / count
    truth = torch.tensor(expected) / sum(expected)
    assert torch.allclose(found, truth, atol=2e-4)


def test_a_flat_distribution_is_sorted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(0)) * 0.1
    draws = torch.rand(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = choose(logits, draws, Sampling(1.0, top_p=0.9))
    monkeypatch.setattr(sampling, "HEAD", 3)
    assert torch.equal(choose(logits, draws, Sampling(1.0, top_p=0.9)), whole)


def test_greedy_takes_the_largest() -> None:
    assert choose(PROBABILITIES[None], torch.zeros(1), Sampling()).tolist() == [1]


def test_draws_have_their_own_generators() -> None:
    base = uniforms(1, "humaneval", 3, 0, 8)
    assert torch.equal(uniforms(1, "humaneval", 3, 0, 4), base[:4])
    others = [(2, "humaneval", 3, 0), (1, "gsm", 3, 0), (1, "humaneval", 4, 0)]
    for other in [*others, (1, "humaneval", 3, 1)]:
        assert not torch.equal(uniforms(*other, 8), base)


def test_a_flat_row_changes_no_other_draw() -> None:
    """A row whose nucleus is wider than HEAD is sorted whole, and it alone."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, 4000, generator=generator) * 6
    logits[2] = 0.01 * logits[2]
    draws = torch.rand(6, generator=generator, dtype=torch.float64)
    how = Sampling(temperature=1.0, top_p=0.95)
    together = choose(logits, draws, how)
    alone = [int(choose(logits[i, None], draws[i, None], how)) for i in range(6)]
    assert together.tolist() == alone
    order = logits[2].sort(descending=True)
    kept = order.values.double().softmax(-1)
    kept = kept[: int((kept.cumsum(-1) < 0.95).sum()) + 1]
    place = int(torch.searchsorted(kept.cumsum(-1), draws[2] * kept.sum(), right=True))
    assert int(together[2]) == int(order.indices[place])
