"""The five models of the benchmark: one float .onnx file each, which all start from, and data to calibrate and compare.

    bench_model("resnet18") -> BenchModel; its files are written once into `.cache/bench` (or `$IRC_CACHE/bench`)

The float file is irc's export after its exact passes (batch norms and explicit padding folded), batch 1, opset 21. No
peer loses by it: MiniLM in it is as fast, in float and in int8, in onnxruntime and in OpenVINO, as in the best of
torch's own four exports (TorchScript or dynamo, eager or fused attention). The reference that accuracy is held against
is the torch module's output, in float32.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured
from numpy.typing import NDArray

Array = NDArray[Any]
Inputs = dict[str, Array]
HERE = Path(__file__).resolve().parent
NAMES = ("effnet_lite0", "mobilenet_v2", "resnet18", "resnet50", "minilm")
SAMPLES = 32  # calibration inputs
CROPS, TEXTS = 64, 50


@dataclass(frozen=True)
class BenchModel:
    """One model, ready to hand to the peers.

    folder : holds `float.onnx`; `calibration.npz`, `validation.npz`: each input's samples stacked, shape (n, 1, ...);
        `reference.npy`: the torch module's outputs on the validation samples, stacked alike; `macs.txt`
    text : whether inputs are token ids
    """

    name: str
    folder: Path

    @property
    def float_path(self) -> Path:
        """The float32 model that every peer starts from."""
        return self.folder / "float.onnx"

    @property
    def text(self) -> bool:
        """Whether the inputs are token ids."""
        return self.name == "minilm"

    def calibration(self) -> Iterator[Inputs]:
        """The calibration samples; for images crops of unlabelled photographs."""
        return samples(self.folder / "calibration.npz")

    def validation(self) -> Iterator[Inputs]:
        """What accuracy is measured on: 64 other crops, then the 20 photographs from other sources; or 50 texts."""
        return samples(self.folder / "validation.npz")

    def example(self) -> Inputs:
        """The input that is timed."""
        return next(self.calibration())

    def reference(self) -> Array:
        """The torch module's outputs on the validation samples; float32, shape (n, 1, classes) or (n, 1, length, d)."""
        outputs: Array = np.load(self.folder / "reference.npy")
        return outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return int((self.folder / "macs.txt").read_text())


def samples(path: Path) -> Iterator[Inputs]:
    """Stream the samples of an .npz whose arrays are stacked along a new first axis."""
    with np.load(path) as file:
        stacked = {name: file[name] for name in file.files}
    for i in range(len(next(iter(stacked.values())))):
        yield {name: array[i] for name, array in stacked.items()}


def content_key(*parts: bytes | str | Path) -> str:
    """Sixteen hex digits that change with any of the parts; of a path, with what the file holds."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where what takes long to prepare is kept; git ignores it."""
    return Path(os.environ.get("IRC_CACHE") or HERE.parent / ".cache") / "bench"


def bench_model(name: str) -> BenchModel:
    """The model of that name, from the cache or made now, in a process of its own."""
    versions = [f"{package} {version(package)}" for package in ("torch", "transformers", "onnx")]
    key = content_key(HERE / "bench_models.py", HERE / "bench_nets.py", *versions)
    folder = cache_folder() / f"{name}-{key}"
    if not (folder / "float.onnx").exists():
        folder.mkdir(parents=True, exist_ok=True)
        measured(write, name, str(folder))
    return BenchModel(name, folder)


def write(name: str, folder: str) -> None:
    """Write the model's files; the .onnx last, so that its presence says that all is there."""
    import irc
    from irc.analysis.cost import cost
    from openset import torch_run

    module, example, calibration, validation = _text() if name == "minilm" else _image(name)
    graph = irc.load(module, example)
    names = [value.name for value in graph.inputs]
    for stem, inputs in (("calibration", calibration), ("validation", validation)):
        columns = zip(*(sample.values() for sample in inputs), strict=True)
        stacked: dict[str, Any] = dict(zip(names, map(np.stack, columns), strict=True))
        np.savez(Path(folder) / f"{stem}.npz", **stacked)
    run = torch_run(module)
    np.save(Path(folder) / "reference.npy", np.stack([run(sample)[0] for sample in validation]))
    (Path(folder) / "macs.txt").write_text(str(cost(graph).macs))
    irc.compile(graph).save(Path(folder) / "float.onnx")


Made = tuple[Any, Any, list[Inputs], list[Inputs]]


def _text() -> Made:
    import openset

    network = openset.load("minilm")
    return network.model, network.example_inputs, list(network.calibration(SAMPLES)), network.validation(TEXTS)


def _image(name: str) -> Made:
    """The module; inputs of all image models are the photographs as EfficientNet-Lite0 takes them."""
    import torch

    import openset
    from openset import effnet_lite0 as photographs

    calibration = list(photographs.calibration(SAMPLES))
    validation = [*photographs.validation(CROPS), *photographs.photographs()]
    if name == "effnet_lite0":
        module: Any = openset.load(name).model
    else:
        from bench_nets import settle

        module = settle(_builders()[name](), torch.from_numpy(np.concatenate([s["inputs"] for s in calibration])))
    return module, calibration[0]["inputs"], calibration, validation


def _builders() -> dict[str, Callable[[], Any]]:
    from bench_nets import mobilenet_v2, resnet

    return {
        "mobilenet_v2": mobilenet_v2,
        "resnet18": lambda: resnet((2, 2, 2, 2), 1),
        "resnet50": lambda: resnet((3, 4, 6, 3), 4),
    }
