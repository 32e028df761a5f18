"""The architectures that pruning is held to, each from torch and from ONNX.

ARCHITECTURES  name -> function of no arguments, giving a module, from tensors to one tensor, and its arguments
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import onnx
import torch
from torch import Tensor, nn

import irc
from irc.graph import Graph
from tests.backends.c import architectures as small
from tests.backends.c.architectures import IDS, image, with_lively_weights
from tests.pruning import convolutional, sequences
from tests.pruning.sequences import TINY, huggingface

Model = tuple[nn.Module, tuple[Tensor, ...]]


class Alone(nn.Module):
    """A model that takes its tensors in order and gives out the one that counts."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], options: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.names, self.options = model, names, options

    def forward(self, *inputs: Tensor) -> Tensor:
        made = self.model(**dict(zip(self.names, inputs, strict=True)), **self.options)
        while not isinstance(made, Tensor):
            made = next(each for each in (made.values() if isinstance(made, dict) else made) if each is not None)
        return made


def twice(tensor: Tensor) -> Tensor:
    """A batch of two: the tensor, and the same backwards."""
    return torch.cat([tensor, tensor.flip(-1)])


def _reused(name: str) -> Model:
    """A network of the C backend's tests, at batch 2."""
    model, arguments = small.ARCHITECTURES[name]()
    return _alone(model, arguments)


def _made(make: Callable[[], nn.Module], tensor: Tensor) -> Model:
    return with_lively_weights(make()), (twice(tensor),)


def _picture(make: Callable[[], nn.Module], size: int = 32, channels: int = 3) -> Model:
    return _made(make, image(size, channels))


def _huggingface(model: str, config: str, arguments: dict[str, Any], **options: Any) -> Model:
    return _alone(with_lively_weights(huggingface(model, config, **options)), arguments)


def _alone(model: nn.Module, arguments: dict[str, Any]) -> Model:
    tensors = {key: twice(value) for key, value in arguments.items() if isinstance(value, Tensor)}
    tensors.update({key: torch.ones_like(tensors[key]) for key in tensors if "mask" in key})
    rest = {key: value for key, value in arguments.items() if key not in tensors}
    return Alone(model, tuple(tensors), rest).eval(), tuple(tensors.values())


def _whisper() -> Model:
    features = torch.randn(1, 8, 60, generator=torch.Generator().manual_seed(3))
    return _alone(with_lively_weights(sequences.whisper_encoder()), {"input_features": features})


_SOUND = torch.randn(1, 4, 40, generator=torch.Generator().manual_seed(3))
_MASK = torch.ones_like(IDS)

ARCHITECTURES: dict[str, Callable[[], Model]] = {
    **{name: partial(_reused, name) for name in small.ARCHITECTURES if name != "bert_eager"},
    "inception": partial(_picture, convolutional.inception, 48),
    "googlenet": partial(_picture, convolutional.googlenet, 48),
    "regnet": partial(_picture, convolutional.regnet, 40),
    "resnext": partial(_picture, convolutional.resnext, 40),
    "mnasnet": partial(_picture, convolutional.mnasnet, 40),
    "vgg": partial(_picture, convolutional.vgg),
    "alexnet": partial(_picture, convolutional.alexnet, 64),
    "lenet": partial(_picture, convolutional.lenet, 32, 1),
    "fpn": partial(_picture, convolutional.FeaturePyramid),
    "aspp": partial(_picture, convolutional.Aspp),
    "tcn": partial(_made, convolutional.tcn, _SOUND[:, :3]),
    "option_a": partial(_picture, convolutional.option_a, 16),
    "pixel_shuffle": partial(_picture, convolutional.pixel_shuffle, 12),
    "tied_conv": partial(_picture, convolutional.TiedConv, 24),
    "group_norm": partial(_picture, convolutional.group_norm, 16),
    "prelu": partial(_picture, convolutional.prelu, 24),
    "channel_attention": partial(_picture, convolutional.channel_attention, 24),
    "glu": partial(_made, convolutional.glu, _SOUND),
    "lstm": partial(_made, sequences.LstmTagger, IDS),
    "gru": partial(_made, sequences.GruTagger, IDS),
    "mixer": partial(_picture, sequences.Mixer),
    "fused_qkv": partial(_picture, sequences.FusedQkv),
    "tied_embedding": partial(_made, sequences.TiedLanguageModel, IDS),
    "deit": partial(
        _huggingface, "DeiTForImageClassification", "DeiTConfig", {"pixel_values": image(32)}, image_size=32,
        patch_size=8, attn_implementation="eager", **TINY,
    ),
    "swin_v2": partial(
        _huggingface, "Swinv2ForImageClassification", "Swinv2Config", {"pixel_values": image(32)}, image_size=32,
        patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4,
    ),
    "albert": partial(
        _huggingface, "AlbertModel", "AlbertConfig", {"input_ids": IDS, "attention_mask": _MASK}, embedding_size=16,
        attn_implementation="eager", **TINY,
    ),
    "falcon": partial(
        _huggingface, "FalconModel", "FalconConfig", {"input_ids": IDS, "attention_mask": _MASK, "use_cache": False},
        multi_query=True, parallel_attn=True, alibi=False, new_decoder_architecture=False, bias=True,
        attn_implementation="eager", **TINY,
    ),
    "t5": partial(
        _huggingface, "T5EncoderModel", "T5Config", {"input_ids": IDS, "attention_mask": _MASK}, vocab_size=99,
        d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
    ),
    "whisper": _whisper,
    "segformer": partial(
        _huggingface, "SegformerForSemanticSegmentation", "SegformerConfig", {"pixel_values": image(64)},
        hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16,
    ),
    "wav2vec2": partial(
        _huggingface, "Wav2Vec2Model", "Wav2Vec2Config",
        {"input_values": torch.randn(1, 2000, generator=torch.Generator().manual_seed(3))}, conv_dim=(8,) * 7,
        num_conv_pos_embedding_groups=2, num_conv_pos_embeddings=16, **TINY,
    ),
}  # fmt: skip

