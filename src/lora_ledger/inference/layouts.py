"""Layouts: which tokens of a row see which others, in attention without padding.

In: states of one row of tokens, layer by layer. Out: what each token takes from those that it sees.
`Packed` fills in whole sequences side by side; `slots.Slots` adds one token to each of many. A
layout knows no model; `layers.states` runs one with it. It chooses no token and keeps no order of
requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lora_ledger.compute.cpu.attention import causal_attention

# Segments up to so many rows are attended for in groups, longer ones by themselves.
GROUPED = 256
# How many segments a group holds, how many scores of a head, and how long its shortest is at least,
# to its longest.
TOGETHER = 16
SCORES = 2**21
FILLED = 0.75

Cached = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (key-value heads, tokens, head size)."""


class Layout(Protocol):
    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        window: int | None,
    ) -> Tensor:
        """(1, tokens, heads, head size) from states of shape (1, heads, tokens, head size)."""
        ...


@dataclass(frozen=True)
class Segment:
    """Sequences that stand one after another from `start`, each after the same context.

    `context` are rows of the same pack, or None: then it is what the pack was told to begin with.
    """

    start: int
    lengths: tuple[int, ...]
    context: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        return sum(self.lengths)

    @property
    def end(self) -> int:
        return self.start + self.rows


@dataclass
class Packed:
    """Sequences side by side in one row; `prefix` stands before each that has no other context."""

    segments: Sequence[Segment]
    prefix: list[Cached] | None = None
    keep: bool = False
    kept: list[Cached] = field(default_factory=list)
    _plans: dict[int | None, _Plan] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        window: int | None,
    ) -> Tensor:
        if self.keep:
            self.kept.append((key[0], value[0]))
        if self.prefix is not None:
            key = torch.cat([self.prefix[layer][0][None], key], 2)
            value = torch.cat([self.prefix[layer][1][None], value], 2)
        if window not in self._plans:
            self._plans[window] = self._plan(query, window)
        plan = self._plans[window]
        found = [group.attend(query[0], key[0], value[0], scaling) for group in plan.groups]
        for segment in plan.long:
            asked, seen = query[:, :, segment.start : segment.end], self._seen(segment)
            keys, values = (torch.cat([one[:, :, at] for at in seen], 2) for one in (key, value))
            mask = plan.masks[segment.start]
            if mask is None and query.device.type == "cpu":
                one = causal_attention(asked, keys, values, scaling)
            else:
                one = scaled_dot_product_attention(
                    asked,
                    keys,
                    values,
                    attn_mask=mask,
                    is_causal=mask is None,
                    scale=scaling,
                    enable_gqa=asked.shape[1] != keys.shape[1],
                )
            found.append(one[0].transpose(0, 1))
        return torch.cat(found).index_select(0, plan.order)[None]

    def _plan(self, query: Tensor, window: int | None) -> _Plan:
        """What is attended for together, the same in every layer of a window."""
        short = [one for one in self.segments if one.rows <= GROUPED]
        long = [one for one in self.segments if one.rows > GROUPED]
        groups = [
            _Group(some, [self._seen(one) for one in some], window, query)
            for some in _alike(short, {one.start: self._columns(one) for one in short})
        ]
        masks = {
            one.start: None if self._plain(one, query, window) else self._mask(one, window, query)
            for one in long
        }
        rows = torch.cat(
            [group.rows for group in groups] + [torch.arange(one.start, one.end) for one in long]
        )
        order = torch.empty(query.shape[2], dtype=torch.long)
        (used,) = (rows >= 0).nonzero(as_tuple=True)
        order[rows[used]] = used
        return _Plan(groups, long, masks, order.to(query.device))

    def _seen(self, segment: Segment) -> list[slice]:
        """Where a segment's context and its own rows stand, among prefix and rows."""
        before = self.prefix[0][0].shape[1] if self.prefix is not None else 0
        own = slice(before + segment.start, before + segment.end)
        if segment.context is None:
            return [slice(0, before), own]
        return [slice(*(before + place for place in segment.context)), own]

    def _columns(self, segment: Segment) -> int:
        return sum(one.stop - one.start for one in self._seen(segment))

    def _mask(self, segment: Segment, window: int | None, like: Tensor) -> Tensor:
        seen = self._columns(segment) - segment.rows
        return visible(segment.lengths, seen, window).to(like.device)

    def _plain(self, segment: Segment, query: Tensor, window: int | None) -> bool:
        """Whether it is one causal sequence: blocks or torch's kernels need no mask for it.

        Torch's take the first row for the first column, so there nothing may stand before it.
        """
        columns = self._columns(segment)
        alone = query.device.type == "cpu" or columns == segment.rows
        return len(segment.lengths) == 1 and alone and (window is None or columns <= window)


