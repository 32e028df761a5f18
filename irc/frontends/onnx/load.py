"""Read an ONNX model: parse, take the weights out, raise the opset, infer types, build the Graph.

    path | ModelProto  ->  slim ModelProto + arrays  ->  opset >= 21  ->  typed  ->  Graph

The weights are taken out first, so that onnx's converter and shape inference, which copy the model, copy only its
nodes, and so that external data stays on disk until someone needs it.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from irc.errors import ModelError
from irc.frontends.onnx.opset import all_nodes, raise_opset
from irc.frontends.onnx.packed import unpack
from irc.graph import Graph, ModelInfo
from irc.proto.reader import GraphReader
from irc.proto.tensors import array_of_tensor
from irc.types import Array

_SMALL = 1024  # elements; a constant up to this may be a shape, and stays where shape inference sees it


def read_onnx(source: str | Path | ModelProto) -> Graph:
    """The Graph of an ONNX model.

    Parameters
    ----------
    source : path of a model file (external data beside it), or a ModelProto

    Raises
    ------
    ModelError : the file is missing, truncated or not a model; names are undefined or defined twice; nodes form a
        cycle; external data is missing, too short or outside the model's folder.
    """
    if isinstance(source, ModelProto):
        model, folder, where = source, None, "the ModelProto"
    else:
        path = Path(source)
        model, folder, where = _parse(path), path.resolve().parent, f"'{path}'"
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{where} holds no graph; is it an ONNX model?")
    try:
        return _read(model, folder)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def _parse(path: Path) -> ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise ModelError(f"there is no file '{path}'") from None
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except (DecodeError, ValueError) as error:
        raise ModelError(f"'{path}' is not an ONNX model, or a truncated one ({error})") from None


def _read(model: ModelProto, folder: Path | None) -> Graph:
    slim, arrays = without_weights(model, folder)
    if any(not v.type.tensor_type.HasField("shape") for v in slim.graph.output if v.type.HasField("tensor_type")):
        slim = _with_types(slim)  # onnx's checker wants the rank of every output
    _check(slim)
    _resolve_overloads(slim)
    slim, notes = raise_opset(slim)
    graph = graph_of_slim(slim, arrays, folder)
    graph.info.notes = notes
    unpack(graph)
    return graph


def graph_of_slim(slim: ModelProto, arrays: dict[str, Array], folder: Path | None) -> Graph:
    """The Graph of a model whose large initializers were taken out into `arrays`, types inferred."""
    slim = _with_types(slim)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in slim.opset_import}
    graph = Graph(slim.graph.name or "main")
    graph.info = ModelInfo(
        opsets=opsets or {"": 1},
        ir_version=slim.ir_version,
        metadata={p.key: p.value for p in slim.metadata_props},
        doc=slim.doc_string,
        producer=slim.producer_name,
        producer_version=slim.producer_version,
        domain=slim.domain,
        model_version=slim.model_version,
        functions=tuple(f.SerializeToString(deterministic=True) for f in slim.functions),
    )
    return GraphReader(opsets, arrays, folder).read(slim.graph, graph)


def without_weights(model: ModelProto, folder: Path | None) -> tuple[ModelProto, dict[str, Array]]:
    """A copy of the model in which large initializers are inputs, and the arrays of those."""
    slim = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy_field(slim, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name not in ("initializer", "input"):
            _copy_field(slim.graph, field.name, value)
    constants = _listed_constants(model)
    slim.graph.input.extend(v for v in model.graph.input if v.name not in constants)
    slim.ir_version = max(model.ir_version, 4)
    arrays: dict[str, Array] = {}
    inputs = {v.name for v in slim.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            raise ModelError(f"two initializers are named '{tensor.name}'")
        if _elements(tensor) <= _SMALL or tensor.name in inputs:
            kept = slim.graph.initializer.add()
            if tensor.data_location == TensorProto.EXTERNAL:
                kept.CopyFrom(onnx.numpy_helper.from_array(array_of_tensor(tensor, folder), tensor.name))
            else:
                kept.CopyFrom(tensor)
            continue
        arrays[tensor.name] = array_of_tensor(tensor, folder)
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        slim.graph.input.append(info)
    return slim, arrays


def _listed_constants(model: ModelProto) -> set[str]:
    """The initializers that are constants although the model lists them as inputs.

    Before IR version 4 every initializer had to be an input too; since then that makes it a default. Exporters that
    still list them all do so out of habit, not to let callers replace every weight.
    """
    initializers, inputs = {t.name for t in model.graph.initializer}, {v.name for v in model.graph.input}
    habit = len(initializers) > 1 and initializers < inputs
    return initializers if model.ir_version < 4 or habit else set()


def _copy_field(proto: object, name: str, value: object) -> None:
    target = getattr(proto, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(proto, name, value)


def _elements(tensor: TensorProto) -> int:
    count = 1
    for dim in tensor.dims:
        if dim < 0:
            raise ModelError(f"initializer '{tensor.name}' has a negative dimension")
        count *= dim
    return count


def _check(slim: ModelProto) -> None:
    """Have onnx check the model; what its checker says is the error."""
    try:
        onnx.checker.check_model(slim)
    except onnx.checker.ValidationError as error:
        text = str(error).strip().splitlines()[0]
        if "topologically sorted" in text or "SSA" in text:
            return  # the reader sorts what can be sorted, and says better what cannot
        if "deprecated" in text:
            return  # runtimes still run it
        if text == "Field 'shape' of 'type' is required but missing.":
            return  # runtimes take inputs and outputs of any rank
        raise ModelError(f"not a valid ONNX model: {text}") from None


def _resolve_overloads(slim: ModelProto) -> None:
    """Give each overload of a function a name of its own, and its callers that name: ops are told by name alone."""
    for node in (*all_nodes(slim.graph.node), *(n for f in slim.functions for n in all_nodes(f.node))):
        if node.overload:
            node.op_type, node.overload = f"{node.op_type}.{node.overload}", ""
    for function in slim.functions:
        if function.overload:
            function.name, function.overload = f"{function.name}.{function.overload}", ""


def _with_types(slim: ModelProto) -> ModelProto:
    """The model with what onnx's shape inference knows; the model as it is where inference fails."""
    try:
        return onnx.shape_inference.infer_shapes(slim, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return slim
