"""The nine classification topologies that onnx ships: opset 9, 38 to 1,746 nodes, weights from ConstantOfShape nodes.

All weights of a tensor are equal, so the networks classify nothing: they try a reader, a writer and the time of passes.
They are scored against the outputs that onnx ships for a ramp.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from openset.common import Inputs, OpenModel, Run, package_folder

TOPOLOGIES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
_SHAPE = (1, 3, 224, 224)
_CALIBRATION_SEED, _VALIDATION_SEED = 0, 1


def _folder() -> Path:
    return package_folder("onnx") / "backend" / "test" / "data" / "light"


def _ramp() -> NDArray[np.float32]:
    """The input for which onnx gives the outputs: 0 to 1 in equal steps (onnx.backend.test.runner)."""
    size = int(np.prod(_SHAPE))
    return (np.arange(size).reshape(_SHAPE) / size).astype(np.float32)


def _noise(name: str, seed: int, count: int = 8) -> Iterator[Inputs]:
    """Stream uniform noise in [0, 1), as much as asked for."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield {name: random.random(_SHAPE, np.float32)}


def _validation(name: str, count: int = 8) -> list[Inputs]:
    """Give noise of another seed."""
    return list(_noise(name, _VALIDATION_SEED, count))


def _evaluate(topology: str, input_name: str, run: Run) -> dict[str, float]:
    """Largest absolute difference from the shipped output."""
    shipped = onnx.TensorProto.FromString((_folder() / f"light_{topology}_output_0.pb").read_bytes())
    difference = run({input_name: _ramp()})[0] - numpy_helper.to_array(shipped)
    return {"max_abs_error": float(np.abs(difference).max()), "n": 1}


def load(topology: str) -> OpenModel:
    """Give one of `TOPOLOGIES`."""
    path = _folder() / f"light_{topology}.onnx"
    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    (name,) = (value.name for value in graph.input if value.name not in weights)
    return OpenModel(
        f"light_{topology}",
        str(path),
        {name: _ramp()},
        partial(_evaluate, topology, name),
        partial(_noise, name, _CALIBRATION_SEED),
        partial(_validation, name),
    )
