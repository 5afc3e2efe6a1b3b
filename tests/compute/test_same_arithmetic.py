"""Each piece is there once with gradients and once without; both are held to one plain formula.

The formulas are written out here in fp64, token by token where that is plainest, and name no
function of the package. bf16 is allowed its own rounding, fp32 a few of its last bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lora_ledger.compute.casts import Casts
from lora_ledger.compute.cpu.attention import Attention, causal_attention
from lora_ledger.compute.cpu.gated_mlp import gated_mlp
from lora_ledger.compute.cpu.linear import Project, can_prepack, prepack, prepacked_linear
from lora_ledger.compute.cpu.rms_norm import RmsNorm, rms_norm
from lora_ledger.compute.cuda.attention import packed_attention
from lora_ledger.compute.token_likelihoods import log_likelihoods, summed_nats, token_nats

DTYPES = [torch.float32, torch.bfloat16]
EPS = 1e-5


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator)


def close(found: Tensor, expected: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Within a few roundings of the type at the largest value, or at 0.1 where all are less."""
    room = {torch.float32: 2e-6, torch.bfloat16: 2**-7}[dtype] * 4
    difference = (found.detach().double() - expected.detach().double()).abs().max()
    return float(difference) <= room * float(expected.detach().abs().max().clamp_min(0.1))