def _alike(segments: Sequence[Segment], columns: dict[int, int]) -> list[list[Segment]]:
    """Segments of about one length together, so that little of a group is filled up.

    `columns` says how many each sees, by its start.
    """
    groups: list[list[Segment]] = []
    width = 0
    for segment in sorted(segments, key=lambda one: (-one.rows, one.start)):
        last = groups[-1] if groups else []
        wider = max(width, columns[segment.start])
        if (
            last
            and len(last) < TOGETHER
            and segment.rows >= FILLED * last[0].rows
            and (len(last) + 1) * last[0].rows * wider <= SCORES
        ):
            last.append(segment)
            width = wider
        else:
            groups.append([segment])
            width = columns[segment.start]
    return groups


class _Group:
    """Segments that are attended for in one go, as a batch filled up to the longest of them.

    `rows` says of each row of what it finds which row of the pack that is, or -1 where filled up.
    """

    def __init__(
        self, segments: Sequence[Segment], seen: list[list[slice]], window: int | None, like: Tensor
    ) -> None:
        masks = [
            visible(segment.lengths, context.stop - context.start, window)
            for segment, (context, _) in zip(segments, seen, strict=True)
        ]
        rows, columns = (max(mask.shape[side] for mask in masks) for side in (0, 1))
        self.shape = len(segments), rows, columns
        asked = torch.full((len(segments), rows), -1)
        shown = torch.zeros(len(segments), columns, dtype=torch.long)
        bias = torch.full((len(segments), rows, columns), float("-inf"), dtype=like.dtype)
        # A row that only fills up looks at something, since a softmax over nothing is not finite.
        bias[:, :, 0] = 0
        for i, (segment, mask) in enumerate(zip(segments, masks, strict=True)):
            height, width = mask.shape
            asked[i, :height] = torch.arange(segment.start, segment.end)
            own = torch.cat([torch.arange(one.start, one.stop) for one in seen[i]])
            # Columns that only fill up are the segment's own, so that nothing else reaches it.
            shown[i] = own[0]
            shown[i, :width] = own
            bias[i, :height, :width] = torch.where(mask, 0.0, float("-inf")).to(like.dtype)
        self.rows = asked.flatten()
        self.asked = self.rows.clamp(min=0).to(like.device)
        self.shown, self.bias = shown.flatten().to(like.device), bias.to(like.device)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(segments x rows, heads, size) from states of shape (heads, tokens, size)."""
        count, rows, columns = self.shape
        (heads, _, size), groups = query.shape, len(key)
        keys, values = (
            states.index_select(1, self.shown).view(groups * count, columns, size)
            for states in (key, value)
        )
        taken = query.transpose(0, 1).index_select(0, self.asked)
        taken = taken.view(count, rows, groups, -1, size).permute(2, 0, 3, 1, 4)
        # Two products whose rows are all queries that share keys, of each segment.
        asked = query.new_empty(taken.shape)
        torch.mul(taken, scaling, out=asked)
        scores = torch.bmm(asked.view(groups * count, -1, size), keys.transpose(1, 2))
        scores.view(groups, count, -1, rows, columns).add_(self.bias[:, None])
        found = torch.bmm(scores.softmax(-1), values).view(groups, count, -1, rows, size)
        return found.permute(1, 3, 0, 2, 4).reshape(count * rows, heads, size)


@dataclass
class _Plan:
    """Groups, segments that stand alone, and where each row is in what all of them find.

    `masks` says by its start who sees whom in a long segment; None is causal.
    """

    groups: list[_Group]
    long: list[Segment]
    masks: dict[int, Tensor | None]
    order: Tensor


def visible(lengths: Sequence[int], seen: int, window: int | None) -> Tensor:
    """True where a row's token may look: at the context, and at its own sequence up to itself."""
    owners = torch.repeat_interleave(torch.tensor(lengths))
    places = torch.cat([torch.arange(n) for n in lengths]) + seen
    columns = torch.cat([torch.arange(seen), places])
    shared = torch.cat([torch.full((seen,), -1), owners])[None, :]
    mask = (columns[None, :] <= places[:, None]) & ((shared == -1) | (shared == owners[:, None]))
    if window is not None:
        mask &= places[:, None] - columns[None, :] < window
    return mask
