"""What a pass does to the open models: bytes of weights and of the file, MACs, score, SQNR and seconds; as a table.

    PYTHONPATH=examples python benchmarks/passes.py low-rank [mnist_cnn] [effnet_lite0] [minilm]
    PYTHONPATH=examples python benchmarks/passes.py cast-float

The other recipes are prune-weights, cluster-weights, unfolded (the two of them on batch norms that are left),
dedup-weights, quantize and pipeline.
A recipe of another pass is one more entry of RECIPES: for each model, lists of passes to run on the cleaned model.
The scores are onnxruntime's, of the compiled model. SQNR is of the outputs for calibration samples.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from training import Shifted, crops, texts

import irc
import openset
from irc.passes import Distill
from irc.passes.base import Pass
from irc.passes.options import format_pass, parse_pipeline
from openset.common import Inputs, OpenModel

CLEAN = "fold-constants, simplify, fold-pad, fold-batch-norm"
UNFOLDED = {  # recipes that find batch norms, and what cleans the model for them
    "unfolded": "fold-constants, simplify, fold-pad",
    "pipeline": "fold-constants, simplify",
}
Steps = Sequence[str | Pass]

_SMALL_FLOATS: list[Steps] = [[f"cast-float{{to={to}}}"] for to in ("float16", "bfloat16", "float8", "float8e5m2")]
_MNIST = Distill(
    data=Shifted(), loss=("kl", "cross-entropy"), temperature=4.0, epochs=2, batch=16, lr=0.003, optimizer="adamw"
)
_MINILM = Distill(
    data=texts, loss=("mse", "features:bert.encoder.layer.*"), steps=100, batch=8, lr=3e-4, optimizer="adamw"
)
_EFFNET = Distill(
    data=crops, loss=("kl",), temperature=2.0, steps=64, batch=16, lr=1e-4, optimizer="adamw", batch_norm="freeze"
)
# where next to nothing is left, large steps and the statistics of the batch win more back
_EFFNET_LOST = Distill(data=crops, loss=("kl",), temperature=2.0, steps=64, batch=16, lr=0.02, clip=10.0)
_CENTROIDS = replace(_MNIST, lr=0.001)  # a centroid moves many weights
_CLUSTERED: list[Steps] = [["cluster-weights"], ["cluster-weights{per=channel}"]]

RECIPES: dict[str, dict[str, list[Steps]]] = {
    "low-rank": {
        "mnist_cnn": [
            ["low-rank{macs=0.6}"],
            ["low-rank{macs=0.6, criterion=activations}"],
            ["low-rank{macs=0.6, criterion=activations}", _MNIST],
        ],
        "effnet_lite0": [
            ["low-rank{macs=0.9}"],
            ["low-rank{macs=0.9, criterion=activations}"],
            ["low-rank{macs=0.9, criterion=activations}", _EFFNET],
        ],
        "minilm": [
            ["low-rank{macs=0.7}"],
            ["low-rank{macs=0.7, criterion=activations}"],
            ["low-rank{macs=0.7, criterion=activations}", _MINILM],
        ],
    },
    "cast-float": dict.fromkeys(("mnist_cnn", "effnet_lite0", "minilm"), _SMALL_FLOATS),
    "prune-weights": {
        "mnist_cnn": [["prune-weights{sparsity=0.8}"], ["prune-weights{sparsity=0.8}", replace(_MNIST, epochs=3)]],
        "effnet_lite0": [
            ["prune-weights{sparsity=0.5}"],
            ["prune-weights{sparsity=0.5, scope=global}"],
            ["prune-weights{pattern=2:4}"],
        ],
        "minilm": [["prune-weights{sparsity=0.5}"], ["prune-weights{sparsity=0.5, scope=global}"]],
    },
    "cluster-weights": {
        "mnist_cnn": [*_CLUSTERED, ["cluster-weights", _CENTROIDS]],
        "effnet_lite0": [*_CLUSTERED, ["cluster-weights{bits=6}"]],
        "minilm": [
            ["cluster-weights"],
            ["cluster-weights{bits=3}"],
            ["cluster-weights{bits=3}", replace(_MINILM, lr=3e-5)],
        ],
    },
    "unfolded": {
        "mnist_cnn": [
            ["prune-weights{sparsity=0.8, scope=global}"],
            ["prune-weights{sparsity=0.8, scope=global}", replace(_MNIST, epochs=3, lr=0.01)],
        ],
        "effnet_lite0": [
            ["prune-weights{sparsity=0.5, scope=global}"],
            ["prune-weights{sparsity=0.5, scope=global}", replace(_EFFNET_LOST, steps=160)],
            ["cluster-weights"],
            ["cluster-weights", replace(_EFFNET_LOST, lr=0.002)],
        ],
    },
    "dedup-weights": {
        "mnist_cnn": [["dedup-weights{tolerance=0.01}"]],
        "effnet_lite0": [["dedup-weights{tolerance=0.01}"]],
        "minilm": [["dedup-weights{tolerance=0.01}"]],
    },
    "quantize": {name: [["quantize"]] for name in ("mnist_cnn", "effnet_lite0", "minilm")},
    "pipeline": {
        "mnist_cnn": [
            [
                # chosen on 800 of the training digits, held out
                "prune-channels{macs=0.215, criterion=fpgm, multiple=1}",
                replace(_MNIST, epochs=8, lr=0.01),
                "fold-batch-norm, cluster-weights{bits=3}",
                replace(_MNIST, epochs=3, lr=0.002),
                "dedup-weights, eliminate-dead",
            ],
        ],
    },
}
_SAMPLES = {"mnist_cnn": 200, "effnet_lite0": 64, "minilm": 100}


def cleaned(model: OpenModel, passes: str) -> irc.Graph:
    """The model as it was, in the form in which the passes find it."""
    if isinstance(model.model, str):
        return irc.compile(model.model, passes).graph
    inputs = tuple(torch.from_numpy(v) for v in model.example_inputs.values())
    return irc.compile(model.model, passes, example_inputs=inputs).graph


def row(name: str, model: OpenModel, before: irc.Graph, steps: Steps) -> str:
    """One line of the table: the model behind these passes."""
    names = [v.name for v in before.inputs]

    def named(sample: Inputs) -> Inputs:
        return dict(zip(names, sample.values(), strict=True))

    passes = [each for step in steps for each in (parse_pipeline(step) if isinstance(step, str) else [step])]
    calibration = [named(sample) for sample in model.calibration(_SAMPLES.get(name, 32))]
    start = time.perf_counter()
    made = irc.compile(before, passes, calibration=calibration)
    seconds = time.perf_counter() - start
    cost, sqnr = made.report.rows[-1].cost, made.report.rows[-1].sqnr
    assert cost is not None
    scores = {key: value for key, value in model.evaluate(partial(_outputs, made, named)).items() if key != "n"}
    title = ", ".join(_title(each) for each in passes) or "as it was"
    cells = [
        name,
        f"`{title}`" if passes else title,
        f"{cost.bytes:,}",
        f"{_file_bytes(made):,}",
        f"{cost.macs:,}",
        ", ".join(f"{key} {value:.3f}" for key, value in scores.items()),
        "" if sqnr is None or sqnr == float("inf") else f"{sqnr:.1f}",
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _outputs(made: Any, named: Any, sample: Inputs) -> list[Any]:
    return [made(named(sample))]


def _file_bytes(made: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        made.save(path)
        return path.stat().st_size


def _title(each: Pass) -> str:
    """The pass as text; of training, whose options are long, the name alone."""
    return each.pass_name() if isinstance(each, Distill) else format_pass(each)


def main(recipe: str, *names: str) -> None:
    """Print the table of a recipe, for some models or for all it has."""
    print("PYTHONPATH=examples python benchmarks/passes.py", recipe, *names)
    print("| model | passes | bytes | file | MACs | score | SQNR, dB | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names or RECIPES[recipe]:
        model = openset.load(name)
        before = cleaned(model, UNFOLDED.get(recipe, CLEAN))
        for steps in [[], *RECIPES[recipe][name]]:
            print(row(name, model, before, steps), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if len(sys.argv) < 2 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: python benchmarks/passes.py {'|'.join(RECIPES)} [MODEL ...]")
    main(*sys.argv[1:])