def gradients(found: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Of a fixed weighting of the entries, so that every one of them matters."""
    weights = draw(*found.shape, seed=7).to(found.dtype)
    return torch.autograd.grad((found * weights).sum(), inputs)


def doubled(*inputs: Tensor) -> list[Tensor]:
    return [one.detach().double().requires_grad_() for one in inputs]


# The plain formulas.


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + EPS).sqrt() * weight


def plain_gated(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    a = x @ gate.T
    return (a / (1 + (-a).exp()) * (x @ up.T)) @ down.T


def plain_attention(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
    """(heads, n, size) of the last n of the keys' tokens, each head and token by itself."""
    heads, count, _ = query.shape
    group, before = heads // len(keys), keys.shape[1] - count
    rows = []
    for head in range(heads):
        for i in range(count):
            seen = slice(0, before + i + 1)
            scores = keys[head // group, seen] @ query[head, i] * scaling
            shares = scores.exp() / scores.exp().sum()
            rows.append(shares @ values[head // group, seen])
    return torch.stack(rows).view(heads, count, -1)


def plain_nats(states: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    logits = states @ head.T
    chosen = logits.gather(1, labels[:, None])[:, 0]
    return logits.exp().sum(-1).log() - chosen


# Both versions of each.


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm(dtype: torch.dtype) -> None:
    x, weight = (draw(5, 3, 32) * 4).to(dtype), draw(32) + 1
    expected = plain_norm(x.double(), weight.double())
    trained = RmsNorm.apply(x, weight, EPS, dtype)  # type: ignore[no-untyped-call]
    evaluated = rms_norm(x, weight.to(dtype), EPS)
    for found in (trained, evaluated):
        assert found.dtype == dtype
        assert close(found, expected, dtype)


def test_rms_norm_gradients() -> None:
    inputs = [(draw(5, 3, 32) * 4).requires_grad_(), (draw(32) + 1).requires_grad_()]
    found = gradients(RmsNorm.apply(*inputs, EPS, torch.float32), inputs)  # type: ignore[no-untyped-call]
    plain = doubled(*inputs)
    for one, other in zip(found, gradients(plain_norm(*plain), plain), strict=True):
        assert close(one, other)


def project(x: Tensor, weight: Tensor, gate: Tensor | None = None, bias: Any = None) -> Tensor:
    return Project.apply(Casts(), x, gate, weight, bias, None, None, 1.0, 0.0)  # type: ignore[no-any-return, no-untyped-call]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gated_mlp(dtype: torch.dtype) -> None:
    x, gate, up, down = (
        one.to(dtype) for one in (draw(9, 24), draw(40, 24) / 5, draw(40, 24) / 5, draw(24, 40) / 6)
    )
    expected = plain_gated(*(one.double() for one in (x, gate, up, down)))
    trained = project(project(x, up), down, project(x, gate))
    layers = [nn.Linear(one.shape[1], one.shape[0], bias=False) for one in (gate, up, down)]
    for layer, weight in zip(layers, (gate, up, down), strict=True):
        layer.weight = nn.Parameter(weight)
    with torch.no_grad():
        evaluated = gated_mlp(x, *layers)
    for found in (trained, evaluated):
        assert close(found, expected, dtype)


def test_gated_mlp_gradients() -> None:
    inputs = [draw(9, 24), draw(40, 24) / 5, draw(40, 24) / 5, draw(24, 40) / 6]
    x, gate, up, down = inputs = [one.requires_grad_() for one in inputs]
    found = gradients(project(project(x, up), down, project(x, gate)), inputs)
    plain = doubled(*inputs)
    for one, other in zip(found, gradients(plain_gated(*plain), plain), strict=True):
        assert close(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biased", [True, False])
def test_linear(dtype: torch.dtype, biased: bool) -> None:
    x, weight = draw(11, 64).to(dtype), (draw(48, 64) / 8).to(dtype)
    bias = draw(48).to(dtype) if biased else None
    expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert close(project(x, weight, None, bias), expected, dtype)
    if dtype == torch.bfloat16 and can_prepack():
        with torch.no_grad():
            assert close(prepacked_linear(x, prepack(weight), bias), expected, dtype)


@pytest.mark.parametrize("length", [1, 3, 63, 64, 65, 127, 128, 129, 300])
def test_attention(length: int) -> None:
    """Lengths on both sides of a block's edge; what else stands in the row must not matter."""
    lengths, size, scaling = (5, length, 2), 8, 0.3
    inputs = [draw(sum(lengths), n * size, seed=n).requires_grad_() for n in (6, 2, 2)]
    still = torch.ones(sum(lengths), size), torch.zeros(sum(lengths), size)
    q, k, v = (one.view(len(one), -1, size).transpose(0, 1) for one in inputs)
    mine = slice(5, 5 + length)
    plain = doubled(*(one[:, mine] for one in (q, k, v)))
    wanted = plain_attention(*plain, scaling)

    blocks = Attention.apply(*inputs, *still, scaling, lengths)  # type: ignore[no-untyped-call]
    blocks = blocks[mine].view(length, 6, size).transpose(0, 1)
    packed, _ = packed_attention(
        nn.Module(), *(one[None] for one in (q, k, v)), None, lengths, scaling=scaling
    )
    packed = packed[0, mine].transpose(0, 1)
    with torch.no_grad():
        evaluated = causal_attention(*(one[None, :, mine] for one in (q, k, v)), scaling)[0]
    for found in (blocks, packed, evaluated):
        assert close(found, wanted)

    expected = gradients(wanted, plain)
    for trained in (blocks, packed):
        for one, other in zip(gradients(trained, inputs), expected, strict=True):
            of_mine = one.view(len(one), -1, size).transpose(0, 1)
            assert close(of_mine[:, mine], other)
            assert not of_mine[:, :5].any()


@pytest.mark.parametrize(("rows", "columns"), [(70, 201), (1, 9), (64, 65)])
def test_attention_after_a_context(rows: int, columns: int) -> None:
    query, keys, values = (
        draw(1, 6, rows, 8),
        draw(1, 2, columns, 8),
        draw(1, 2, columns, 8, seed=1),
    )
    expected = plain_attention(query[0].double(), keys[0].double(), values[0].double(), 0.3)
    assert close(causal_attention(query, keys, values, 0.3)[0], expected)


@pytest.mark.parametrize("count", [1, 65, 300])
def test_token_likelihoods(count: int) -> None:
    """Across the chunks of both versions; the value, each token, and the gradients."""
    states, weight = draw(count, 16).requires_grad_(), draw(500, 16).requires_grad_()
    labels = torch.randint(500, (count,), generator=torch.Generator().manual_seed(count))
    # One token that is certainly the likeliest, so that both answers occur.
    labels[0] = int((states[0] @ weight.T).argmax())
    plain = doubled(states, weight)
    expected = plain_nats(*plain, labels)

    loss = summed_nats(states, weight, labels, Casts(), chunk=128)
    assert close(loss, expected.sum())
    assert close(token_nats(states, weight, labels, Casts(), chunk=128), expected)
    head = nn.Linear(16, 500, bias=False)
    head.weight = nn.Parameter(weight.detach())
    with torch.no_grad():
        found, likeliest = log_likelihoods(head, states.detach(), labels)
    assert close(-found, expected)
    assert likeliest.tolist() == ((states @ weight.T).argmax(-1) == labels).tolist()
    assert bool(likeliest[0])

    found_gradients = torch.autograd.grad(loss, [states, weight])
    for one, other in zip(found_gradients, torch.autograd.grad(expected.sum(), plain), strict=True):
        assert close(one, other)