# written by the exporter that traces TorchScript, in another style; torch's other one cannot decompose swin and t5
TORCHSCRIPT = frozenset({
    "albert", "convnext", "deit", "densenet", "efficientnet", "falcon", "gru", "inception", "lenet", "lstm", "mnasnet",
    "mobilenet_v2", "option_a", "pixel_shuffle", "prelu", "resnet50", "resnext", "shufflenet_v2", "squeezenet", "swin",
    "t5", "tcn", "vgg", "wav2vec2", "whisper",
})  # fmt: skip
# of any batch size
DYNAMIC = frozenset({
    "bert", "deit", "fpn", "fused_qkv", "gpt2", "group_norm", "gru", "lstm", "mixer", "mobilenet_v3", "resnet18",
    "shufflenet_v2", "swin", "t5", "tcn", "unet", "vgg", "vit", "whisper",
})  # fmt: skip


# How many groups of heads and channels, and of dimensions within heads, each has: counted by reading its definition.
# A residual sum and all that is added to it is one group, a layer inside a branch one more, attention has a group of
# heads, one of dimensions of queries and keys, and one of values. What the output shows is none.
GROUPS: dict[str, tuple[int, int]] = {
    "resnet18": (12, 0), "resnet50": (36, 0), "mobilenet_v2": (9, 0), "mobilenet_v3": (12, 0), "efficientnet": (12, 0),
    "shufflenet_v2": (16, 0), "squeezenet": (10, 0), "densenet": (7, 0), "unet": (6, 1), "conv1d": (4, 0),
    "tagger": (3, 0), "vit": (5, 4), "convnext": (8, 0), "bert": (6, 4), "gpt2": (5, 4),
    "inception": (13, 0), "googlenet": (14, 0), "regnet": (11, 8), "resnext": (7, 8),
    "mnasnet": (9, 0), "vgg": (6, 0), "alexnet": (4, 0), "lenet": (3, 0), "fpn": (6, 0), "aspp": (9, 0), "tcn": (5, 0),
    "option_a": (7, 0), "pixel_shuffle": (2, 0), "tied_conv": (1, 0), "group_norm": (4, 3), "prelu": (2, 0),
    "channel_attention": (3, 0), "glu": (4, 0), "lstm": (2, 0), "gru": (3, 0), "mixer": (3, 2),
    "tied_embedding": (2, 0), "deit": (5, 4), "albert": (3, 2), "t5": (3, 4), "whisper": (5, 4), "segformer": (21, 6),
    "wav2vec2": (11, 4),
    "llama": (4, 2),  # its cosines are computed, so that dimensions of queries and keys stay before fold-constants
    "swin": (9, 8),  # of an open batch, whose shifted windows are masked by computed shapes, the heads there stay
    "swin_v2": (6, 4),  # the same with its bias and its heads; dimensions of queries and keys are normalized over
    "fused_qkv": (5, 2),  # one reshape makes queries, keys and values, so that all three lose the same dimensions
    "falcon": (4, 0),  # the same
}  # fmt: skip


def from_torch(name: str) -> Graph:
    """The graph as irc reads it from the module."""
    module, inputs = ARCHITECTURES[name]()
    return irc.load(module, example_inputs=inputs, dynamic_shapes=_batch(module, inputs) if name in DYNAMIC else None)


def from_onnx(name: str) -> Graph:
    """The graph of the file that one of torch's exporters makes."""
    module, inputs = ARCHITECTURES[name]()
    return irc.load(exported(module, inputs, dynamo=name not in TORCHSCRIPT, dynamic=name in DYNAMIC))


def exported(module: nn.Module, inputs: tuple[Tensor, ...], *, dynamo: bool, dynamic: bool) -> onnx.ModelProto:
    """The module as ONNX, written by one of torch's exporters."""
    names = [f"input{k}" for k in range(len(inputs))]
    shapes: dict[str, Any] = {}
    if dynamic and dynamo:
        shapes["dynamic_shapes"] = _batch(module, inputs)
    elif dynamic:
        shapes["dynamic_axes"] = {name: {0: "batch"} for name in names}
    made: Any = io.BytesIO()  # torch's annotations know of paths only
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporters' own, of which there are many
        program = torch.onnx.export(
            module, inputs, None if dynamo else made, input_names=names, dynamo=dynamo, verbose=False, **shapes
        )
    return onnx.load_from_string(made.getvalue()) if program is None else program.model_proto


def _batch(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """What torch.export takes to leave the first axis of every input open."""
    axes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    return (axes,) if isinstance(module, Alone) else axes  # whose inputs are variadic
