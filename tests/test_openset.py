"""The open models are what their packages say: each scores on true labels as published, and no data serves two ends."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import openset
from openset import mnist_cnn
from openset.common import area_under_curve, cache_folder, package_folder, spread

# Lowest score of the unmodified model. The labels, the weights and the seeds are fixed, so a score moves only by
# rounding: by less than one label of a count, and by less than 0.001 of a correlation or a curve.
SCORES = {
    "effnet_lite0": {"top1": 0.90, "top5": 0.95, "n": 20},
    "mnist_cnn": {"top1": 0.98, "n": 1000},  # trained here: another machine's rounding trains another network
    "minilm": {"pearson": 0.653, "n": 1225},
    "silero_vad": {"auc": 0.996, "accuracy": 0.976, "n": 630},
    "mtcnn_pnet": {"accuracy": 0.98, "auc": 0.999, "n": 160},
    "mtcnn_rnet": {"accuracy": 1.0, "auc": 1.0, "n": 160},
    "mtcnn_onet": {"accuracy": 1.0, "auc": 1.0, "n": 160},
    "basic_pitch": {"accuracy": 1.0, "n": 48},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORES)
def test_unmodified_model_scores_as_published(name: str) -> None:
    model = openset.load(name)
    score = model.evaluate(model.run())
    assert score.keys() == SCORES[name].keys()
    assert score["n"] == SCORES[name]["n"]
    assert all(score[metric] >= least for metric, least in SCORES[name].items()), score


@pytest.mark.slow
@pytest.mark.parametrize("name", openset.LIGHT)
def test_light_model_gives_the_shipped_output(name: str) -> None:
    model = openset.load(name)
    error = model.evaluate(model.run())["max_abs_error"]
    assert error <= 1e-5, "the outputs are probabilities of 0.001; onnx's own test allows 1e-3 relative"


@pytest.mark.slow
@pytest.mark.parametrize("name", openset.NAMES)
def test_samples_fit_the_model_and_the_sets_do_not_overlap(name: str) -> None:
    model = openset.load(name)
    calibration, validation = list(model.calibration(8)), model.validation(8)
    assert len(calibration) == len(validation) == 8
    scored: set[bytes] = set()
    run = model.run()
    for sample in (*calibration, *validation, model.example_inputs):
        assert list(sample) == list(model.example_inputs)
        for key, example in model.example_inputs.items():
            assert (sample[key].dtype, sample[key].shape) == (example.dtype, example.shape)

    def record(inputs: openset.Inputs) -> list[np.ndarray]:
        scored.add(content(inputs))
        return run(inputs)

    if name not in openset.LIGHT:
        model.evaluate(record)
        assert len(scored) > 1
    sets = [scored, {content(s) for s in calibration}, {content(s) for s in validation}]
    assert len(sets[1]) == len(sets[2]) == 8, "a sample is there twice"
    assert all(not a & b for a, b in itertools.combinations(sets, 2))


def content(inputs: openset.Inputs) -> bytes:
    """The first input's bytes: it is the picture, the text or the sound."""
    return next(iter(inputs.values())).tobytes()


def test_calibration_is_a_stream_of_any_length() -> None:
    model = openset.load("effnet_lite0")
    first, second = itertools.islice(model.calibration(10**9), 2)  # a list would not fit into any memory
    again = next(model.calibration(1))
    assert np.array_equal(first["inputs"], again["inputs"])
    assert not np.array_equal(first["inputs"], second["inputs"])


def test_asking_for_more_than_there_is_says_how_much_there_is() -> None:
    with pytest.raises(ValueError, match="2001 digits asked for, there are 2000"):
        next(mnist_cnn.calibration(2001))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="no open model 'resnet'; there are effnet_lite0,"):
        openset.load("resnet")
    with pytest.raises(
        ImportError, match=r"'no_such_package' is not installed: pip install .*requirements-models\.txt"
    ):
        package_folder("no_such_package")


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRC_CACHE", str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b"
    assert cache_folder().is_dir()


def test_spread_is_even_and_area_under_curve_is_the_share_of_ordered_pairs() -> None:
    assert spread(4, 10, "things").tolist() == [0, 2, 5, 7]
    assert spread(0, 10, "things").tolist() == []
    score, label = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert area_under_curve(score, label) == 3 / 4  # of the four pairs, only (0.4, 0.35) stands the wrong way
