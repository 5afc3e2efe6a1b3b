"""What a model is made of, from its config.json alone: linear modules, shapes, parameter counts.

In: the mapping that config.json (or the catalogue entry's `config`) holds. Out: names with shapes,
and closed forms. It reads no weights, imports no torch, and knows Llama-type decoders only.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
GROUPS: dict[str, tuple[str, ...]] = {"attention": ATTENTION, "mlp": MLP, "all": ATTENTION + MLP}
SUPPORTED = ("llama", "mistral", "qwen2", "qwen3")

Config = Mapping[str, object]


class ArchitectureError(ValueError):
    """A config that is not understood, or a module that the architecture lacks."""


@dataclass(frozen=True)
class Architecture:
    """A Llama-type decoder; sizes are counts of features, `modules` name → (in, out)."""

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    modules: dict[str, tuple[int, int]]
    biased: frozenset[str]


def read(config: Config) -> Architecture:
    """The architecture that a config describes.

    Raises ArchitectureError, with the key, for an unknown `model_type` or a missing or mistyped
    size.
    """
    kind = config.get("model_type")
    if kind not in SUPPORTED:
        raise ArchitectureError(
            f"model_type: found {kind!r}, expected one of {', '.join(SUPPORTED)}; other "
            "architectures need their linear modules written down in architecture.py"
        )
    hidden = _size(config, "hidden_size")
    heads = _size(config, "num_attention_heads")
    kv_heads = _size(config, "num_key_value_heads", heads)
    # Qwen3's config class has a default of its own; the other classes derive it.
    head_dim = _size(config, "head_dim", 128 if kind == "qwen3" else hidden // heads)
    inner = _size(config, "intermediate_size")
    biased: set[str] = set()
    if kind == "qwen2":
        biased |= {"q_proj", "k_proj", "v_proj"}
    elif kind != "mistral" and config.get("attention_bias"):
        biased |= set(ATTENTION)
    if kind == "llama" and config.get("mlp_bias"):
        biased |= set(MLP)
    return Architecture(
        model_type=str(kind),
        layers=_size(config, "num_hidden_layers"),
        hidden=hidden,
        intermediate=inner,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=_size(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),
        modules={
            "q_proj": (hidden, heads * head_dim),
            "k_proj": (hidden, kv_heads * head_dim),
            "v_proj": (hidden, kv_heads * head_dim),
            "o_proj": (heads * head_dim, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        },
        biased=frozenset(biased),
    )


def module_names(config: Config) -> dict[str, tuple[int, int]]:
    """The linear modules of one block: short name → (in_features, out_features)."""
    return read(config).modules


def resolve_targets(config: Config, targets: str | Sequence[str]) -> tuple[str, ...]:
    """Groups (attention, mlp, all) and module names as module names, in the block's order.

    Raises ArchitectureError for a name that is neither, with the nearest valid one.
    """
    known = module_names(config)
    chosen: set[str] = set()
    for target in [targets] if isinstance(targets, str) else targets:
        if target in known:
            chosen.add(target)
        elif target in GROUPS:
            chosen.update(GROUPS[target])
        else:
            names = [*GROUPS, *known]
            near = difflib.get_close_matches(target, names, n=1, cutoff=0.0)[0]
            raise ArchitectureError(
                f"target module {target!r}: a {config.get('model_type')} model has "
                f"{', '.join(names)}; did you mean {near!r}?"
            )
    if not chosen:
        raise ArchitectureError(f"target modules: found none, expected some of {', '.join(known)}")
    return tuple(name for name in known if name in chosen)


def linear_parameters(config: Config, targets: str | Sequence[str] = "all") -> int:
    """Weights and biases of the blocks' linear modules, all blocks together."""
    model = read(config)
    total = 0
    for name in resolve_targets(config, targets):
        rows, columns = model.modules[name]
        total += rows * columns + (columns if name in model.biased else 0)
    return model.layers * total


