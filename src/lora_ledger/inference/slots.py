"""Attention of the next token of many sequences, and the keys and values that they have so far.

In: the states of whole sequences, then those of one token for each. Out: what each token sees.
It is a layout of `layers.states`, which calls it layer by layer. It chooses no token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .layouts import Cached

# A cache grows by so many columns at a time, and shrinks when twice as many are free.
COLUMNS = 64


class Slots:
    """Keys and values of up to `rows` sequences, and what each adds token by token.

    A slot holds the states of its own tokens from the left; `prefix`, if any, stands before all of
    them and is held once. Slots in use are the first ones. Products run on as many columns as the
    longest needs; columns that a row does not use are masked.
    """

    def __init__(self, rows: int, prefix: list[Cached] | None = None) -> None:
        self.rows = rows
        self.prefix = prefix
        self.seen = prefix[0][0].shape[1] if prefix else 0
        self.lengths: list[int] = []
        self._cache: list[Cached] = []
        self._columns = 0
        self._rows = torch.empty(0)
        self._places = torch.empty(0)
        self._bias: dict[int | None, Tensor] = {}

    def add(self, states: list[Cached], length: int, copies: int) -> None:
        """Take `copies` new slots, each with these states (heads, length, size) of each layer."""
        first, last = len(self.lengths), len(self.lengths) + copies
        self.lengths += [length] * copies
        self._fit(states)
        for (keys, values), (new_keys, new_values) in zip(self._cache, states, strict=True):
            keys[first:last, :, :length] = new_keys
            values[first:last, :, :length] = new_values
            # What another sequence left might not be finite.
            keys[first:last, :, length:] = 0
            values[first:last, :, length:] = 0

    def drop(self, slot: int) -> int:
        """Free a slot; the last one moves into its place, and its old number is returned."""
        last = len(self.lengths) - 1
        length = self.lengths[last]
        if slot != last:
            for keys, values in self._cache:
                keys[slot, :, :length] = keys[last, :, :length]
                values[slot, :, :length] = values[last, :, :length]
            self.lengths[slot] = length
        self.lengths.pop()
        return last

    def advance(self) -> Tensor:
        """Make room for one more token in every slot; returns the positions (slots) of those."""
        device = self._cache[0][0].device
        own = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        self._fit([])
        self._rows, self._places, self._bias = torch.arange(len(own), device=device), own, {}
        return own + self.seen

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        window: int | None,
    ) -> Tensor:
        count, heads, size = query.shape[2], key.shape[1], query.shape[3]
        keys, values = self._cache[layer]
        keys[self._rows, :, self._places] = key[0].transpose(0, 1)
        values[self._rows, :, self._places] = value[0].transpose(0, 1)
        # The queries of a group share their keys: (slots x key-value heads, group, head size).
        grouped = query[0].transpose(0, 1).reshape(count * heads, -1, size)
        group = grouped.shape[1]
        scores = torch.bmm(grouped, keys[:count].flatten(0, 1).transpose(1, 2))
        scores = scores.view(count, heads, group, -1)
        if self.prefix is not None:
            # One product for all slots: (key-value heads, slots x group, head size).
            turned = (
                grouped.view(count, heads, group, size).transpose(0, 1).reshape(heads, -1, size)
            )
            before = torch.bmm(turned, self.prefix[layer][0].transpose(1, 2))
            before = before.view(heads, count, group, -1).transpose(0, 1)
            scores = torch.cat([before, scores], -1)
        weights = scores.float().mul_(scaling).add_(self._masked(window)).softmax(-1)
        weights = weights.to(query.dtype)
        own = weights[..., self.seen :].reshape(count * heads, group, -1)
        out = torch.bmm(own, values[:count].flatten(0, 1)).view(count, heads, group, size)
        if self.prefix is not None:
            turned = weights[..., : self.seen].transpose(0, 1).reshape(heads, count * group, -1)
            before = torch.bmm(turned, self.prefix[layer][1]).view(heads, count, group, size)
            out = out + before.transpose(0, 1)
        return out.reshape(1, count, heads * group, size)

    def _masked(self, window: int | None) -> Tensor:
        """0 where a slot's new token may look, else minus infinity: (slots, 1, 1, columns)."""
        if window not in self._bias:
            own = torch.arange(self._columns, device=self._places.device)[None, :]
            last = self._places[:, None]
            before = torch.arange(-self.seen, 0, device=last.device)[None, :]
            columns = torch.cat([before.expand(len(last), -1), own.expand(len(last), -1)], 1)
            shown = columns <= last
            if window is not None:
                shown &= last - columns < window
            bias = torch.zeros(shown.shape, device=last.device)
            self._bias[window] = bias.masked_fill_(~shown, float("-inf"))[:, None, None, :]
        return self._bias[window]

    def _fit(self, states: list[Cached]) -> None:
        """Give the cache the columns that the longest slot needs, in whole blocks of COLUMNS.

        Products over part of a wider cache would copy it first, at every step.
        """
        needed = -(-max(self.lengths) // COLUMNS) * COLUMNS
        if self._cache and needed <= self._columns < needed + 2 * COLUMNS:
            return
        if not self._cache:
            self._cache = [
                (self._wide(keys[None], needed), self._wide(values[None], needed))
                for keys, values in states
            ]
        else:
            # Layer by layer, so that two caches are never held at once.
            for layer, (keys, values) in enumerate(self._cache):
                self._cache[layer] = (self._moved(keys, needed), self._moved(values, needed))
        self._columns = needed

    def _moved(self, old: Tensor, columns: int) -> Tensor:
        new, used = self._wide(old, columns), min(columns, old.shape[2])
        new[:, :, :used] = old[:, :, :used]
        return new

    def _wide(self, like: Tensor, columns: int) -> Tensor:
        # Zeros, since a masked column counts nothing only if it is finite.
        return like.new_zeros(self.rows, like.shape[1], columns, like.shape[3])
