"""Makes peft's own configuration of a method's keys.

In: the mapping `config` of a method of kind `peft`. Out: a PeftConfig for causal language models.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

NOT_KNOWN_YET = 2**31
"""AdaLoRA's `total_step` until the run says how many there are."""


def made(config: Mapping[str, Any], tokenizer: str | None = None) -> Any:
    """peft's configuration; `tokenizer` is the folder of the one that reads a prompt's text."""
    from peft import get_peft_config

    keys = {**copy.deepcopy(dict(config)), "task_type": "CAUSAL_LM"}
    for name, value in keys.items():
        # peft tells a list of modules from a pattern by its type.
        keys[name] = list(value) if isinstance(value, tuple) else value
    if keys["peft_type"] == "ADALORA":
        keys["total_step"] = NOT_KNOWN_YET
    if keys.get("prompt_tuning_init") == "TEXT":
        keys["tokenizer_name_or_path"] = tokenizer or "."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_config(keys)
