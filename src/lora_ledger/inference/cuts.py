"""What a model's window cuts off: how much of it is borne.

In: how many of a task's items lose the beginning of what they ask. Out: nothing, or the refusal.
It cuts nothing; the language model does, as lm-eval has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lora_ledger.common.errors import KeyProblem

CUT_ALLOWED = 0.2
"""Share of the items that may lose their beginning."""


def count_cut(lengths: Sequence[int], room: int, key: str, found: object, beside: str) -> int:
    """How many of `lengths`, the tokens of each item, are more than `room`.

    Raises KeyProblem, with `key` and `found`, what to lower, for more than CUT_ALLOWED of them.
    """
    cut = sum(length > room for length in lengths)
    if cut > CUT_ALLOWED * len(lengths):
        raise KeyProblem(
            key,
            found,
            f"fewer, or another task: {cut} of {len(lengths)} items have more than the {room} "
            f"tokens that {beside}, the longest {max(lengths)}",
        )
    return cut