def total_parameters(config: Config) -> int:
    """All parameters, a tied embedding counted once.

    Embedding V·h (twice when untied), the linear modules, two norms a block and a last one of h
    each, and for Qwen3 two norms of head_dim a block.
    """
    model = read(config)
    embeddings = model.vocab * model.hidden * (1 if model.tied else 2)
    norms = (2 * model.layers + 1) * model.hidden
    if model.model_type == "qwen3":
        norms += 2 * model.layers * model.head_dim
    return embeddings + norms + linear_parameters(config)


def tensors(config: Config) -> dict[str, int]:
    """The parameters of the whole model by transformers' names, with their numbers of entries.

    A tied embedding is there once, under the name of the input's.
    """
    model = read(config)
    found = {"model.embed_tokens.weight": model.vocab * model.hidden}
    for block in range(model.layers):
        here = f"model.layers.{block}."
        for name, (rows, columns) in model.modules.items():
            part = "self_attn" if name in ATTENTION else "mlp"
            found[f"{here}{part}.{name}.weight"] = rows * columns
            if name in model.biased:
                found[f"{here}{part}.{name}.bias"] = columns
        if model.model_type == "qwen3":
            for name in ("q_norm", "k_norm"):
                found[f"{here}self_attn.{name}.weight"] = model.head_dim
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{here}{name}.weight"] = model.hidden
    found["model.norm.weight"] = model.hidden
    if not model.tied:
        found["lm_head.weight"] = model.vocab * model.hidden
    return found


def lora_parameters(
    config: Config,
    targets: str | Sequence[str],
    rank: int,
    *,
    dora: bool = False,
    down: bool = True,
    blocks: int | None = None,
) -> int:
    """Trainable parameters of LoRA: r·(in + out) a module (A is r × in, B is out × r).

    DoRA adds one magnitude for each output feature; without `down` the A are not counted; `blocks`
    is how many blocks have adapters. Raises ArchitectureError for a rank below 1.
    """
    if rank < 1:
        raise ArchitectureError(f"rank: found {rank}, expected 1 or more")
    model = read(config)
    total = 0
    for name in resolve_targets(config, targets):
        rows, columns = model.modules[name]
        total += rank * ((rows if down else 0) + columns) + (columns if dora else 0)
    return (model.layers if blocks is None else blocks) * total


def block_weights(config: Config) -> int:
    """Entries of the matrices of one block, without biases."""
    return sum(rows * columns for rows, columns in read(config).modules.values())


def forward_flops_per_token(config: Config, sequence_length: int) -> float:
    """Floating-point operations of one forward pass, per token of a full causal sequence.

    Two a weight of every matrix product (blocks and head), and for scores and mixing two products
    of width heads·head_dim over the (T + 1)/2 positions that a token sees on average. Norms,
    softmax and activations are left out, as is usual.
    """
    model = read(config)
    weights = block_weights(config) * model.layers
    attention = _attention_flops(model, sequence_length) * model.layers
    return float(2 * (weights + model.vocab * model.hidden) + attention)


def training_flops_per_token(
    config: Config, sequence_length: int, *, trained: int, blocks: int | None = None
) -> float:
    """Floating-point operations of forward and backward, per token of a full causal sequence.

    To the forward pass come two for each weight of the head and of the last `blocks` blocks, which
    pass the gradient on, twice their attention products, and two for each of the `trained` entries
    of matrices. The gradient goes to the input of the first of these blocks.
    """
    model = read(config)
    through = model.layers if blocks is None else blocks
    passed = block_weights(config) * through + model.vocab * model.hidden
    attention = _attention_flops(model, sequence_length) * through
    forward = forward_flops_per_token(config, sequence_length)
    return forward + 2.0 * (passed + attention + trained)


def _attention_flops(model: Architecture, sequence_length: int) -> int:
    """Of one block's forward pass."""
    return 2 * model.heads * model.head_dim * (sequence_length + 1)


def _size(config: Config, key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArchitectureError(f"{key}: found {value!r}, expected a whole number of 1 or more")
    return value
