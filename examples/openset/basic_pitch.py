"""Basic Pitch, a note transcriber (ONNX by tf2onnx, opset 15: a constant-Q transform as strided Conv, 67 Reshape).

It is scored on synthetic notes of known pitch: six harmonics of 440 * 2^((note - 69) / 12) Hz, decaying.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from openset.common import Inputs, OpenModel, Run, package_folder

RATE, SAMPLES, HOP, LOWEST_NOTE = 22050, 43844, 256, 21
_INPUT = "serving_default_input_2:0"
_NOTE_OUTPUT = 1  # "StatefulPartitionedCall:1": notes, beside contours (0) and onsets (2)
_EVALUATION_SEED, _CALIBRATION_SEED, _VALIDATION_SEED = 1, 99, 7
_CLIPS = 12

Onsets = list[tuple[int, int]]


def _clips(count: int, seed: int) -> Iterator[tuple[NDArray[np.float32], Onsets]]:
    """Stream clips of four notes each in faint noise: samples, and (first sample, MIDI note) of each note."""
    random = np.random.RandomState(seed)
    length = 9000
    time = np.arange(length) / RATE
    for _ in range(count):
        sound = (random.randn(SAMPLES) * 1e-3).astype(np.float32)
        onsets = []
        for start in range(2000, 42000, 10000):
            note = int(random.randint(40, 80))
            pitch = 440 * 2 ** ((note - 69) / 12)
            harmonics = [np.sin(2 * np.pi * h * pitch * time) / h for h in range(1, 7) if h * pitch < 10000]
            sound[start : start + length] += (0.2 * sum(harmonics) * np.exp(-3 * time)).astype(np.float32)
            onsets.append((start, note))
        yield sound, onsets


def _inputs(sound: NDArray[np.float32]) -> Inputs:
    return {_INPUT: sound[None, :, None]}


def calibration(count: int = 8) -> Iterator[Inputs]:
    """Stream clips, as many as asked for."""
    yield from (_inputs(sound) for sound, _ in _clips(count, _CALIBRATION_SEED))


def validation(count: int = 12) -> list[Inputs]:
    """Give clips of another seed."""
    return [_inputs(sound) for sound, _ in _clips(count, _VALIDATION_SEED)]


def evaluate(run: Run) -> dict[str, float]:
    """Share of notes whose pitch is the loudest in the note output around their middle."""
    hits = []
    for sound, onsets in _clips(_CLIPS, _EVALUATION_SEED):
        notes = run(_inputs(sound))[_NOTE_OUTPUT][0]
        for start, note in onsets:
            middle = (start + 4000) // HOP
            hits.append(int(notes[middle - 3 : middle + 3].mean(0).argmax()) + LOWEST_NOTE == note)
    return {"accuracy": float(np.mean(hits)), "n": len(hits)}


def load() -> OpenModel:
    """Give the ICASSP 2022 model of the `basic_pitch` package."""
    path = package_folder("basic_pitch") / "saved_models" / "icassp_2022" / "nmp.onnx"
    sound, _ = next(_clips(1, _EVALUATION_SEED))
    return OpenModel("basic_pitch", str(path), _inputs(sound), evaluate, calibration, validation)
