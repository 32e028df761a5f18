"""The convolutions and products of five networks, as shapes: what `kernels.py` measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Output size, channels, kernel and stride; `count` layers alike."""

    height: int
    width: int
    channels: int
    n: int
    kernel: int = 1
    stride: int = 1
    count: int = 1
    depthwise: bool = False

    @property
    def macs(self) -> int:
        depth = 1 if self.depthwise else self.channels
        return self.height * self.width * self.n * depth * self.kernel**2

    @property
    def name(self) -> str:
        kind = f"{'dw ' if self.depthwise else ''}{self.kernel}x{self.kernel}"
        return f"{kind} s{self.stride} {self.height}x{self.width} {self.channels}->{self.n}"


def _mobile(stem: int, blocks: list[tuple[int, int, int, int, int]], head: int, size: int = 112) -> list[Layer]:
    """Inverted residuals (expansion, outputs, count, stride, kernel)."""
    layers, channels = [Layer(size, size, 3, stem, 3, 2)], stem
    for expansion, outputs, count, stride, kernel in blocks:
        for i in range(count):
            wide = channels * expansion
            if expansion > 1:
                layers.append(Layer(size, size, channels, wide))
            step = stride if i == 0 else 1
            size //= step
            layers.append(Layer(size, size, wide, wide, kernel, step, depthwise=True))
            layers.append(Layer(size, size, wide, outputs))
            channels = outputs
    return [*layers, Layer(size, size, channels, head), Layer(1, 1, head, 1000)]


def _resnet(blocks: tuple[int, ...], bottleneck: bool) -> list[Layer]:
    layers, channels = [Layer(112, 112, 3, 64, 7, 2)], 64
    for stage, count in enumerate(blocks):
        width, size = 64 << stage, 56 >> stage
        outputs = width * (4 if bottleneck else 1)
        for i in range(count):
            step = 2 if stage and not i else 1
            if bottleneck:
                layers.append(Layer(size * step, size * step, channels, width))
            layers.append(Layer(size, size, width if bottleneck else channels, width, 3, step))
            layers.append(Layer(size, size, width, outputs, 1 if bottleneck else 3))
            if channels != outputs:
                layers.append(Layer(size, size, channels, outputs, 1, step))
            channels = outputs
    return [*layers, Layer(1, 1, channels, 1000)]


MODELS: dict[str, list[Layer]] = {
    "effnet_lite0": _mobile(32, [
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3)], 1280),
    "mobilenet_v2": _mobile(32, [
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3), (6, 160, 3, 2, 3),
        (6, 320, 1, 1, 3)], 1280),
    "resnet18": _resnet((2, 2, 2, 2), False),
    "resnet50": _resnet((3, 4, 6, 3), True),
    "minilm": [Layer(1, 128, 384, 384, count=24), Layer(1, 128, 384, 1536, count=6), Layer(1, 128, 1536, 384, count=6)],
}  # fmt: skip


def merged(layers: list[Layer]) -> list[Layer]:
    """Equal layers as one with their count."""
    counts: dict[Layer, int] = {}
    for layer in layers:
        key = Layer(**{**layer.__dict__, "count": 1})
        counts[key] = counts.get(key, 0) + layer.count
    return [Layer(**{**layer.__dict__, "count": n}) for layer, n in counts.items()]
