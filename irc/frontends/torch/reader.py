"""`read_torch`: a PyTorch model as a Graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from irc.errors import ModelError
from irc.frontends.torch.builder import Builder
from irc.frontends.torch.export import export, functional
from irc.frontends.torch.names import output_names
from irc.frontends.torch.rules import Unsupported
from irc.graph import Graph


def is_torch_model(model: object) -> bool:
    """Whether `read_torch` takes the object."""
    return isinstance(model, torch.nn.Module | torch.export.ExportedProgram)


def read_torch(
    model: torch.nn.Module | torch.export.ExportedProgram,
    example_inputs: Any = None,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
) -> Graph:
    """Read a PyTorch model, in evaluation mode; the model itself stays as it is.

    Parameters
    ----------
    model : nn.Module or fx.GraphModule, traced with the example inputs; or an ExportedProgram
    example_inputs : a tensor or array, a tuple in argument order, or a dict by argument name
    dynamic_shapes : which dimensions may vary, as torch.export takes it; a name may stand for a `Dim`:
        `{"x": {0: "batch"}}`. They become symbols of that name.
    input_names : what to call the inputs; the names of forward's arguments if None

    Returns
    -------
    The graph. Constants have their names in the state dict and share its memory (the weight of a linear layer
    that is no Gemm stands transposed, as `name.T`); nodes are called after the user's layers.

    Raises
    ------
    ModelError : the model cannot be traced, or has an operator that neither irc nor torch.onnx can say in ONNX.
    """
    if isinstance(model, torch.export.ExportedProgram):
        program = model
    elif isinstance(model, torch.nn.Module):
        program = export(model, example_inputs, dynamic_shapes)
    else:
        raise ModelError(f"read_torch takes a module or an exported program, not a {type(model).__name__}")
    symbols = symbol_names(program)
    try:
        return Builder(functional(program), symbols, input_names).build()
    except Unsupported as error:
        return _by_way_of_onnx(program, input_names, str(error))


def symbol_names(program: torch.export.ExportedProgram) -> dict[str, str]:
    """The user's names for torch's symbols, by torch's name; without those that the user did not name."""
    names: dict[str, str] = {}
    fakes = [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"]
    environments = (getattr(getattr(fake, "fake_mode", None), "shape_env", None) for fake in fakes)
    environment = next((e for e in environments if e is not None), None)
    given = getattr(environment, "source_name_to_debug_name", {})
    for source, symbol in getattr(environment, "source_to_var", {}).items():
        name = given.get(source, "")
        kept = environment.replacements.get(symbol, symbol)  # type: ignore[union-attr]  # two equal sizes: one symbol
        if kept.is_Symbol and name.isidentifier() and names.get(str(kept), name) == name:
            names[str(kept)] = name
    return names if len(set(names.values())) == len(names) else {}


def _by_way_of_onnx(program: torch.export.ExportedProgram, input_names: Sequence[str] | None, reason: str) -> Graph:
    """The model through torch's own ONNX exporter and the ONNX reader.

    Raises
    ------
    ModelError : that way is closed too.
    """
    from irc.frontends.onnx import read_onnx  # needed for few models

    outputs = program.call_spec.out_spec
    count = len(program.graph_signature.user_outputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program,
                dynamo=True,
                optimize=False,
                verbose=False,
                input_names=input_names,
                output_names=output_names(outputs, count) if outputs is not None else None,
            )
            proto = made.model_proto  # type: ignore[union-attr]  # None only when writing to a file
    except Exception as error:
        shown = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"irc has {reason}, and torch.onnx.export, which would do instead, fails: {shown[0]}; "
            "replace that operation, or pass an .onnx file"
        ) from error
    graph = read_onnx(proto)
    graph.info.notes += (f"read through torch.onnx.export as a whole, because irc has {reason}",)
    return graph
