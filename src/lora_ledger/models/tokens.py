"""Which ids play the parts that a catalogue entry names tokens for.

In: an entry's `tokens` and a vocabulary, or the folder of a tokenizer. Out: ids. It checks that the
entry knows what the tokenizer puts before a text by itself, since nothing else here puts it there.
It encodes no text of a study.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import TokenRoles

SAMPLE = "a"


def token_id(vocabulary: Mapping[str, int], role: str, token: str) -> int:
    """The id of a token that an entry names; ValueError when the tokenizer lacks it."""
    if token not in vocabulary:
        raise ValueError(
            f"tokens.{role}: found {token!r}, expected one of the {len(vocabulary)} tokens of the "
            "model's tokenizer; correct the catalogue entry"
        )
    return vocabulary[token]


def begin_ids(vocabulary: Mapping[str, int], tokens: TokenRoles) -> list[int]:
    """The id of the token that stands before every prompt, or none."""
    return [token_id(vocabulary, "begin", tokens.begin)] if tokens.begin else []


def token_ids(roles: TokenRoles, folder: Path) -> dict[str, dict[str, Any]]:
    """Token roles with their ids in the folder's tokenizer, as {role: {token, id}}.

    Raises ValueError for a token that the vocabulary lacks, and where the tokenizer puts another
    token before a text than the role `begin` says.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    found = {
        role: {"token": token, "id": token_id(vocabulary, role, token)}
        for role, token in roles.model_dump(exclude_defaults=True).items()
    }
    before = _put_before(tokenizer)
    if len(before) > 1:
        raise ValueError(
            f"{folder}/tokenizer.json: found {' '.join(before)}, which it puts before every text, "
            "expected one token at most: `tokens.begin` holds one; such a model is not read"
        )
    own = "".join(before) or _configured(folder)
    if own and own != roles.begin:
        raise ValueError(
            f"tokens.begin: found {roles.begin!r}, expected {own!r}, which the tokenizer in "
            f"{folder} puts before every text: without it the model reads all texts otherwise than "
            f"it was trained to, and every score is off; set begin: {json.dumps(own)}"
        )
    return found


def _put_before(tokenizer: Any) -> list[str]:
    """The tokens that encoding puts before a text."""
    with_special = tokenizer.encode(SAMPLE, add_special_tokens=True).tokens
    plain = tokenizer.encode(SAMPLE, add_special_tokens=False).tokens
    for before in range(len(with_special) - len(plain) + 1):
        if with_special[before : before + len(plain)] == plain:
            return list(with_special[:before])
    return []


def _configured(folder: Path) -> str:
    """The token that tokenizer_config.json has transformers put before a text, or ""."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    token = config.get("bos_token") if config.get("add_bos_token") else None
    return str(token.get("content", "") if isinstance(token, dict) else token or "")
