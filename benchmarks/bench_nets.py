"""ResNet (He 2015) and MobileNetV2 (Sandler 2018) in torch, with drawn weights and batch norms that fit photographs.

The packages at hand carry no weights of these networks. Speed does not depend on them, and accuracy says something as
long as the network behaves like a trained one, which takes more than a draw: a deep network with drawn weights blows up
every rounding error (MobileNetV2 in uint8 without saturation: 3 dB). So each batch norm takes its statistics from
photographs and draws a scale and a shift for each channel; the shift keeps most activations above zero; and the last
batch norm of a residual branch is small against the stream that it is added to (Goyal 2017 starts it at zero). With
that, int8 is as hard here as on EfficientNet-Lite0: 14 dB MobileNetV2, 19 ResNet-50, 22 ResNet-18. The classifier is
centred, so that what is compared is how images differ, and not what all of them share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CLASSES = 1000
SPREAD = 0.5  # of a batch norm's scales around their middle
SHIFT, SHIFT_SPREAD = 1.0, 0.3  # of its channels, in standard deviations of what it normalizes
BRANCH = 0.3  # the middle of the scales where a residual branch ends


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution without bias, padded to keep the size, and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class ResNetBlock(nn.Module):
    """relu(body(x) + shortcut(x)); body is 3x3, 3x3, or with `expansion` 4 the bottleneck 1x1, 3x3, 1x1."""

    def __init__(self, inputs: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        outputs, relu = width * expansion, nn.ReLU()
        if expansion == 1:
            body = [*conv(inputs, width, 3, stride), relu, *conv(width, outputs, 3)]
        else:
            body = [*conv(inputs, width, 1), relu, *conv(width, width, 3, stride), relu, *conv(width, outputs, 1)]
        self.body = nn.Sequential(*body)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Float32, shape (N, inputs, H, W) -> (N, width * expansion, H / stride, W / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(blocks: Sequence[int], expansion: int) -> nn.Module:
    """ResNet-18: blocks (2, 2, 2, 2), expansion 1. ResNet-50: (3, 4, 6, 3), 4; the stride is on the 3x3 (v1.5)."""
    layers: list[nn.Module] = [*conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for block in range(count):
            layers.append(ResNetBlock(channels, width, 2 if stage and not block else 1, expansion))
            channels = width * expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, depthwise 3x3, 1x1 down; plus x where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        wider = [*conv(inputs, width, 1), nn.ReLU6()] if expansion != 1 else []
        depthwise = [*conv(width, width, 3, stride, width), nn.ReLU6()]
        self.body = nn.Sequential(*wider, *depthwise, *conv(width, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Float32, shape (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


# expansion, channels, blocks, first stride (Sandler 2018, table 2)
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 1.0 at 224 x 224."""
    layers: list[nn.Module] = [*conv(3, 32, 3, 2), nn.ReLU6()]
    channels = 32
    for expansion, width, count, stride in _MOBILENET_V2:
        for block in range(count):
            layers.append(InvertedResidual(channels, width, 1 if block else stride, expansion))
            channels = width
    layers += [*conv(channels, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1280, CLASSES))


def settle(model: nn.Module, images: Tensor, seed: int = 0) -> nn.Module:
    """Draw the weights, take the statistics of every batch norm from `images`, centre the classifier; in eval mode.

    images : float32, shape (N, 3, 224, 224)
    """
    generator = torch.Generator().manual_seed(seed)
    ends = [module.body[-1] for module in model.modules() if isinstance(module, ResNetBlock | InvertedResidual)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            _draw_norm(module, generator, ends_branch=any(module is end for end in ends))
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        nn.init.zeros_(classifier.bias)
        model.train()(images)
        model.eval()
        classifier.bias.sub_(model(images).mean(0))
    return model


def _draw_norm(norm: nn.BatchNorm2d, generator: torch.Generator, *, ends_branch: bool) -> None:
    norm.momentum = None  # its statistics are then the plain average over what it sees
    middle, shift = (BRANCH, 0.0) if ends_branch else (1.0, SHIFT)
    nn.init.uniform_(norm.weight, middle * (1 - SPREAD), middle * (1 + SPREAD), generator=generator)
    nn.init.normal_(norm.bias, shift, SHIFT_SPREAD, generator=generator)
