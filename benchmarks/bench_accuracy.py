"""How far a runtime's outputs are from the float32 torch module's: the same code for every peer.

Images: SQNR of the logits, of crops of the calibration's photographs and of photographs from other sources apart, and
the share of inputs whose class is the float model's. Texts: SQNR of the hidden states of real tokens (padding is left
out), and the cosine of the two embeddings (mean hidden state of the real tokens), averaged over texts.
"""

from __future__ import annotations

import numpy as np
from bench_models import CROPS, Array, BenchModel

from irc.analysis.error import cosine, sqnr_db

Accuracy = dict[str, float]


def accuracy(model: BenchModel, outputs: Array) -> Accuracy:
    """Compare outputs on all validation samples with the reference.

    outputs : float32, shape (n, 1, classes) or (n, 1, length, d)
    """
    reference = model.reference()
    if model.text:
        mask = np.stack([sample["attention_mask"][0] for sample in model.validation()])
        return text_accuracy(reference[:, 0], outputs[:, 0], mask)
    return image_accuracy(reference[:, 0], outputs[:, 0], CROPS)


def image_accuracy(reference: Array, outputs: Array, crops: int) -> Accuracy:
    """`crops` and `photos`: SQNR in dB; `agree`: share of equal classes; of shape (n, classes), the first are crops."""
    return {
        "crops": sqnr_db(reference[:crops], outputs[:crops]),
        "photos": sqnr_db(reference[crops:], outputs[crops:]),
        "agree": float(np.mean(reference.argmax(1) == outputs.argmax(1))),
    }


def text_accuracy(reference: Array, outputs: Array, mask: Array) -> Accuracy:
    """`tokens`: SQNR in dB; `cosine` of embeddings; of hidden states (n, length, d); mask (n, length) 1 where real."""
    real = mask.astype(bool)
    pairs = zip(_embeddings(reference, real), _embeddings(outputs, real), strict=True)
    return {
        "tokens": sqnr_db(reference[real], outputs[real]),
        "cosine": float(np.mean([cosine(left, right) for left, right in pairs])),
    }


def score(found: Accuracy) -> float:
    """The one figure by which speed is gated: SQNR on photographs from other sources, or of tokens; dB."""
    return found["photos"] if "photos" in found else found["tokens"]


def _embeddings(hidden: Array, real: Array) -> list[Array]:
    return [states[keep].mean(0) for states, keep in zip(hidden, real, strict=True)]
