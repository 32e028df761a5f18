"""OpenVINO as a peer: at its default precision, int8 by nncf, and running onnxruntime's int8 files.

Its default precision on processors that have it is bfloat16, so what the compiled model says of it is reported.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench_models import SAMPLES, BenchModel, Inputs
from peer_base import Loaded, Peer, quietly
from peer_onnxruntime import MADE_BY as QDQ_MADE_BY
from peer_onnxruntime import only_without_vnni, quantize_static, quantize_static_7bit

MADE_BY = ("openvino", Path(__file__))
RUNTIME = "openvino"
PRECISION = "INFERENCE_PRECISION_HINT"


def convert_float(model: BenchModel, folder: Path) -> Path:
    """OpenVINO's own format, weights kept in float32."""
    return _save(_converted(model), folder)


def quantize_nncf(model: BenchModel, folder: Path) -> Path:
    """nncf's post-training quantization, with `model_type` for transformers.

    It is given what `convert_model` makes: `read_model` leaves depthwise weights unfolded, and they would stay float.
    """
    _no_telemetry()
    nncf: Any = quietly(__import__, "nncf")
    options = {"model_type": nncf.ModelType.TRANSFORMER} if model.text else {}
    data = nncf.Dataset(list(model.calibration()))
    return _save(quietly(nncf.quantize, _converted(model), data, subset_size=SAMPLES, **options), folder)


def _converted(model: BenchModel) -> Any:
    _no_telemetry()
    import openvino

    return quietly(openvino.convert_model, str(model.float_path))


def _save(converted: Any, folder: Path) -> Path:
    import openvino

    openvino.save_model(converted, str(folder / "model.xml"), compress_to_fp16=False)
    return folder / "model.xml"


def _no_telemetry() -> None:
    """Both tools report what they do to their makers unless told that this is CI."""
    os.environ["CI"] = "true"


def load(path: Path, threads: int) -> Loaded:
    """One stream, tuned for latency; inputs and outputs are shared with numpy, which is its fastest way."""
    import openvino

    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    compiled = core.compile_model(str(path), "CPU", options)
    request = compiled.create_infer_request()

    def run(inputs: Inputs) -> list[Any]:
        return list(request.infer(inputs, share_inputs=True, share_outputs=True).values())

    return Loaded(run, {"precision": compiled.get_property(PRECISION).to_string()})


# OpenVINO reads .onnx, so of onnxruntime's int8 files it runs the very same
PEERS = (
    Peer("ov-default", "ov-float", convert_float, MADE_BY, RUNTIME, load),
    Peer("ov-int8", "ov-int8", quantize_nncf, (*MADE_BY, "nncf"), RUNTIME, load),
    Peer("ov-qdq", "ort-u8s8", quantize_static, QDQ_MADE_BY, RUNTIME, load),
    Peer("ov-qdq-s7", "ort-u8s7", quantize_static_7bit, QDQ_MADE_BY, RUNTIME, load, only_without_vnni),
)
