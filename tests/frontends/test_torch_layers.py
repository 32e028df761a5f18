"""The rules of products, convolutions, norms, pools, resizing, attention and recurrence say what torch says."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Check = Callable[..., Any]


@cache
def _rand(*shape: int) -> Tensor:
    """Always the same tensor for the same shape, so that a function traced after a first call finds a constant."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)))


def _ints(*shape: int, high: int = 5) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1))


X, Y, INDEX = _rand(2, 3, 4), _rand(2, 3, 4) + 0.1, _ints(2, 3, 4)
IMAGE, VOLUME, SIGNAL = _rand(2, 4, 9, 8), _rand(1, 2, 5, 6, 7), _rand(2, 3, 11)

CASES: list[tuple[str, Callable[..., Any], tuple[Tensor, ...]]] = [
    # products
    ("matmul", lambda x, y: (x @ y.mT, x[0] @ y.mT, x @ y[0, 0], x[0, 0] @ y[0, 0]), (X, Y)),
    ("mm bmm", lambda x, y: (torch.mm(x[0], y[0].t()), torch.bmm(x, y.mT)), (X, Y)),
    ("addmm", lambda x, y: torch.addmm(x[0, :, :3], x[0], y[0].t(), beta=0.5, alpha=2), (X, Y)),
    ("baddbmm", lambda x, y: torch.baddbmm(x[:, :, :3], x, y.mT, beta=0.5, alpha=2), (X, Y)),
    ("baddbmm beta 0", lambda x, y: torch.baddbmm(x[:, :, :3], x, y.mT, beta=0), (X, Y)),
    ("outer", lambda x: torch.outer(x[0, 0], x[0, :, 0]), (X,)),
    ("einsum", lambda x, y: (torch.einsum("bij,bkj->bik", x, y), torch.einsum("b i j -> b j i", x)), (X, Y)),
    ("bilinear", lambda x, y: F.bilinear(x, y, _rand(6, 4, 4), _rand(6)), (X, Y)),
    ("cdist", lambda x, y: (torch.cdist(x, y, p=1.0), torch.cdist(x, y)), (X, Y)),
    ("linear", lambda x: (F.linear(x, _rand(5, 4), _rand(5)), F.linear(x[0], _rand(5, 4))), (X,)),
    ("linear computed", lambda x, w: F.linear(x, w * 2), (X, _rand(5, 4))),
    # convolutions
    ("conv1d", lambda x: F.conv1d(x, _rand(4, 3, 3), _rand(4), stride=2, padding=1), (SIGNAL,)),
    ("conv2d", lambda x: F.conv2d(x, _rand(6, 2, 3, 2), None, (2, 1), (1, 0), 2, groups=2), (IMAGE,)),
    ("conv2d same", lambda x: F.conv2d(x, _rand(6, 4, 4, 3), _rand(6), padding="same"), (IMAGE,)),
    ("conv2d valid", lambda x: F.conv2d(x, _rand(6, 4, 4, 3), padding="valid"), (IMAGE,)),
    ("conv2d unbatched", lambda x: F.conv2d(x[0], _rand(6, 4, 3, 3)), (IMAGE,)),
    ("conv3d", lambda x: F.conv3d(x, _rand(3, 2, 2, 3, 1), padding=(0, 1, 0)), (VOLUME,)),
    ("conv1d same dilated", lambda x: F.conv1d(x, _rand(4, 3, 4), padding="same", dilation=2), (SIGNAL,)),
    ("conv_transpose1d", lambda x: F.conv_transpose1d(x, _rand(3, 4, 3), stride=2), (SIGNAL,)),
    (
        "conv_transpose2d",
        lambda x: F.conv_transpose2d(x, _rand(4, 3, 3, 2), _rand(6), (2, 3), 1, (1, 2), groups=2, dilation=(1, 2)),
        (IMAGE,),
    ),
    ("conv_transpose3d", lambda x: F.conv_transpose3d(x, _rand(2, 3, 2, 2, 2), stride=2), (VOLUME,)),
    (
        "convolution",
        lambda x: torch.convolution(x, _rand(6, 4, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
        (IMAGE,),
    ),
    # normalizations
    ("layer_norm", lambda x: (F.layer_norm(x, (4,)), F.layer_norm(x, (3, 4), _rand(3, 4), _rand(3, 4))), (X,)),
    ("rms_norm", lambda x: (F.rms_norm(x, (4,)), F.rms_norm(x, (4,), _rand(4), 1e-3)), (X,)),
    ("group_norm", lambda x: (F.group_norm(x, 2), F.group_norm(x, 4, _rand(4), _rand(4))), (IMAGE,)),
    ("group_norm rank 2", lambda x: F.group_norm(x, 2, _rand(4), _rand(4)), (_rand(3, 4),)),
    ("instance_norm", lambda x: (F.instance_norm(x), F.instance_norm(x, weight=_rand(4), bias=_rand(4))), (IMAGE,)),
    ("batch_norm", lambda x: F.batch_norm(x, _rand(4), _rand(4).abs() + 0.1), (IMAGE,)),
    (
        "batch_norm affine",
        lambda x: F.batch_norm(x, _rand(3), _rand(3).abs() + 0.1, _rand(3), _rand(3), eps=0.01),
        (SIGNAL,),
    ),
    # pools
    ("max_pool1d", lambda x: F.max_pool1d(x, 3, 2, 1), (SIGNAL,)),
    ("max_pool2d", lambda x: F.max_pool2d(x, (3, 2), padding=1, dilation=(2, 1)), (IMAGE,)),
    ("max_pool2d ceil", lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True), (IMAGE,)),
    ("max_pool2d indices", lambda x: F.max_pool2d(x, 2, return_indices=True), (IMAGE,)),
    ("max_pool2d unbatched", lambda x: F.max_pool2d(x[0], 2), (IMAGE,)),
    ("max_pool3d", lambda x: F.max_pool3d(x, 2), (VOLUME,)),
    ("avg_pool1d", lambda x: F.avg_pool1d(x, 3, 2, 1), (SIGNAL,)),
    ("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1), (IMAGE,)),
    ("avg_pool2d exclude", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (IMAGE,)),
    ("avg_pool3d", lambda x: F.avg_pool3d(x, 2), (VOLUME,)),
    ("adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 1), (SIGNAL,)),
    ("adaptive_avg_pool2d", lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (3, 4))), (IMAGE,)),
    (
        "adaptive_avg_pool2d uneven",
        lambda x: (F.adaptive_avg_pool2d(x, (4, 3)), F.adaptive_avg_pool2d(x, (None, 5))),
        (IMAGE,),
    ),
    ("adaptive_max_pool2d", lambda x: (F.adaptive_max_pool2d(x, 1), F.adaptive_max_pool2d(x, (3, 4))), (IMAGE,)),
    # padding and interpolation
    ("pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 0, 2, 3), value=-1.5), F.pad(x, (0, 0))), (X,)),
    ("pad negative", lambda x: (F.pad(x, (-1, 2)), F.pad(x, (-1, -1, 0, -1))), (X,)),
    ("pad modes", lambda x: [F.pad(x, (1, 2, 2, 1), mode=m) for m in ("reflect", "replicate", "circular")], (IMAGE,)),
    ("pad ints", lambda x: F.pad(x, (1, 1), value=7), (INDEX,)),
    *[
        (f"interpolate {mode} {how}", lambda x, m=mode, h=how: F.interpolate(x, mode=m, **h), (IMAGE,))
        for mode in ("nearest", "bilinear", "bicubic")
        for how in ({"scale_factor": 2.0}, {"size": (5, 17)}, {"scale_factor": 2}, {"size": (1, 3)})
    ],
    *[
        (
            f"interpolate {mode} corners",
            lambda x, m=mode: F.interpolate(x, (13, 5), mode=m, align_corners=True),
            (IMAGE,),
        )
        for mode in ("bilinear", "bicubic")
    ],
    ("interpolate scale 1.5", lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), (_rand(1, 2, 6, 8),)),
    ("interpolate linear", lambda x: F.interpolate(x, scale_factor=2, mode="linear"), (SIGNAL,)),
    ("interpolate trilinear", lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), (VOLUME,)),
    # attention
    ("attention", F.scaled_dot_product_attention, (_rand(2, 2, 5, 4), _rand(2, 2, 6, 4), _rand(2, 2, 6, 3))),
    (
        "attention causal",
        lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True, scale=0.3),
        (_rand(2, 2, 5, 4),),
    ),
    (
        "attention bool",
        lambda q, m: F.scaled_dot_product_attention(q, q, q, m),
        (_rand(2, 2, 5, 4), _rand(2, 1, 5, 5) > 0.9),
    ),
    (
        "attention float",
        lambda q, m: F.scaled_dot_product_attention(q, q, q, m),
        (_rand(2, 2, 5, 4), torch.where(_rand(2, 1, 5, 5) > 0.9, 0.0, -math.inf)),
    ),
    (
        "attention grouped",
        lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True),
        (_rand(2, 6, 5, 4), _rand(2, 2, 5, 4)),
    ),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own, at run time
@pytest.mark.parametrize(("function", "inputs"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rule_gives_what_torch_gives(function: Callable[..., Any], inputs: tuple[Tensor, ...], check: Check) -> None:
    check(function, inputs)


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], **options: Any) -> None:
        super().__init__()
        self.rnn = kind(4, 5, **options)

    def forward(self, x: Tensor) -> Any:
        return self.rnn(x)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True, "bidirectional": True},
        {"num_layers": 2, "bias": False},
        {"num_layers": 2, "bidirectional": True},
    ],
    ids=str,
)
def test_recurrent_layers(kind: type[nn.LSTM | nn.GRU], options: dict[str, Any], check: Check) -> None:
    torch.manual_seed(0)
    batch = 0 if options.get("batch_first") else 1
    more = torch.cat([_rand(3, 6, 4)] * 2, batch) * 2
    check(_Recurrent(kind, **options), (_rand(3, 6, 4),), (more,), dynamic_shapes=({batch: "batch"},))
