"""Real models with labelled data, all from installed packages: what the tests, benchmarks and examples compress.

    openset.load("effnet_lite0") -> OpenModel(name, model, example_inputs, evaluate, calibration, validation)

| name | what | score of the unmodified model |
|---|---|---|
| effnet_lite0 | torch CNN, ImageNet | top-1 0.90, top-5 0.95 on 20 photographs |
| mnist_cnn | torch CNN, trained here once | top-1 0.99 on 1,000 digits |
| minilm | torch BERT, 6 layers | Pearson 0.654 with human similarity, 1,225 pairs |
| silero_vad | ONNX, If and LSTM | AUC 0.997 on 630 frames |
| mtcnn_pnet, mtcnn_rnet, mtcnn_onet | torch, PReLU | accuracy 0.99, 1, 1 on 160 crops |
| basic_pitch | ONNX by tf2onnx | 48 of 48 notes |
| light_* | ONNX, nine topologies | difference from the shipped output |
"""

from __future__ import annotations

import importlib

from openset.common import Inputs, OpenModel, Run, onnx_run, torch_run
from openset.light import TOPOLOGIES

__all__ = ["LIGHT", "MTCNN", "NAMES", "REAL", "Inputs", "OpenModel", "Run", "load", "onnx_run", "torch_run"]

MTCNN = ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")
REAL = ("effnet_lite0", "mnist_cnn", "minilm", "silero_vad", "mtcnn_rnet", "basic_pitch")
LIGHT = tuple(f"light_{topology}" for topology in TOPOLOGIES)
NAMES = tuple(dict.fromkeys((*REAL, *MTCNN, *LIGHT)))


def load(name: str) -> OpenModel:
    """Load one of `NAMES`; nothing is downloaded.

    Raises
    ------
    KeyError
        for an unknown name
    ImportError
        when the package that carries the model is not installed
    """
    if name not in NAMES:
        raise KeyError(f"no open model {name!r}; there are {', '.join(NAMES)}")
    family, _, member = name.partition("_")
    if family in ("mtcnn", "light"):
        loaded: OpenModel = importlib.import_module(f"openset.{family}").load(member)
    else:
        loaded = importlib.import_module(f"openset.{name}").load()
    return loaded
