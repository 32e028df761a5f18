"""Silero VAD, a streaming voice activity detector (ONNX, opset 15: Conv, STFT as Conv, 2 LSTM, 12 If), with its state.

It is scored on speech whose frames are labelled by a forced phone alignment (`data/README.md`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from openset.common import Inputs, OpenModel, Run, area_under_curve, onnx_run, package_folder, spread

RATE, FRAME, CONTEXT = 16000, 512, 64
_DATA = Path(__file__).parent / "data"
_EVALUATION, _CALIBRATION, _VALIDATION = ("0870", "0890", "0930"), ("0920",), ("0880",)
_NOT_SPEECH = {"SIL", "+NSN+", "+SPN+"}


def _utterance(number: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read samples and, for each sample, 1 where a phone is spoken."""
    path = _DATA / f"sense_and_sensibility_01_austen_64kb-{number}.wav"
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE, path
    speech = np.zeros(len(sound), np.float32)
    for line in path.with_suffix(".phone.json").read_text().splitlines():
        for phone in (phone for word in json.loads(line)["w"] for phone in word.get("w", [])):
            if phone["t"] not in _NOT_SPEECH:
                speech[int(phone["b"] * RATE) : int((phone["b"] + phone["d"]) * RATE)] = 1
    return sound, speech


@cache
def _stream(numbers: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Join utterances, 1.5 s of faint noise before each; give samples and a label for each frame of 512."""
    random, gap = np.random.RandomState(int(numbers[0])), RATE * 3 // 2  # no two streams have the same noise
    sounds, speech = [], []
    for number in numbers:
        sound, spoken = _utterance(number)
        sounds += [(random.randn(gap) * 1e-3).astype(np.float32), sound]
        speech += [np.zeros(gap, np.float32), spoken]
    sound, spoken = np.concatenate(sounds), np.concatenate(speech)
    frames = len(sound) // FRAME
    majority = spoken[: frames * FRAME].reshape(frames, FRAME).mean(1) > 0.5
    return sound[: frames * FRAME], majority.astype(np.int64)


def _state() -> NDArray[np.float32]:
    return np.zeros((2, 1, 128), np.float32)


def _inputs(sound: NDArray[np.float32], frame: int, state: NDArray[Any]) -> Inputs:
    """One frame with the 64 samples before it, the state, and the rate."""
    start = frame * FRAME
    before = sound[start - CONTEXT : start] if frame else np.zeros(CONTEXT, np.float32)
    window = np.concatenate([before, sound[start : start + FRAME]])
    return {"input": window[None], "state": state, "sr": np.array(RATE, np.int64)}


def _path() -> str:
    return str(package_folder("silero_vad") / "data" / "silero_vad_16k_op15.onnx")


def evaluate(run: Run) -> dict[str, float]:
    """Area under the ROC curve, and accuracy at 0.5, over the frames of three utterances, the state carried along."""
    sound, label = _stream(_EVALUATION)
    state: NDArray[Any] = _state()
    scores = []
    for frame in range(len(label)):
        score, state = run(_inputs(sound, frame, state))
        scores.append(float(score.ravel()[0]))
    score = np.array(scores)
    return {
        "auc": area_under_curve(score, label),
        "accuracy": float(((score > 0.5) == label).mean()),
        "n": len(label),
    }


def _frames(count: int, numbers: tuple[str, ...]) -> Iterator[Inputs]:
    """Stream frames spread over the utterances, each with the state that the float model has there."""
    sound, label = _stream(numbers)
    chosen = set(spread(count, len(label), "frames").tolist())
    run, state = onnx_run(_path()), _state()
    for frame in range(max(chosen, default=-1) + 1):
        inputs = _inputs(sound, frame, state)
        if frame in chosen:
            yield inputs
        state = run(inputs)[1]


def calibration(count: int = 64) -> Iterator[Inputs]:
    """Stream frames of an utterance that does not score, at most 235."""
    yield from _frames(count, _CALIBRATION)


def validation(count: int = 64) -> list[Inputs]:
    """Give frames of one more utterance, at most 140."""
    return list(_frames(count, _VALIDATION))


def load() -> OpenModel:
    """Give the 16 kHz model of the `silero_vad` package; the example is a frame of speech."""
    sound, _ = _stream(_EVALUATION)
    return OpenModel("silero_vad", _path(), _inputs(sound, 100, _state()), evaluate, calibration, validation)
