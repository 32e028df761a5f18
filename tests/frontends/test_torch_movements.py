"""The rules of shapes, indexing, creation and writing in place say what torch says, in torch and in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from irc.frontends.torch.table import RULES, rule_for

Check = Callable[..., Any]


@cache
def _rand(*shape: int) -> Tensor:
    """Always the same tensor for the same shape, so that a function traced after a first call finds a constant."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)))


def _ints(*shape: int, high: int = 5) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1))


X, Y, IMAGE = _rand(2, 3, 4), _rand(2, 3, 4) + 0.1, _rand(2, 4, 9, 8)
INDEX, MASK = _ints(2, 3, 4), X > 0

CASES: list[tuple[str, Callable[..., Any], tuple[Tensor, ...]]] = [
    # movements
    ("view", lambda x: (x.view(6, 4), x.reshape(2, -1), x.view(2, 3, 2, 2), x.view(2, 3, 4)), (X,)),
    ("view_as", lambda x, y: (x.view_as(y), x.reshape_as(y)), (X, Y.reshape(4, 6))),
    ("flatten", lambda x: (x.flatten(), x.flatten(1), x.flatten(0, 1), x.flatten(1, 2), x.flatten(2)), (X,)),
    ("unflatten", lambda x: x.unflatten(-1, (2, 2)), (X,)),
    ("permute", lambda x: (x.permute(2, 0, 1), x.transpose(0, -1), x[0].t(), x[0].T, x.mT, x.movedim(0, 2)), (X,)),
    ("squeeze", lambda x: (x[:, :1].squeeze(), x[:, :1].squeeze(1), x.squeeze(1), x[:1, :1].squeeze((0, 1))), (X,)),
    ("unsqueeze", lambda x: (x.unsqueeze(0), x.unsqueeze(-1), x[:, None, :, None]), (X,)),
    ("expand", lambda x: (x[:, :1].expand(2, 5, 4), x[0].expand(3, -1, -1), x[:, :1].expand_as(x)), (X,)),
    ("broadcast_to", lambda x: torch.broadcast_to(x, (5, 2, 3, 4)), (X,)),
    ("repeat", lambda x: (x.repeat(1, 2, 1), x.repeat(2, 1, 1, 3), x.tile((2,))), (X,)),
    ("repeat_interleave", lambda x: (x.repeat_interleave(2, 1), x.repeat_interleave(3)), (X,)),
    ("slice", lambda x: (x[1:], x[:, :-1], x[..., ::2], x[:, 1:3, 1:], x[-1:]), (X,)),
    ("select", lambda x: (x[0], x[:, -1], x[1, 2], x[1, 2, 3]), (X,)),
    ("narrow", lambda x: (x.narrow(1, 1, 2), x.narrow(-1, 0, 1)), (X,)),
    (
        "split",
        lambda x: (x.split(2, 1), x.split([1, 3], -1), x.chunk(2, -1), x.chunk(2, 1), x.tensor_split(2, 1)),
        (X,),
    ),
    ("unbind", lambda x: x.unbind(1), (X,)),
    ("cat", lambda x, y: (torch.cat([x, y]), torch.cat([x, y], -1), torch.cat([x])), (X, Y)),
    ("cat of types", lambda x, y: torch.cat([x, y]), (X, INDEX)),
    ("stack", lambda x, y: (torch.stack([x, y]), torch.stack([x, y], -1)), (X, Y)),
    ("roll", lambda x: (x.roll(1, 1), x.roll((-1, 2), (0, 2)), x.roll(5)), (X,)),
    ("flip", lambda x: x.flip((0, 2)), (X,)),
    ("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), (_rand(2, 8, 3, 2),)),
    ("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), (_rand(2, 3, 4, 6),)),
    ("channel_shuffle", lambda x: F.channel_shuffle(x, 2), (IMAGE,)),
    ("meshgrid", lambda x: torch.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"), (X,)),
    ("meshgrid xy", lambda x: torch.meshgrid(x[0, 0], x[0, :, 0], indexing="xy"), (X,)),
    # indexing
    ("embedding", lambda i: F.embedding(i, _rand(5, 3)), (INDEX,)),
    ("gather", lambda x, i: x.gather(1, i), (X, _ints(2, 3, 4, high=3))),
    ("index_select", lambda x: x.index_select(1, torch.tensor([2, 0])), (X,)),
    ("x[i]", lambda x, i: (x[i], x[:, i], x[:, :, i]), (_rand(5, 5, 5), _ints(2, 3))),
    ("x[-i]", lambda x, i: x[:, i - 5], (_rand(5, 5, 5), _ints(2, 3))),
    ("x[i, j]", lambda x, i, j: (x[i, j], x[:, i, j], x[i, :, j]), (_rand(5, 5, 5), _ints(2, 3), _ints(1, 3))),
    ("x[i, j, k]", lambda x, i, j: x[i, j, i[:1]], (_rand(5, 5, 5), _ints(2, 3), _ints(3))),
    ("scatter", lambda x, i, y: x.scatter(1, i, y), (X, torch.tensor([[[0, 1, 2, 0]], [[2, 1, 0, 1]]]), Y[:, :1])),
    ("scatter number", lambda x, i: x.scatter(1, i, 2.0), (X, torch.tensor([[[0, 1, 2, 0]], [[2, 1, 0, 1]]]))),
    ("scatter_add", lambda x, i, y: x.scatter_add(1, i, y), (X, _ints(2, 3, 4, high=3), Y)),
    ("tril triu", lambda x: (x.tril(), x.triu(1), x.tril(-1)), (X,)),
    ("one_hot", lambda i: F.one_hot(i, 6), (INDEX,)),
    ("index_put mask", lambda x, m: torch.index_put(x, (m,), torch.tensor(3.0)), (X, MASK)),
    ("index_put rows", lambda x, y: torch.index_put(x, (torch.tensor([1, 0]),), y), (X, Y)),
    # creation and casts
    ("full", lambda x: (x + torch.full((3, 4), 2.5), torch.full_like(x, 3), x.new_full((2,), 7)), (X,)),
    (
        "zeros ones",
        lambda x: (torch.zeros_like(x), torch.ones(2, 3), x.new_zeros(3), x.new_ones((1, 2)), torch.zeros(20, 30)),
        (X,),
    ),
    ("arange", lambda x: (torch.arange(4) + x, torch.arange(1, 3, 0.5), torch.arange(5, 0, -2)), (X,)),
    ("linspace eye", lambda x: (torch.linspace(0, 1, 4) + x, torch.eye(4) + x[:, :1], torch.eye(3, 4) + x), (X,)),
    ("constant", lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0]), (X,)),
    ("casts", lambda x: (x.long(), x.int(), x.bool(), x.to(torch.float64), x.type_as(x), (x > 0).float()), (X * 3,)),
    # writes
    ("in place", lambda x: (x + 1).mul_(2).add_(x).relu_().clamp_(0, 3), (X,)),
    ("in place over int", lambda x: (x * 2).add_(x.half()), (X,)),
    ("dropout", lambda x: F.dropout(x + 1, 0.5, training=False), (X,)),
]


@pytest.mark.parametrize(("function", "inputs"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rule_gives_what_torch_gives(function: Callable[..., Any], inputs: tuple[Tensor, ...], check: Check) -> None:
    check(function, inputs)


def _writes_into_views(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0].add_(1)
    y[:, 1:, ::2] = 5.0
    row = y[0]
    row.mul_(3)
    y[-1] = x[0]
    return y + row


def _writes_seen_through_a_view(x: Tensor) -> Tensor:
    y = x + 1
    flat = y.view(-1)
    y.mul_(2)
    return flat


@pytest.mark.parametrize("function", [_writes_into_views, _writes_seen_through_a_view])
def test_writes_into_views_are_seen(function: Callable[[Tensor], Tensor], check: Check) -> None:
    check(function, (X,))


def test_in_place_operator_has_the_rule_of_the_functional_one() -> None:
    assert rule_for("aten.relu_.default") is RULES["aten.relu.default"]
    assert rule_for("aten.__and__.Tensor") is RULES["aten.__and__.Tensor"]
    assert rule_for("aten.no_such_operator.default") is None
