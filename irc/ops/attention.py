"""Attention, and the rotary embedding that goes before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from irc.errors import GraphError
from irc.op import ChannelKind, Example, Op
from irc.ops.tensors import outputs_of, sample, torch_dtype_of_onnx
from irc.types import TensorType, Type


def _heads(x: torch.Tensor, count: int | None) -> torch.Tensor:
    """(batch, sequence, count * size) as (batch, count, sequence, size); rank 4 as it is."""
    if x.ndim == 4:
        return x
    if not count:
        raise GraphError("Attention with inputs of rank 3 needs q_num_heads and kv_num_heads")
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


@dataclass(frozen=True)
class Attention(Op):
    """y = softmax(scale * Q K' + bias) V for each head; rows that may attend nothing are 0. ONNX Attention-25.

    Inputs: Q, K, V, each (batch, heads, sequence, size) or (batch, sequence, heads * size); the mask, bool (true:
    attends) or added to the scores; cached keys and values; the numbers of valid keys. All from the mask on optional.
    Outputs: y, in the form of Q; the keys and values with their cache; the scores (as `qk_matmul_output_mode` says).
    """

    channels = ChannelKind.CONTRACTION
    since = 23

    is_causal: int = 0
    kv_num_heads: int | None = None
    left_window_size: int = -1
    q_num_heads: int | None = None
    qk_matmul_output_mode: int = 0
    right_window_size: int = -1
    scale: float | None = None
    softcap: float = 0.0
    softmax_precision: int | None = None

    def run(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None = None,
        past_k: torch.Tensor | None = None,
        past_v: torch.Tensor | None = None,
        valid: torch.Tensor | None = None,
        *,
        outputs: int = 1,
    ) -> Any:
        rank = q.ndim
        q, k, v = _heads(q, self.q_num_heads), _heads(k, self.kv_num_heads), _heads(v, self.kv_num_heads)
        k = k if past_k is None else torch.cat([past_k, k], 2)
        v = v if past_v is None else torch.cat([past_v, v], 2)
        groups = q.shape[1] // k.shape[1]
        # scaling both factors by the root keeps float16 products small, as ONNX has it
        root = torch.tensor(self.scale or 1 / math.sqrt(q.shape[-1]), dtype=torch.float64).sqrt().to(q)
        scores = (q * root) @ (k * root).repeat_interleave(groups, 1).mT
        stages = [scores]
        if self.softcap:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        stages.append(scores)
        bias = self._bias(q, k, mask, 0 if past_k is None else past_k.shape[2], valid)
        weights, seen = self._weights(scores, bias, stages)
        weights = weights if seen is None else torch.where(seen, weights, 0)
        stages.append(weights)
        y = weights @ v.repeat_interleave(groups, 1)
        y = y.transpose(1, 2).flatten(2) if rank == 3 else y
        return outputs_of((y, k, v, stages[self.qk_matmul_output_mode]), outputs)

    def _weights(
        self, scores: torch.Tensor, bias: torch.Tensor | None, stages: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The softmax of the biased scores, and which rows may attend anything (None: all)."""
        seen = None
        if bias is not None:
            scores = scores + bias
            seen = (bias > -torch.inf).any(-1, keepdim=True)
        stages.append(scores)
        if seen is not None:
            scores = torch.where(seen, scores, 0)  # else NaN, which a gradient keeps even where it is masked later
        precise = None if self.softmax_precision is None else torch_dtype_of_onnx(self.softmax_precision)
        return torch.softmax(scores, -1, dtype=precise).to(scores.dtype), seen

    def _bias(
        self, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None, past: int, valid: torch.Tensor | None
    ) -> torch.Tensor | None:
        """What is added to the scores: the mask, and -inf where a key may not be attended; None if nothing."""
        keys = k.shape[2]
        place = torch.arange(keys, device=q.device)
        offset = past if valid is None else valid.reshape(-1, 1, 1, 1) - q.shape[2]
        query = torch.arange(q.shape[2], device=q.device)[:, None] + offset
        allowed = []
        if self.is_causal:
            allowed.append(place <= query)
        if self.left_window_size >= 0:
            allowed.append(place >= query - self.left_window_size)
        if self.right_window_size >= 0:
            allowed.append(place <= query + self.right_window_size)
        if valid is not None:
            allowed.append(place < valid.reshape(-1, 1, 1, 1))
        bias = None
        if mask is not None:
            is_bool = mask.dtype is torch.bool
            mask = F.pad(mask, (0, keys - mask.shape[-1]), value=False if is_bool else -torch.inf)
            if is_bool:
                allowed.append(mask)
            else:
                bias = mask
        for each in allowed:
            barred = torch.where(each, 0.0, -torch.inf).to(q.dtype)
            bias = barred if bias is None else bias + barred
        return bias

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        """Those of Q K' and of the product with V, all keys counted whether they may be attended or not."""
        q, k, v = inputs[:3]
        if not (isinstance(q, TensorType) and isinstance(k, TensorType) and isinstance(v, TensorType)):
            return 0
        if not q.shape or not k.shape or not v.shape:
            return 0
        keys, width = k.shape[-2], v.shape[-1]
        past = inputs[4] if len(inputs) > 4 else None
        cached = past.shape[2] if isinstance(past, TensorType) and past.shape else 0
        count = (keys if isinstance(keys, int) else 1) + (cached if isinstance(cached, int) else 0)
        queries = q.elements() // (q.shape[-1] if isinstance(q.shape[-1], int) else 1)
        out = queries * (width if isinstance(width, int) else 1)
        if len(q.shape) == 3 and self.kv_num_heads and self.q_num_heads:
            out = out * self.q_num_heads // self.kv_num_heads
        return (q.elements() + out) * count

    @classmethod
    def examples(cls) -> Iterable[Example]:
        q, k, v = sample(2, 3, 4, 8), sample(2, 3, 6, 8), sample(2, 3, 6, 5)
        mask = sample(4, 6)
        yield Example(cls(), (q, k, v))
        yield Example(cls(scale=0.3), (q, k, v, mask))
        yield Example(cls(softcap=2.0), (q, k, v, mask > -1))
        yield Example(cls(is_causal=1), (q, k, v))
        yield Example(cls(q_num_heads=4, kv_num_heads=2), (sample(2, 4, 32), sample(2, 6, 16), sample(2, 6, 16)))
        yield Example(cls(is_causal=1), (q, k, v, None, sample(2, 3, 2, 8), sample(2, 3, 2, 5)), 3)
        yield Example(cls(softmax_precision=1), (q, k, v))


@dataclass(frozen=True)
class RotaryEmbedding(Op):
    """Pairs of features turned by the angle of their position. ONNX RotaryEmbedding-23.

    Inputs: x (batch, heads, sequence, size) or (batch, sequence, heads * size); cos and sin, (positions, width) with
    position_ids (batch, sequence), or (batch, sequence, width) without.
    """

    since = 23

    interleaved: int = 0
    num_heads: int | None = None
    rotary_embedding_dim: int = 0

    def run(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, positions: torch.Tensor | None = None
    ) -> torch.Tensor:
        if x.ndim == 3 and not self.num_heads:
            raise GraphError("RotaryEmbedding of an input of rank 3 needs num_heads")
        # (batch, sequence, heads, size)
        split = x.transpose(1, 2) if x.ndim == 4 else x.reshape(*x.shape[:2], self.num_heads or 1, -1)
        width = self.rotary_embedding_dim or split.shape[-1]
        turned, rest = split[..., :width], split[..., width:]
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
        first, second = (turned[..., 0::2], turned[..., 1::2]) if self.interleaved else turned.chunk(2, -1)
        real, imaginary = cos * first - sin * second, sin * first + cos * second
        pair = torch.stack([real, imaginary], -1).flatten(-2) if self.interleaved else torch.cat([real, imaginary], -1)
        y = torch.cat([pair, rest], -1)
        return y.transpose(1, 2) if x.ndim == 4 else y.reshape(x.shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x, cos, sin = sample(2, 3, 4, 8), sample(10, 4), sample(10, 4, low=-1)
        positions = np.array([[0, 2, 5, 9], [1, 1, 3, 4]], np.int64)
        yield Example(cls(), (x, cos, sin, positions))
        yield Example(cls(interleaved=1), (x, cos, sin, positions))
        yield Example(cls(rotary_embedding_dim=4), (x, sample(10, 2), sample(10, 2, low=-1), positions))
        yield Example(cls(num_heads=3), (sample(2, 4, 24), sample(2, 4, 4), sample(2, 4, 4, low=-1)))
