"""Small convolutional networks for the tests of pruning: those that tests of the C backend have no use for."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.backends.c.architectures import Inverted, Residual, SqueezeExcite, conv


def classifier(channels: int, classes: int = 10) -> list[nn.Module]:
    """Mean over space, then a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


class Branches(nn.Module):
    """The outputs of several branches, side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


# ---- inception


def _googlenet_block(c: int) -> nn.Module:
    return Branches(
        conv(c, 8, 1),
        nn.Sequential(conv(c, 8, 1), conv(8, 12, 3)),
        nn.Sequential(conv(c, 8, 1), conv(8, 8, 3)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(c, 8, 1)),
    )


def googlenet() -> nn.Module:
    """Two modules of four branches with a pool between them."""
    stem = [conv(3, 8, 7, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True), conv(8, 12, 3)]
    blocks = [_googlenet_block(12), nn.MaxPool2d(3, 2, ceil_mode=True), _googlenet_block(36)]
    return nn.Sequential(*stem, *blocks, *classifier(36))


def _along(c: int, m: int, kernel: tuple[int, int]) -> nn.Module:
    """A convolution that is as wide as it is not high."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(nn.Conv2d(c, m, kernel, padding=padding, bias=False), nn.BatchNorm2d(m), nn.ReLU())


def inception() -> nn.Module:
    """Modules with convolutions in a row and in a column, one that branches within a branch, and one that shrinks."""
    rows = Branches(
        conv(8, 8, 1),
        nn.Sequential(conv(8, 8, 1), _along(8, 8, (1, 5)), _along(8, 12, (5, 1))),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(8, 8, 1)),
    )
    shrink = Branches(conv(28, 12, 3, stride=2), nn.MaxPool2d(3, 2, 1))
    split = Branches(
        conv(40, 8, 1),
        nn.Sequential(conv(40, 12, 1), Branches(_along(12, 8, (1, 3)), _along(12, 8, (3, 1)))),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(40, 8, 1)),
    )
    return nn.Sequential(conv(3, 8, 3, stride=2), conv(8, 8, 3), rows, shrink, split, *classifier(32))


# ---- residual networks


def _group_block(c: int, m: int, stride: int, group: int, *, gated: bool) -> nn.Module:
    gate = [SqueezeExcite(m, nn.Sigmoid)] if gated else []
    body = nn.Sequential(conv(c, m, 1), conv(m, m, 3, stride=stride, group=group), *gate, conv(m, m, 1, act=None))
    return Residual(body, nn.Identity() if (c, stride) == (m, 1) else conv(c, m, 1, stride=stride, act=None))


def _group_net(group: int, *, gated: bool) -> nn.Module:
    block = partial(_group_block, gated=gated)
    stages = [block(8, 16, 2, group), block(16, 16, 1, group), block(16, 24, 2, group), block(24, 24, 1, group)]
    return nn.Sequential(conv(3, 8, 3, stride=2), *stages, *classifier(24))


resnext = partial(_group_net, 4, gated=False)
regnet = partial(_group_net, 4, gated=True)


def mnasnet() -> nn.Module:
    """Inverted bottlenecks behind a depthwise separable stem."""
    blocks = [Inverted(8, 12, 3, 2, nn.ReLU, None), Inverted(12, 12, 5, 1, nn.ReLU, None)]
    stem = [conv(3, 16, 3, stride=2), conv(16, 16, 3, group=16), conv(16, 8, 1, act=None)]
    return nn.Sequential(*stem, *blocks, Inverted(12, 16, 5, 2, nn.ReLU, nn.Sigmoid), conv(16, 32, 1), *classifier(32))


class ParameterFree(nn.Module):
    """ResNet's shortcut A: every other place, and zeros for the channels that are new."""

    def __init__(self, new: int) -> None:
        super().__init__()
        self.new = new

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))


def option_a() -> nn.Module:
    """A ResNet for CIFAR: shortcuts without parameters, zeros before and behind the channels."""

    def block(c: int, m: int) -> nn.Module:
        body = nn.Sequential(conv(c, m, 3, stride=1 if c == m else 2), conv(m, m, 3, act=None))
        return Residual(body, nn.Identity() if c == m else ParameterFree(m - c))

    return nn.Sequential(conv(3, 8, 3), block(8, 8), block(8, 16), block(16, 16), block(16, 32), *classifier(32))


def group_norm() -> nn.Module:
    """Residual blocks with group norms instead of batch norms, and one instance norm."""

    def step(c: int, m: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(c, m, 3, padding=1), nn.GroupNorm(4, m), nn.SiLU())

    blocks = [Residual(nn.Sequential(step(16, 24), step(24, 16)), nn.Identity()), step(16, 16)]
    head = [nn.ReLU(), *classifier(12)]
    return nn.Sequential(step(3, 16), *blocks, nn.Conv2d(16, 12, 1), nn.InstanceNorm2d(12, affine=True), *head)


# ---- straight lines


def vgg() -> nn.Module:
    """Convolutions in a row, flattened at 2 x 2."""
    layers: list[nn.Module] = []
    for c, m in ((3, 8), (8, 12), (12, 16), (16, 16)):
        layers += [nn.Conv2d(c, m, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)
    )


def alexnet() -> nn.Module:
    """Large kernels, overlapping pools, and a pool to 2 x 3 before the flattening."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 1), nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(),
        nn.Dropout(), nn.Linear(72, 20), nn.ReLU(), nn.Linear(20, 10),
    )  # fmt: skip


def lenet() -> nn.Module:
    """Two convolutions, flattened at 5 x 5."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 30), nn.Tanh(), nn.Linear(30, 10),
    )  # fmt: skip


