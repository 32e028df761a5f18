"""Whole networks, as people write them, give through the Graph what they give in torch, at any batch size."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Check = Callable[..., Any]
Model = tuple[nn.Module, dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the model libraries' own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def _with_lively_weights(model: nn.Module) -> nn.Module:
    """The model with weights and statistics that keep the size of what flows through it.

    As initialized, many networks let it fade to nothing, and nothing would then be compared.
    """
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


def _image(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


_IDS = torch.randint(1, 99, (2, 7), generator=torch.Generator().manual_seed(2))
_RIGHT_PADDED = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
_LEFT_PADDED = torch.tensor([[1] * 7, [0] * 3 + [1] * 4])


def _huggingface(model: str, config: str, inputs: dict[str, Any], **options: Any) -> Model:
    import transformers

    made = getattr(transformers, model)(getattr(transformers, config)(**options))
    return _with_lively_weights(made), inputs


def _resnet() -> Model:
    return _huggingface(
        "ResNetForImageClassification",
        "ResNetConfig",
        {"pixel_values": _image(64)},
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[2, 2, 2, 2],
        layer_type="basic",
    )


def _mobilenet() -> Model:
    return _huggingface(
        "MobileNetV2ForImageClassification", "MobileNetV2Config", {"pixel_values": _image(64)}, depth_multiplier=0.35
    )


def _vit() -> Model:
    return _huggingface(
        "ViTForImageClassification",
        "ViTConfig",
        {"pixel_values": _image(32)},
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )


def _swin() -> Model:
    return _huggingface(
        "SwinForImageClassification",
        "SwinConfig",
        {"pixel_values": _image(64)},
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    )


def _convnext() -> Model:
    return _huggingface(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"pixel_values": _image(64)},
        hidden_sizes=[8, 16, 32, 64],
        depths=[1, 1, 1, 1],
    )


def _bert() -> Model:
    return _huggingface(
        "BertForSequenceClassification",
        "BertConfig",
        {"input_ids": _IDS, "attention_mask": _RIGHT_PADDED},
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )


def _bert_eager() -> Model:
    """With the additive mask of finfo.min written out."""
    return _huggingface(
        "BertModel",
        "BertConfig",
        {"input_ids": _IDS, "attention_mask": _RIGHT_PADDED},
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        attn_implementation="eager",
    )


def _gpt2() -> Model:
    """Padded on the left, so that some positions may attend to nothing."""
    return _huggingface(
        "GPT2LMHeadModel",
        "GPT2Config",
        {"input_ids": _IDS, "attention_mask": _LEFT_PADDED, "use_cache": False},
        vocab_size=99,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    )


def _llama() -> Model:
    return _huggingface(
        "LlamaModel",
        "LlamaConfig",
        {"input_ids": _IDS, "attention_mask": _LEFT_PADDED, "use_cache": False},
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
    )


def _t5_encoder() -> Model:
    return _huggingface(
        "T5EncoderModel",
        "T5Config",
        {"input_ids": _IDS, "attention_mask": _RIGHT_PADDED},
        vocab_size=99,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=2,
    )


def _whisper_encoder() -> Model:
    model, inputs = _huggingface(
        "WhisperModel",
        "WhisperConfig",
        {"input_features": torch.randn(2, 8, 60, generator=torch.Generator().manual_seed(3))},
        vocab_size=99,
        num_mel_bins=8,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        max_source_positions=30,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return model.get_encoder(), inputs  # type: ignore[operator]


def _wav2vec2() -> Model:
    return _huggingface(
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        {"input_values": torch.randn(2, 4000, generator=torch.Generator().manual_seed(3))},
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(8,) * 7,
        num_conv_pos_embedding_groups=2,
        num_conv_pos_embeddings=16,
    )


def _segformer() -> Model:
    return _huggingface(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {"pixel_values": _image(64)},
        hidden_sizes=[8, 16, 16, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    )


def _mobilevit() -> Model:
    return _huggingface(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {"pixel_values": _image(64)},
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 32],
        num_attention_heads=2,
    )


def _efficientnet_lite() -> Model:
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):
        model = EfficientNet.from_name("efficientnet-lite0")
    return _with_lively_weights(model), {"inputs": _image(64)}


class _Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.lstm = nn.LSTM(16, 12, num_layers=2, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(24, 5)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(words))
        return F.log_softmax(self.tag(states), dim=-1)


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._step(a, b) for a, b in ((3, 8), (8, 16), (16, 32))])
        self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in ((32, 16), (16, 8))])
        self.join = nn.ModuleList([self._step(a, b) for a, b in ((32, 16), (16, 8))])
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _step(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding="same"), nn.GroupNorm(4, b), nn.SiLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for step in self.down:
            x = step(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), skips.pop()], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


def _tagger() -> Model:
    return _with_lively_weights(_Tagger()), {"words": _IDS}


def _unet() -> Model:
    return _with_lively_weights(_UNet()), {"x": _image(32)}


def _resized(inputs: dict[str, Any], batch: int) -> dict[str, Any]:
    return {k: torch.cat([v] * 4)[:batch] if isinstance(v, Tensor) else v for k, v in inputs.items()}


_MODELS = [
    _resnet,
    _mobilenet,
    _efficientnet_lite,
    _vit,
    _swin,
    _convnext,
    _bert,
    _bert_eager,
    _gpt2,
    _llama,
    _t5_encoder,
    _whisper_encoder,
    _wav2vec2,
    _segformer,
    _mobilevit,
    _tagger,
    _unet,
]


@pytest.mark.parametrize("make", _MODELS, ids=lambda make: make.__name__.strip("_"))
def test_network_gives_what_it_gives_in_torch(make: Callable[[], Model], check: Check) -> None:
    model, inputs = make()
    shapes = {name: {0: "batch"} for name, value in inputs.items() if isinstance(value, Tensor)}
    graph = check(model, inputs, _resized(inputs, 1), _resized(inputs, 5), dynamic_shapes=shapes)
    for output in graph.outputs:
        assert output.tensor_type.shape[0] == "batch"


def test_sequence_length_may_be_a_symbol(check: Check) -> None:
    model, inputs = _bert()
    shapes = {name: {0: "batch", 1: "length"} for name in inputs}
    longer = {name: torch.cat([value, value], 1) for name, value in inputs.items()}
    check(model, inputs, longer, _resized(longer, 1), dynamic_shapes=shapes)


@pytest.mark.parametrize("make", [_resnet, _vit, _bert_eager, _unet], ids=lambda make: make.__name__.strip("_"))
def test_network_in_core_aten_gives_what_it_gives_in_torch(make: Callable[[], Model], check_program: Check) -> None:
    model, inputs = make()
    program = torch.export.export(model, (), inputs).run_decompositions()
    check_program(program, model, inputs)
