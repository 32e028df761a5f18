"""Small versions of the networks that people run, with drawn weights: each a torch module and its arguments.

ARCHITECTURES  name -> function of no arguments, giving (module, {parameter of `forward`: argument})
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Model = tuple[nn.Module, dict[str, Any]]


def with_lively_weights(model: nn.Module) -> nn.Module:
    """The model with weights and statistics that keep the size of what flows through it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.dtype.is_floating_point:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            elif "var" in name or name.endswith("weight"):
                tensor.copy_(1 + 0.1 * noise)
            else:
                tensor.copy_(0.1 * noise)
    return model.eval()


def image(size: int, channels: int = 3) -> Tensor:
    """A picture of noise."""
    return torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(1))


IDS = torch.randint(1, 99, (1, 7), generator=torch.Generator().manual_seed(2))
PADDED = torch.tensor([[1] * 5 + [0] * 2])


def conv(
    c: int, m: int, k: int, *, stride: int = 1, group: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Module:
    """Convolution, batch norm, activation."""
    layers: list[nn.Module] = [nn.Conv2d(c, m, k, stride, k // 2, groups=group, bias=False), nn.BatchNorm2d(m)]
    return nn.Sequential(*layers, *([] if act is None else [act()]))


class Residual(nn.Module):
    """relu(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _basic(c: int, m: int, stride: int) -> nn.Module:
    body = nn.Sequential(conv(c, m, 3, stride=stride), conv(m, m, 3, act=None))
    return Residual(body, nn.Identity() if (c, stride) == (m, 1) else conv(c, m, 1, stride=stride, act=None))


def _bottleneck(c: int, m: int, stride: int) -> nn.Module:
    body = nn.Sequential(conv(c, m // 4, 1), conv(m // 4, m // 4, 3, stride=stride), conv(m // 4, m, 1, act=None))
    return Residual(body, nn.Identity() if (c, stride) == (m, 1) else conv(c, m, 1, stride=stride, act=None))


def _resnet(block: Callable[[int, int, int], nn.Module], depths: tuple[int, ...], widths: tuple[int, ...]) -> Model:
    layers, c = [conv(3, widths[0], 7, stride=2), nn.MaxPool2d(3, 2, 1)], widths[0]
    for stage, (depth, m) in enumerate(zip(depths, widths, strict=True)):
        for i in range(depth):
            layers.append(block(c, m, 2 if stage and not i else 1))
            c = m
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10)]
    return with_lively_weights(nn.Sequential(*layers, *head)), {"input": image(64)}


class SqueezeExcite(nn.Module):
    """x * gate(mean(x))."""

    def __init__(self, c: int, gate: type[nn.Module]) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(c, c // 2, 1), nn.ReLU(), nn.Conv2d(c // 2, c, 1), gate())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """Expand, filter each channel, project, with what came in added if it fits."""

    def __init__(self, c: int, m: int, k: int, stride: int, act: type[nn.Module], gate: type[nn.Module] | None) -> None:
        super().__init__()
        wide = 4 * c
        gated = [] if gate is None else [SqueezeExcite(wide, gate)]
        self.body = nn.Sequential(
            conv(c, wide, 1, act=act),
            conv(wide, wide, k, stride=stride, group=wide, act=act),
            *gated,
            conv(wide, m, 1, act=None),
        )
        self.adds = c == m and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)  # type: ignore[no-any-return]


def _inverted(act: type[nn.Module], gate: type[nn.Module] | None) -> Model:
    net = nn.Sequential(
        conv(3, 8, 3, stride=2, act=act), Inverted(8, 8, 3, 1, act, None), Inverted(8, 12, 5, 2, act, gate),
        Inverted(12, 12, 3, 1, act, gate), Inverted(12, 20, 3, 2, act, gate), conv(20, 40, 1, act=act),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 24), act(), nn.Linear(24, 10),
    )  # fmt: skip
    return with_lively_weights(net), {"input": image(33)}


class Shuffle(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, the two halves are interleaved."""

    def __init__(self, c: int, stride: int) -> None:
        super().__init__()
        half = c // 2
        inner = half if stride == 1 else c
        self.stride = stride
        self.right = nn.Sequential(
            conv(inner, half, 1), conv(half, half, 3, stride=stride, group=half, act=None), conv(half, half, 1)
        )
        left = [conv(c, c, 3, stride=2, group=c, act=None), conv(c, half, 1)]
        self.left = nn.Sequential(*left) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1) if self.stride == 1 else (x, x)
        y = torch.cat([self.left(a), self.right(b)], 1)
        n, c, h, w = y.shape
        return y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _shufflenet() -> Model:
    units = [Shuffle(16, 2), Shuffle(16, 1), Shuffle(16, 1), Shuffle(16, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return with_lively_weights(nn.Sequential(conv(3, 16, 3, stride=2), *units, *head)), {"input": image(48)}


class Fire(nn.Module):
    """SqueezeNet's: squeeze, then two convolutions side by side."""

    def __init__(self, c: int, s: int, e: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = nn.Conv2d(c, s, 1), nn.Conv2d(s, e, 1), nn.Conv2d(s, e, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


def _squeezenet() -> Model:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 8, 16), Fire(32, 8, 16),
        nn.MaxPool2d(3, 2, ceil_mode=True), Fire(32, 12, 24), nn.Conv2d(48, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # fmt: skip
    return with_lively_weights(net), {"input": image(47)}


class Dense(nn.Module):
    """DenseNet's block: each layer reads all that came before."""

    def __init__(self, c: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c + i * growth), nn.ReLU(), nn.Conv2d(c + i * growth, growth, 3, padding=1))
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def _densenet() -> Model:
    net = nn.Sequential(
        conv(3, 8, 7, stride=2), nn.MaxPool2d(3, 2, 1), Dense(8, 6, 3), conv(26, 13, 1), nn.AvgPool2d(2),
        Dense(13, 6, 2), nn.BatchNorm2d(25), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(25, 10),
    )  # fmt: skip
    return with_lively_weights(net), {"input": image(40)}


class UNet(nn.Module):
    """Down by pools, up by a transposed convolution and a resize, skips joined."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 8, 3), conv(8, 16, 3), conv(16, 24, 3)])
        self.up = nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.join = nn.ModuleList([conv(32, 16, 3), conv(24, 8, 3)])
        self.norm = nn.GroupNorm(4, 16)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down[0](x)
        b = self.down[1](F.max_pool2d(a, 2))
        c = self.down[2](F.max_pool2d(b, 2))
        d = self.norm(self.join[0](torch.cat([self.up(c), b], 1)))
        e = self.join[1](torch.cat([F.interpolate(d, scale_factor=2, mode="bilinear"), a], 1))
        return self.head(e)  # type: ignore[no-any-return]


class Conv1d(nn.Module):
    """A network on sound: 1-D convolutions, strided, dilated, depthwise and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(2, 12, 9, 4, 4), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 12, 3, padding=2, dilation=2),
            nn.PReLU(12), nn.Conv1d(12, 12, 5, padding=2, groups=12), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(12, 20, 1), nn.Tanh(), nn.ConvTranspose1d(20, 8, 4, 2, 1), nn.InstanceNorm1d(8, affine=True),
            nn.AvgPool1d(3, 2, 1), nn.Conv1d(8, 4, 3),
        )  # fmt: skip

    def forward(self, sound: Tensor) -> Tensor:
        return self.body(sound)  # type: ignore[no-any-return]


class Tagger(nn.Module):
    """An LSTM that looks at words from both sides, and a GRU behind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.lstm = nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(24, 10, batch_first=True)
        self.tag = nn.Linear(10, 5)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(words))
        return F.log_softmax(self.tag(self.gru(states)[0]), dim=-1)


def _sound() -> Tensor:
    return torch.randn(1, 2, 128, generator=torch.Generator().manual_seed(3))


def _transformer(model: str, config: str, inputs: dict[str, Any], **options: Any) -> Model:
    import transformers

    made = getattr(transformers, model)(getattr(transformers, config)(**options))
    return with_lively_weights(made), inputs


_BERT = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

ARCHITECTURES: dict[str, Callable[[], Model]] = {
    "resnet18": lambda: _resnet(_basic, (2, 2, 2, 2), (8, 16, 24, 32)),
    "resnet50": lambda: _resnet(_bottleneck, (3, 4, 6, 3), (16, 32, 48, 64)),
    "mobilenet_v2": lambda: _inverted(nn.ReLU6, None),
    "mobilenet_v3": lambda: _inverted(nn.Hardswish, nn.Hardsigmoid),
    "efficientnet": lambda: _inverted(nn.SiLU, nn.Sigmoid),
    "shufflenet_v2": _shufflenet,
    "squeezenet": _squeezenet,
    "densenet": _densenet,
    "unet": lambda: (with_lively_weights(UNet()), {"x": image(32)}),
    "conv1d": lambda: (with_lively_weights(Conv1d()), {"sound": _sound()}),
    "tagger": lambda: (with_lively_weights(Tagger()), {"words": IDS}),
    "vit": lambda: _transformer(
        "ViTForImageClassification", "ViTConfig", {"pixel_values": image(32)}, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
    ),
    "swin": lambda: _transformer(
        "SwinForImageClassification", "SwinConfig", {"pixel_values": image(32)}, image_size=32, patch_size=4,
        embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4,
    ),
    "convnext": lambda: _transformer(
        "ConvNextForImageClassification", "ConvNextConfig", {"pixel_values": image(64)}, hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
    ),
    "bert": lambda: _transformer(
        "BertForSequenceClassification", "BertConfig", {"input_ids": IDS, "attention_mask": PADDED}, **_BERT
    ),
    "bert_eager": lambda: _transformer(
        "BertModel", "BertConfig", {"input_ids": IDS, "attention_mask": PADDED}, attn_implementation="eager", **_BERT
    ),
    "gpt2": lambda: _transformer(
        "GPT2LMHeadModel", "GPT2Config", {"input_ids": IDS, "attention_mask": PADDED, "use_cache": False},
        vocab_size=99, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2,
    ),
    "llama": lambda: _transformer(
        "LlamaModel", "LlamaConfig", {"input_ids": IDS, "attention_mask": PADDED, "use_cache": False}, vocab_size=99,
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
    ),
}  # fmt: skip
