"""Write a model: one file, or a file and its weights beside it when it is too large for a protobuf."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from onnx import ModelProto, TensorProto

from irc.atomic import atomic_file, atomic_files
from irc.graph import Graph
from irc.proto.tensors import packed_bytes, tensor_of_array
from irc.proto.writer import model_proto
from irc.types import Array, DType

EXTERNAL_PAST = 1_500_000_000  # bytes of weights; a protobuf cannot be larger than 2 GiB
_ALIGNMENT = 4096  # of each tensor in the data file, so that it can be mapped
_INLINE = 1024  # bytes; smaller tensors stay in the model, where shape inference needs them


def save_graph(graph: Graph, path: Path, *, external_past: int = EXTERNAL_PAST) -> None:
    """Write a graph of ONNX ops as a file, its weights in `path`.data if they take more than `external_past` bytes.

    Raises
    ------
    OutputError : the folder does not exist or cannot be written to.
    """
    size = sum(t.bytes() for v in graph.constants if (t := v.tensor_type) is not None)
    if size <= external_past:
        save_model(model_proto(graph), path)
        return
    data_path = external_data(path)
    with atomic_files(data_path, path) as (data, file):
        model = model_proto(graph, lambda array, name: _external(array, name, data, data_path.name))
        file.write(model.SerializeToString(deterministic=True))


def external_data(path: Path) -> Path:
    """Where the weights of a model lie that are too many for its file."""
    return path.with_name(path.name + ".data")


def save_model(model: ModelProto, path: Path) -> None:
    """Write a model proto; the same model gives the same bytes."""
    with atomic_file(path) as file:
        file.write(model.SerializeToString(deterministic=True))


def _external(array: Array, name: str, data: IO[bytes], location: str) -> TensorProto:
    """Append the array to the data file; a tensor that says where it is."""
    dtype = DType.of_numpy(array.dtype)
    if dtype is DType.STRING or array.nbytes < _INLINE:
        return tensor_of_array(array, name)
    data.write(b"\0" * (-data.tell() % _ALIGNMENT))
    offset, packed = data.tell(), packed_bytes(array)
    for start in range(0, len(packed), 1 << 26):
        data.write(packed[start : start + (1 << 26)])
    tensor = TensorProto(name=name, data_type=dtype.onnx_type, dims=array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(len(packed)))):
        tensor.external_data.add(key=key, value=value)
    return tensor


