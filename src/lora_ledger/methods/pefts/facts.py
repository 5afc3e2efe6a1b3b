"""What is known of each of peft's methods beside its keys: whether it merges, its forward.

In: a `peft_type`. Out: facts that peft does not say of itself. Tests hold each of them against
peft, and fail for a method of a later peft that is neither here nor in the tests' own list.
"""

from __future__ import annotations

NOT_HERE = {
    "CPT": "it needs a context written token by token, and its loss is not the text's alone",
    "LILY": "it mixes by the mean over all tokens of a batch, so no token's probability is its own",
    "LORA": "LoRA is a kind of its own: `kind: lora`",
    "MULTITASK_PROMPT_TUNING": "it needs the number of a task beside each example",
    "POLY": "it needs the number of a task beside each example",
    "SHADOW": "it trains a second model beside the first and adds that one's loss",
    "XLORA": "it needs LoRAs that were trained before, and learns how to mix them",
}
"""Methods that a study cannot have, with the reason."""

PROMPTS = ("PROMPT_TUNING", "P_TUNING")
"""Virtual tokens are embeddings before those of the text: logits are longer by as many."""
PREFIXES = ("CARTRIDGE", "PREFIX_TUNING")
"""Virtual tokens are keys and values of each block."""
VIRTUAL = (*PREFIXES, *PROMPTS)

UNMERGED = (*VIRTUAL, "ADAPTION_PROMPT", "BEFT")
"""What they add is no weight of the base: virtual tokens, gated attention to a prompt, a bias where
the base has none."""

OWN_FORWARD = (*VIRTUAL, "ADAPTION_PROMPT", "LN_TUNING", "TRAINABLE_TOKENS")
"""They replace or wrap what the fast path reads itself: norms, embedding and head, attention."""

WIDE = ("BOFT", "DEFT", "HRA", "OSF", "ROAD", "WAVEFT")
"""They keep 2 to 4 times the activations of the base for the backward pass; others up to twice."""

CLOSE_TO_BASE = (
    *("ADALORA", "ADAMSS", "ADAPTION_PROMPT", "BEFT", "BOFT", "DEFT", "DELORA", "FROD", "GLORA"),
    *("GRALORA", "HIRA", "HRA", "IA3", "LN_TUNING", "LOHA", "LOKR", "MISS", "OFT", "OSF"),
    *("PEANUT", "PSOFT", "PVERA", "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING", "TINYLORA"),
    *("TRAINABLE_TOKENS", "VERA", "WAVEFT"),
)
"""At peft's defaults their outputs before the first step are the base's, but for roundings."""
