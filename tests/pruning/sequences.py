"""Networks on sequences and tokens for the tests of pruning: small definitions, and transformers' configurations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
}  # fmt: skip


class GruTagger(nn.Module):
    """Two layers of a GRU from both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.gru = nn.GRU(16, 10, num_layers=2, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(20, 5)

    def forward(self, words: Tensor) -> Tensor:
        return self.tag(self.gru(self.embedding(words))[0])  # type: ignore[no-any-return]


class LstmTagger(nn.Module):
    """A bidirectional LSTM on words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.lstm = nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(24, 5)

    def forward(self, words: Tensor) -> Tensor:
        return F.log_softmax(self.tag(self.lstm(self.embedding(words))[0]), dim=-1)


class TiedLanguageModel(nn.Module):
    """Words in, words out, by one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.body = nn.Sequential(nn.Linear(16, 40), nn.GELU(), nn.Linear(40, 16))
        self.norm = nn.LayerNorm(16)
        self.output = nn.Linear(16, 99, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        x = self.embedding(words)
        return self.output(self.norm(x + self.body(x)))  # type: ignore[no-any-return]


class MixerBlock(nn.Module):
    """Layers across tokens, then across channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.tokens = nn.Sequential(nn.Linear(tokens, 20), nn.GELU(), nn.Linear(20, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """MLP-Mixer on patches of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.blocks = nn.Sequential(MixerBlock(16, 24), MixerBlock(16, 24))
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))  # type: ignore[no-any-return]


class FusedAttention(nn.Module):
    """Queries, keys and values from one matrix, told apart by a reshape to (batch, tokens, 3, heads, size)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5, -1)
        return self.project((weights @ v).transpose(1, 2).reshape(b, n, c))  # type: ignore[no-any-return]


class FusedQkv(nn.Module):
    """Two blocks of attention as timm writes it, on patches of 8 x 8 and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 32)), nn.Parameter(torch.zeros(1, 17, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(5))
        self.attention = nn.ModuleList(FusedAttention(32, 4) for _ in range(2))
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)) for _ in range(2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for k, (attention, mlp) in enumerate(zip(self.attention, self.mlp, strict=True)):
            x = x + attention(self.norms[2 * k](x))
            x = x + mlp(self.norms[2 * k + 1](x))
        return self.head(self.norms[4](x)[:, 0])  # type: ignore[no-any-return]


def huggingface(model: str, config: str, **options: Any) -> nn.Module:
    """A model of transformers with drawn weights, from a small configuration."""
    import transformers

    made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
    return made


def whisper_encoder() -> nn.Module:
    """Whisper without its decoder."""
    model = huggingface(
        "WhisperModel", "WhisperConfig", vocab_size=99, num_mel_bins=8, d_model=32, encoder_layers=2,
        encoder_attention_heads=4, encoder_ffn_dim=48, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=48,
        max_source_positions=30, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    encoder: nn.Module = model.get_encoder()  # type: ignore[operator]
    return encoder