def prelu() -> nn.Module:
    """A slope for every channel."""
    layers = [nn.Conv2d(3, 12, 3, 2, 1), nn.PReLU(12), nn.Conv2d(12, 16, 3, 2, 1), nn.PReLU(16)]
    return nn.Sequential(*layers, *classifier(16))


class TiedConv(nn.Module):
    """One convolution, applied to what it made itself, with a norm of its own for each time."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = conv(3, 12, 3, stride=2), nn.Conv2d(12, 12, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(12) for _ in range(3))
        self.head = nn.Sequential(*classifier(12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm in self.norms:
            x = F.relu(norm(self.shared(x)))
        return self.head(x)  # type: ignore[no-any-return]


# ---- images out


class FeaturePyramid(nn.Module):
    """Maps of three sizes, each added to the larger one, and heads that all share."""

    def __init__(self) -> None:
        super().__init__()
        widths = (12, 16, 24)
        self.down = nn.ModuleList(conv(c, m, 3, stride=2) for c, m in zip((3, *widths), widths, strict=False))
        self.lateral = nn.ModuleList(nn.Conv2d(m, 16, 1) for m in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in widths)
        self.head = nn.Sequential(conv(16, 12, 3), nn.Conv2d(12, 6, 1))

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for down, lateral in zip(self.down, self.lateral, strict=True):
            x = down(x)
            sides.append(lateral(x))
        maps = [sides[-1]]
        for side in reversed(sides[:-1]):
            maps.append(side + F.interpolate(maps[-1], size=side.shape[-2:], mode="nearest"))
        found = [self.head(smooth(each)) for smooth, each in zip(self.smooth, reversed(maps), strict=True)]
        return torch.cat([each.flatten(2) for each in found], 2)


class Pooled(nn.Module):
    """The mean of the picture, through a convolution, everywhere."""

    def __init__(self, c: int, m: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(c, m, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.body(x), size=x.shape[-2:], mode="bilinear", align_corners=False)


class Aspp(nn.Module):
    """DeepLab's: dilated convolutions side by side, joined with what a shallow layer saw."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow, self.deep = conv(3, 12, 3, stride=2), conv(12, 16, 3, stride=2)
        dilated = (nn.Conv2d(16, 8, 3, padding=rate, dilation=rate) for rate in (2, 3))
        self.pyramid = Branches(conv(16, 8, 1), *(nn.Sequential(c, nn.ReLU()) for c in dilated), Pooled(16, 8))
        self.project, self.low = conv(32, 16, 1), conv(12, 8, 1)
        self.head = nn.Sequential(conv(24, 12, 3), nn.Conv2d(12, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.shallow(x)
        deep = self.project(self.pyramid(self.deep(shallow)))
        deep = F.interpolate(deep, size=shallow.shape[-2:], mode="bilinear", align_corners=False)
        made = self.head(torch.cat([deep, self.low(shallow)], 1))
        return F.interpolate(made, scale_factor=2, mode="bilinear", align_corners=False)


def pixel_shuffle() -> nn.Module:
    """Channels that become space, twice."""
    up = [nn.Conv2d(12, 32, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()]
    return nn.Sequential(conv(3, 12, 3), *up, nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))


# ---- gates and attention


class ChannelAttention(nn.Module):
    """CBAM: a gate for each channel from mean and maximum over space, one for each place from those over channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(nn.Conv2d(c, c // 2, 1), nn.ReLU(), nn.Conv2d(c // 2, c, 1))
        self.place = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.channel(x.mean((2, 3), True)) + self.channel(x.amax((2, 3), True)))
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.place(seen))


def channel_attention() -> nn.Module:
    """Residual blocks with both gates."""
    blocks = [Residual(nn.Sequential(conv(12, 12, 3), ChannelAttention(12)), nn.Identity()) for _ in range(2)]
    return nn.Sequential(conv(3, 12, 3, stride=2), *blocks, *classifier(12))


class Gated(nn.Module):
    """One half of the channels gates the other: by `glu`, by `chunk`, or by unequal parts of a split."""

    def __init__(self, c: int, m: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Conv1d(c, 2 * m + (4 if kind == "split" else 0), 3, padding=1)
        self.extra = nn.Conv1d(4, m, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.kind == "glu":
            return F.glu(y, dim=1)
        if self.kind == "chunk":
            a, b = y.chunk(2, 1)
            return a * torch.tanh(b)  # type: ignore[no-any-return]
        width = (y.shape[1] - 4) // 2
        a, b, c = y.split([width, width, 4], 1)
        return a * torch.sigmoid(b) + self.extra(c)  # type: ignore[no-any-return]


def glu() -> nn.Module:
    """Gated convolutions over a sequence."""
    layers = [Gated(4, 12, "glu"), Gated(12, 16, "chunk"), Gated(16, 12, "split")]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 5))


class Causal(nn.Module):
    """A residual block of a TCN: two dilated convolutions that see the past only."""

    def __init__(self, c: int, m: int, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.first, self.second = (nn.Conv1d(a, m, 3, dilation=dilation) for a in (c, m))
        self.match = nn.Conv1d(c, m, 1) if c != m else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(F.pad(x, (self.past, 0))))
        y = F.relu(self.second(F.pad(y, (self.past, 0))))
        return F.relu(y + self.match(x))


def tcn() -> nn.Module:
    """Temporal convolutional network: dilation doubles, and every place gets an answer."""
    return nn.Sequential(Causal(3, 12, 1), Causal(12, 12, 2), Causal(12, 16, 4), nn.Conv1d(16, 5, 1))
