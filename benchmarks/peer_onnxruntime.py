"""onnxruntime as a peer: float32; int8 by its own `quantize_static` (U8S8, per channel, QDQ) and `quantize_dynamic`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from bench_models import BenchModel
from measure import has_vnni
from peer_base import Loaded, Peer, quietly

MADE_BY = ("onnxruntime", "onnx", Path(__file__))
RUNTIME = "onnxruntime"


def copy_float(model: BenchModel, folder: Path) -> Path:
    """The float file as it is."""
    return Path(shutil.copy(model.float_path, folder / "model.onnx"))


def quantize_static(model: BenchModel, folder: Path, reduce_range: bool = False) -> Path:
    """Quantize as the documentation recommends: preparation, then QDQ, min-max, uint8 activations, int8 weights.

    reduce_range : 7-bit weights, its remedy where the processor adds products in 16 bits
    """
    from onnxruntime import quantization as ort

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.samples = model.calibration()

        def get_next(self) -> Any:
            return next(self.samples, None)

    quietly(
        ort.quantize_static,
        str(_prepared(model, folder)),
        str(folder / "model.onnx"),
        Reader(),
        quant_format=ort.QuantFormat.QDQ,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
        per_channel=True,
        reduce_range=reduce_range,
    )
    return _only_model(folder)


def quantize_dynamic(model: BenchModel, folder: Path) -> Path:
    """int8 weights per channel; the ranges of activations are taken anew in each run."""
    from onnxruntime import quantization as ort

    prepared = _prepared(model, folder)
    quietly(ort.quantize_dynamic, str(prepared), str(folder / "model.onnx"), per_channel=True)
    return _only_model(folder)


def _prepared(model: BenchModel, folder: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quietly(quant_pre_process, str(model.float_path), str(prepared))
    return prepared


def _only_model(folder: Path) -> Path:
    (folder / "prepared.onnx").unlink()
    return folder / "model.onnx"


def load(path: Path, threads: int) -> Loaded:
    """A session with all graph optimizations, which are the default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Loaded(lambda inputs: list(session.run(None, inputs)))


def only_without_vnni(model: BenchModel) -> str:
    """Where products are added in 32 bits, seven bits are only less exact."""
    return "7-bit weights help only where the processor lacks VNNI" if has_vnni() else ""


def only_text(model: BenchModel) -> str:
    """Dynamic quantization is for matrix products; its convolutions are slower than float."""
    return "" if model.text else "recommended for transformers only"


quantize_static_7bit = partial(quantize_static, reduce_range=True)

PEERS = (
    Peer("ort-fp32", "float", copy_float, MADE_BY, RUNTIME, load),
    Peer("ort-u8s8", "ort-u8s8", quantize_static, MADE_BY, RUNTIME, load),
    Peer("ort-u8s7", "ort-u8s7", quantize_static_7bit, MADE_BY, RUNTIME, load, only_without_vnni),
    Peer("ort-dynamic", "ort-dynamic", quantize_dynamic, MADE_BY, RUNTIME, load, only_text),
)
