"""`irc.select` says of each candidate whether it fits, fits when compressed, or why not, and takes the best of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import irc
from irc.errors import DataError, IrcError, OptionError
from irc.evaluation import select as module_
from irc.evaluation.selection import Selection
from tests.evaluation.conftest import Residual, classes, images

EXAMPLE = (torch.zeros(1, 3, 16, 16),)


def saved(path: Path, module: torch.nn.Module) -> Path:
    irc.compile(module, "fold-constants, simplify", example_inputs=EXAMPLE).save(path)
    return path


@pytest.fixture
def candidates(tmp_path: Path) -> dict[str, Path]:
    """Networks of three widths; `big` is right about every label, the others about few."""
    widths = {"big": 16, "middle": 12, "small": 4}
    return {n: saved(tmp_path / f"{n}.onnx", Residual(w, seed=w).eval()) for n, w in widths.items()}


LABELS = classes(Residual(16, seed=16).eval(), images())


def size(path: Path) -> int:
    return path.stat().st_size


def verdicts(made: Selection) -> dict[str, str]:
    return {verdict.candidate: verdict.kind for verdict in made.verdicts}


def test_what_fits_is_left_as_it_is_and_the_most_accurate_is_best(candidates: dict[str, Path]) -> None:
    made = irc.select(candidates, {"bytes": size(candidates["big"])}, data=images(), labels=LABELS)
    assert verdicts(made) == {"big": "fits", "middle": "fits", "small": "fits"}
    assert made.best is not None
    assert (made.best.name, made.best.row.score, made.best.passes) == ("big", 1.0, "")
    assert [form.name for form in made.forms] == ["big", "middle", "small"]
    assert made.worth_compressing == []


def test_a_candidate_fits_when_quantized_and_is_best(candidates: dict[str, Path], tmp_path: Path) -> None:
    budget = size(candidates["big"]) * 0.75
    made = irc.select(candidates, {"bytes": budget}, data=images(), labels=LABELS)
    assert verdicts(made)["big"] == "compress"
    assert made.worth_compressing == ["big"]
    assert made.best is not None
    assert made.best.name == "big, quantized"
    passes = f"{irc.api.DEFAULT_PASSES}, quantize"  # the same by hand
    artifact = irc.compile(candidates["big"], passes, calibration=images())
    artifact.save(tmp_path / "by_hand.onnx")
    assert made.best.row.file_bytes == size(tmp_path / "by_hand.onnx") <= budget
    right = [int(artifact(x).argmax()) == label[0] for x, label in zip(images(), LABELS, strict=True)]
    assert made.best.row.score == np.mean(right)
    assert made.best.artifact is not None
    made.best.artifact.save(tmp_path / "chosen.onnx")
    assert (tmp_path / "chosen.onnx").read_bytes() == (tmp_path / "by_hand.onnx").read_bytes()
    (text,) = [v.text for v in made.verdicts if v.candidate == "big"]
    assert text.startswith("does not fit as it is, and fits when quantized: ")
    assert f"passes: {passes}" in text
    assert str(made).endswith("best: big, quantized (the highest metric of what fits)")


def test_macs_need_pruning(candidates: dict[str, Path]) -> None:
    whole = irc.compare(candidates["big"], latency=False).rows[0].all_macs
    made = irc.select({"big": candidates["big"]}, {"macs": 0.6 * whole}, data=images(), labels=LABELS)
    assert [form.compression for form in made.forms] == ["", "quantized", "pruned to half"]
    assert made.forms[2].row.all_macs <= 0.5 * whole
    assert made.best == made.forms[2]
    assert "the metric is from before any training" in made.verdicts[0].text


def test_what_does_not_fit_even_then(candidates: dict[str, Path]) -> None:
    made = irc.select({"big": candidates["big"]}, "bytes=500", data=images(), labels=LABELS)
    assert verdicts(made) == {"big": "too large"}
    assert [form.compression for form in made.forms] == ["", *module_.COMPRESSIONS]
    least = min(form.row.file_bytes for form in made.forms)
    assert f"{least:,} of 500 bytes" in made.verdicts[0].text
    assert made.best is None
    assert str(made).endswith("nothing fits")


def test_a_dominated_candidate_is_not_worth_compressing(candidates: dict[str, Path], tmp_path: Path) -> None:
    """A network that is larger than `big` and knows less."""
    wide = saved(tmp_path / "wide.onnx", Residual(24, seed=3).eval())
    made = irc.select(
        {**candidates, "wide": wide}, {"bytes": 0.75 * size(candidates["big"])}, data=images(), labels=LABELS
    )
    assert verdicts(made)["wide"] == "dominated"
    (text,) = [v.text for v in made.verdicts if v.candidate == "wide"]
    assert text.startswith("not worth compressing: 'big' is no worse in anything, and better in something")
    assert not any(form.candidate == "wide" and form.compression for form in made.forms)
    assert "wide" not in [form.candidate for form in made.front]


def test_a_quantized_candidate_that_does_not_fit_stands_in_for_none_that_can_be_quantized(
    candidates: dict[str, Path], tmp_path: Path
) -> None:
    big = irc.compile(candidates["big"], "quantize", calibration=images())
    big.save(tmp_path / "q.onnx")
    pair = {"float": candidates["big"], "int8": tmp_path / "q.onnx"}
    made = irc.select(pair, {"bytes": size(tmp_path / "q.onnx") - 1}, data=images(), labels=LABELS)
    assert verdicts(made)["float"] in ("compress", "too large")
    (text,) = [v.text for v in made.verdicts if v.candidate == "int8"]
    assert "pruned to half" in text
    made = irc.select(pair, {"bytes": size(tmp_path / "q.onnx")}, data=images(), labels=LABELS)
    assert [form.row.score for form in made.forms] == [1, 1]
    assert verdicts(made) == {"float": "dominated", "int8": "fits"}


def test_the_front_is_what_none_beats(candidates: dict[str, Path]) -> None:
    made = irc.select(candidates, "bytes=1MB,parameters=1M", data=images(), labels=LABELS)
    points = {f.name: (-(f.row.score or 0), f.row.file_bytes, f.row.parameters) for f in made.forms}
    wanted = [
        name
        for name, mine in points.items()
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in points.values())
    ]
    assert [form.name for form in made.front] == wanted
    assert {"big", "small"} <= set(wanted)


def test_without_a_metric_the_most_parameters_that_fit_are_best(candidates: dict[str, Path]) -> None:
    made = irc.select(candidates, {"bytes": size(candidates["middle"])})
    assert verdicts(made) == {"big": "compress", "middle": "fits", "small": "fits"}  # pruned, for nothing calibrates
    assert made.front == []
    assert "metric" not in str(made).splitlines()[0]
    fits = [form for form in made.forms if form.row.file_bytes <= size(candidates["middle"])]
    assert made.best == max(fits, key=lambda form: form.row.parameters)
    assert str(made).endswith("(the most parameters of what fits)")


def test_a_floor_keeps_what_is_too_bad_away(candidates: dict[str, Path]) -> None:
    made = irc.select(candidates, {"bytes": size(candidates["middle"])}, data=images(), labels=LABELS, floor=0.9)
    kinds = verdicts(made)
    assert (kinds["middle"], kinds["small"]) == ("too bad", "too bad")
    assert made.best is not None
    assert made.best.candidate == "big"
    assert made.best.row.score is not None
    assert made.best.row.score >= 0.9
    strict = irc.select({"s": candidates["small"]}, "bytes=1MB", data=images(), labels=LABELS, floor=0.9)
    assert strict.best is None
    assert "below the floor of 0.9" in strict.verdicts[0].text


def test_a_compressed_form_below_the_floor_is_told(candidates: dict[str, Path]) -> None:
    wanted = irc.open(candidates["big"])(images(1)[0])

    def likeness(run: Callable[[Any], Any]) -> float:
        return 1 - float(np.abs(run(images(1)[0]) - wanted).max())

    made = irc.select(
        {"big": candidates["big"]},
        {"parameters": 2500},
        evaluate=likeness,
        floor=0.9999,
        compressions={"pruned hard": "prune-channels{macs=0.1}"},
    )
    assert verdicts(made) == {"big": "too bad"}
    assert "fits when pruned hard, and its metric is below the floor of 0.9999" in made.verdicts[0].text
    assert made.best is None


def test_the_rest_goes_on_when_a_candidate_is_broken(candidates: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    other = irc.compile(torch.nn.Flatten().eval(), [], example_inputs=(torch.zeros(2, 5),))
    models = {"junk": tmp_path / "junk.onnx", **candidates, "other": other, "nothing": 3}
    made = irc.select(models, "bytes=1MB", data=images(), labels=LABELS)
    assert list(verdicts(made)) == list(models)
    assert [name for name, kind in verdicts(made).items() if kind == "failed"] == ["junk", "other", "nothing"]
    texts = {v.candidate: v.text for v in made.verdicts}
    assert "is not an ONNX model" in texts["junk"]
    assert "'other' does not take the data: its input" in texts["other"]
    assert "no model that irc knows" in texts["nothing"]
    assert made.best is not None
    assert made.best.name == "big"


def test_a_metric_that_is_nan_cannot_be_ranked(candidates: dict[str, Path]) -> None:
    values = {"big": float("nan"), "middle": 0.5, "small": 0.25}
    names = iter(values)
    made = irc.select(candidates, "bytes=1MB", evaluate=lambda run: values[next(names)])
    assert verdicts(made) == {"big": "failed", "middle": "fits", "small": "fits"}
    assert "'big': its metric is not a number" in made.verdicts[0].text
    assert made.best is not None
    assert made.best.name == "middle"


def test_evaluate_is_asked_of_each_form_as_it_runs(candidates: dict[str, Path]) -> None:
    found = []

    def first(run: Callable[[Any], Any]) -> float:
        found.append(float(run(images(1)[0])[0, 0]))
        return found[-1]

    made = irc.select(
        {"big": candidates["big"]}, {"bytes": 0.75 * size(candidates["big"])}, data=images(), evaluate=first
    )
    assert [form.row.metric for form in made.forms] == found
    assert found[0] == irc.open(candidates["big"])(images(1)[0])[0, 0]
    assert found[0] != found[1]


def test_latency_and_energy_are_budgets_too(candidates: dict[str, Path]) -> None:
    made = irc.select(candidates, "latency=1e6,energy=1e6", turns=1)
    assert set(verdicts(made).values()) == {"fits"}
    for form in made.forms:
        assert form.row.latency_ms is not None
        assert form.row.energy_uj is not None
    energies = {form.candidate: form.row.energy_uj for form in made.forms}
    limit = (energies["middle"] or 0) * 1.0001
    made = irc.select(candidates, {"energy": limit})
    assert [form.row.latency_ms for form in made.forms] == [None] * len(made.forms)
    assert (verdicts(made)["middle"], verdicts(made)["small"]) == ("fits", "fits")
    assert verdicts(made)["big"] != "fits"


def test_compressions_of_ones_own(candidates: dict[str, Path]) -> None:
    own = {"folded": "fold-constants", "simple": "simplify"}
    made = irc.select({"b": candidates["big"]}, "bytes=10", compressions=own)
    assert [form.compression for form in made.forms] == ["", *own]
    assert [form.passes for form in made.forms] == ["", *own.values()]


def test_a_compression_that_fails_is_told_and_the_next_is_tried(candidates: dict[str, Path]) -> None:
    made = irc.select({"b": candidates["big"]}, {"bytes": size(candidates["big"]) - 2000})
    assert "quantized: " not in made.verdicts[0].text  # it fits when pruned
    assert made.best is not None
    assert made.best.compression == "pruned to half"
    made = irc.select({"b": candidates["big"]}, "bytes=10")
    assert "; quantized: it takes data, and there is none" in made.verdicts[0].text


@pytest.mark.parametrize(
    ("models", "options", "error", "said"),
    [
        ({}, {}, OptionError, "there is no candidate"),
        ({"a": 3, "b": "none.onnx"}, {}, DataError, "a cannot be measured: .*b cannot be measured: .*no file"),
        ({"a": 3}, {"budget": "size=3"}, OptionError, "no quantity 'size'"),
        ({"a": 3}, {"budget": {}}, OptionError, "there is no budget"),
        ({"a": 3}, {"floor": 0.5}, OptionError, "a floor and no metric"),
        ({"a": 3}, {"labels": [1]}, OptionError, "labels and no data"),
        ({"a": 3}, {"target": "tpu"}, OptionError, "no target 'tpu'"),
    ],
)
def test_what_cannot_be(models: Any, options: dict[str, Any], error: type[IrcError], said: str) -> None:
    with pytest.raises(error, match=said):
        irc.select(models, **{"budget": "bytes=1", **options})


def test_a_list_of_candidates_goes_by_path(candidates: dict[str, Path]) -> None:
    paths = [*candidates.values(), candidates["big"]]
    made = irc.select(paths, "bytes=1MB")
    assert [v.candidate for v in made.verdicts] == [*map(str, candidates.values()), f"{candidates['big']} (4)"]


def test_the_dict_is_json(candidates: dict[str, Path]) -> None:
    made = irc.select(candidates, {"bytes": 0.75 * size(candidates["big"])}, data=images(), labels=LABELS).to_dict()
    assert made["best"] == "big, quantized"
    assert [form["fits"] for form in made["forms"] if form["candidate"] == "big"] == [False, True]
    assert made["forms"][0]["bytes"] == size(candidates["big"])
    assert made["verdicts"][0]["kind"] == "compress"
    assert onnx.load(candidates["big"]).graph.node  # the candidates are as they were
