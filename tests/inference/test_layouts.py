"""Attention without padding against one masked product over all tokens, in fp32."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from lora_ledger.inference import layouts
from lora_ledger.inference.decoding import shared_length
from lora_ledger.inference.layouts import Packed, Segment, visible
from lora_ledger.inference.slots import Slots


def reference(query: Any, key: Any, value: Any, mask: Any, scaling: float) -> Any:
    """softmax(q k + mask) v with keys repeated for each head of a group, in fp64."""
    group = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(group, 1).double() for states in (key, value))
    scores = query.double() @ key.transpose(2, 3) * scaling
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return (weights @ value).float()


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("window", [None, 3])
def test_who_sees_whom(window: int | None) -> None:
    """Token by token, from the definition: context first, then two sequences of 2 and 3."""
    lengths, seen = [2, 3], 4
    found = visible(lengths, seen, window)
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    for row, (owner, place) in enumerate(rows):
        for column in range(seen):
            near = window is None or seen + place - column < window
            assert bool(found[row, column]) is near
        for other, (their_owner, their_place) in enumerate(rows):
            near = window is None or place - their_place < window
            expected = owner == their_owner and their_place <= place and near
            assert bool(found[row, seen + other]) is expected


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize(("grouped", "scores"), [(256, 2**21), (256, 40), (4, 2**21), (0, 1)])
def test_a_pack_equals_each_sequence_alone(
    window: int | None, prefixed: bool, grouped: int, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context with two continuations and sequences of many lengths; in groups and each alone."""
    monkeypatch.setattr(layouts, "GROUPED", grouped)
    monkeypatch.setattr(layouts, "SCORES", scores)
    lengths = [70, 1, 6, 5, 5, 68, *[4] * 20]
    starts = [9, *(9 + total for total in accumulate(lengths))]
    segments = [Segment(0, (4,)), Segment(4, (2, 3), (0, 4))]
    segments += [Segment(at, (n,)) for at, n in zip(starts, lengths, strict=False)]
    count = starts.pop()
    # What no other sequence sees may be anything.
    query, key, value = draw(1, 4, count, 8), draw(1, 2, count, 8), draw(1, 2, count, 8)
    for one in (key, value):
        one[:, :, starts[1]] = float("nan")
    prefix = (draw(2, 3, 8), draw(2, 3, 8) + 1) if prefixed else None
    found = Packed(segments, prefix=[prefix] if prefix else None).attend(
        0, query, key, value, 0.3, window
    )[0]
    alone = [list(range(at, at + n)) for at, n in zip(starts, lengths, strict=True)]
    del alone[1]
    # Of each: rows of the pack, whether the prefix stands before them, rows that are theirs.
    cases = [(rows, prefixed, 0) for rows in [list(range(4)), *alone]]
    cases += [([*range(4), 4, 5], False, 4), ([*range(4), 6, 7, 8], False, 4)]
    for rows, begun, first in cases:
        asked, keys, values = (one[:, :, rows] for one in (query, key, value))
        if begun and prefix:
            keys = torch.cat([prefix[0][None], keys], 2)
            values = torch.cat([prefix[1][None], values], 2)
        before = 3 if begun else 0
        mask = torch.ones(len(rows), len(rows) + before, dtype=torch.bool).tril(before)
        if window is not None:
            mask = mask.triu(before + 1 - window)
        expected = reference(asked, keys, values, mask, 0.3)[0].transpose(0, 1)
        assert torch.allclose(found[rows[first:]], expected[first:], atol=1e-5)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("prefixed", [False, True])
def test_slots_equal_whole_sequences(
    window: int | None, prefixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots come, grow over the cache's edge, go and are taken again; each sees its own tokens."""
    monkeypatch.setattr("lora_ledger.inference.slots.COLUMNS", 4)
    heads, size, scaling = 2, 8, 0.3
    begun = (draw(heads, 3, size), draw(heads, 3, size) + 1) if prefixed else None
    slots = Slots(3, [begun] if begun else None)
    seen = 3 if prefixed else 0
    histories: list[list[Any]] = []

    def add(length: int, copies: int) -> None:
        keys, values = draw(heads, length, size), draw(heads, length, size) - length
        slots.add([(keys, values)], length, copies)
        whole = [keys, values]
        if begun:
            whole = [torch.cat(pair, 1) for pair in zip(begun, whole, strict=True)]
        histories.extend([list(whole) for _ in range(copies)])

    def step(number: int) -> None:
        count = len(histories)
        positions = slots.advance()
        assert positions.tolist() == [keys.shape[1] for keys, _ in histories]
        query, key, value = (draw(1, n, count, size) + number for n in (2 * heads, heads, heads))
        found = slots.attend(0, query, key, value, scaling, window)
        for slot, history in enumerate(histories):
            history[0] = torch.cat([history[0], key[0, :, slot : slot + 1]], 1)
            history[1] = torch.cat([history[1], value[0, :, slot : slot + 1]], 1)
            length = history[0].shape[1]
            near = torch.arange(length) > length - 1 - (window or length + 1)
            expected = reference(
                query[:, :, slot : slot + 1], history[0][None], history[1][None], near, scaling
            )
            assert torch.allclose(found[0, slot], expected.reshape(-1, size), atol=1e-5)

    add(5, 2)
    step(0)
    add(2, 1)
    for number in range(1, 5):
        step(number)
    assert slots.drop(0) == 2
    histories[0] = histories.pop()
    step(5)
    assert slots.drop(1) == 1
    histories.pop()
    step(6)
    add(30 - seen, 2)
    step(7)


def test_what_a_slot_held_before_does_not_matter() -> None:
    """Not even where it was no number."""
    slots = Slots(1)
    bad = torch.full((2, 9, 8), float("nan"))
    slots.add([(bad, bad)], 9, 1)
    slots.drop(0)
    good = draw(2, 3, 8)
    slots.add([(good, good)], 3, 1)
    slots.advance()
    query, key = draw(1, 4, 1, 8), draw(1, 2, 1, 8)
    found = slots.attend(0, query, key, key, 0.3, None)
    whole = torch.cat([good[None], key], 2)
    expected = reference(query, whole, whole, torch.ones(1, 4, dtype=torch.bool), 0.3)
    assert torch.allclose(found[0, 0], expected.reshape(-1, 8), atol=1e-5)


def test_what_all_begin_with() -> None:
    assert shared_length([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 9]]) == 2
    # At least one token of each is left, from whose state the first choice is made.
    assert shared_length([[1, 2], [1, 2, 3]]) == 1
    assert shared_length([[1, 2], [1, 2]]) == 1
    assert shared_length([[1, 2, 3]]) == 0
    assert shared_length([[1], [2]]) == 0


def test_the_kernel_of_torch_agrees() -> None:
    """The reference of these tests, once against torch's own."""
    query, key, value = draw(1, 4, 9, 8), draw(1, 2, 9, 8), draw(1, 2, 9, 8)
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    theirs = scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=0.3, enable_gqa=True
    )
    assert torch.allclose(reference(query, key, value, mask, 0.3), theirs, atol=1e-5)


def test_the_scheduler_counts_what_a_pass_may_hold() -> None:
    from lora_ledger.compute import token_likelihoods
    from lora_ledger.inference import decoding, likelihood
    from lora_ledger.scheduling import resources

    assert resources.PACKED_TOKENS == likelihood.TOKENS == decoding.PREFILL
    assert resources.SCORED_POSITIONS == token_likelihoods.POSITIONS
    assert resources.GROUP_SCORES == layouts.SCORES
