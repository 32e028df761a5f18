"""From whatever the user has to a functional `ExportedProgram` in evaluation mode.

nn.Module, fx.GraphModule --torch.export--> ExportedProgram --functionalized if it writes into views--> …
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.export.dynamic_shapes import refine_dynamic_shapes_from_suggested_fixes
from torch.utils import _pytree as pytree

from irc.errors import ModelError

_FRESH = (  # composite operators that always give a new tensor; the other composite ones may give a view
    "conv", "linear", "batch_norm", "layer_norm", "group_norm", "instance_norm", "matmul", "einsum",
    "softmax", "log_softmax", "adaptive_avg_pool", "avg_pool", "max_pool", "lstm", "gru", "cat", "stack",
)  # fmt: skip


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and every module's own mode as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # it fuses a whole encoder layer into one private operator
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, mode in modes:
            module.training = mode


def export(model: torch.nn.Module, example_inputs: Any, dynamic_shapes: Any = None) -> torch.export.ExportedProgram:
    """Export a module in evaluation mode.

    Parameters
    ----------
    example_inputs : a tensor or array, a tuple in argument order, or a dict by argument name
    dynamic_shapes : as `torch.export.export` takes it, where a name may stand for a `Dim`; arguments left out of a
        dict are static

    Raises
    ------
    ModelError : torch.export cannot trace the model.
    """
    arguments, named = _call(model, example_inputs)
    shapes = _with_dims(_complete(model, arguments, named, dynamic_shapes))
    arguments, named = _enlarged(model, arguments, named, shapes)
    with evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _traced(model, arguments, named, shapes)
        except Exception as error:
            raise ModelError(f"torch.export cannot trace {type(model).__name__}: {_reason(error)}") from error


_RANGE = re.compile(r"\s*\w+ = Dim\('\w+', (min|max)=\d+(, max=\d+)?\)")


def _traced(
    model: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], shapes: Any
) -> torch.export.ExportedProgram:
    """The traced program.

    Where the sizes that torch finds valid are a range (a sequence no longer than the position embedding), the dynamic
    dimension is narrowed to it; what else torch cannot prove of it becomes an assertion in the program.
    """

    def trace(shapes: Any, deferred: bool = False) -> torch.export.ExportedProgram:
        return torch.export.export(
            model, arguments, named, dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=deferred
        )

    try:
        return trace(shapes)
    except Exception as error:
        if "Constraints violated" not in str(error):
            raise
        message = str(error).split("\n\n")[0]
        _, _, fixes = message.partition("Suggested fixes:\n")
        ranges = fixes.splitlines()
        try:
            if ranges and all(map(_RANGE.fullmatch, ranges)):
                return trace(refine_dynamic_shapes_from_suggested_fixes(message, shapes))
            return trace(shapes, deferred=True)
        except Exception:
            raise error from None


def _reason(error: Exception) -> str:
    """The first lines of torch's message, and what to do."""
    message = str(error).replace(' For more information, run with TORCH_LOGS="+dynamic".', "")
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    text = " ".join(lines[:4])[:600] or type(error).__name__
    if "marked" in text or "specialize" in text or "Constraints violated" in text:
        return f"{text}; leave that dimension out of dynamic_shapes, or take what fixes it out of forward"
    return (
        f"{text}; take data-dependent control flow out of forward (torch.export.draft_export lists it), "
        "or pass an ExportedProgram or an .onnx file"
    )


def _call(model: torch.nn.Module, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of the example call."""
    if example is None:
        raise ModelError(f"{type(model).__name__} is a module: give example_inputs to trace it with")
    example = pytree.tree_map(lambda x: torch.from_numpy(x) if isinstance(x, np.ndarray) else x, example)
    if isinstance(example, Mapping):
        parameters = inspect.signature(model.forward).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if takes_any or set(example) <= set(parameters):
            return (), dict(example)
        return (example,), {}
    return (tuple(example) if isinstance(example, tuple | list) else (example,)), {}


def _argument_names(model: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> list[str]:
    parameters = inspect.signature(model.forward).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*positional[: len(arguments)], *named]


def _complete(model: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], shapes: Any) -> Any:
    """The dynamic shapes with an entry for every argument."""
    names = _argument_names(model, arguments, named)
    if isinstance(shapes, Mapping) and set(shapes) <= set(names):
        return {name: shapes.get(name) for name in names}
    return shapes


def _with_dims(shapes: Any) -> Any:
    """The dynamic shapes with a `Dim` for each name, the same one for the same name."""
    dims: dict[str, Any] = {}

    def convert(entry: Any) -> Any:
        if isinstance(entry, str):
            if not entry.isidentifier():
                raise ModelError(f"dynamic_shapes: '{entry}' is no name for a dimension; use letters, digits and _")
            return dims.setdefault(entry, torch.export.Dim(entry))
        if isinstance(entry, Mapping):
            return {k: convert(v) for k, v in entry.items()}
        if isinstance(entry, list | tuple):
            return type(entry)(convert(v) for v in entry)
        return entry

    return convert(shapes)


def _enlarged(
    model: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], shapes: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example with its dynamic dimensions of size 1 doubled: torch takes a 1 for a constant."""
    names = _argument_names(model, arguments, named)
    entries: dict[str, Any] = {}
    if isinstance(shapes, Mapping):
        entries = dict(shapes)
    elif isinstance(shapes, list | tuple):
        entries = dict(zip(names, shapes, strict=False))

    def enlarge(name: str, x: Any) -> Any:
        entry = entries.get(name)
        if not isinstance(x, torch.Tensor) or entry is None:
            return x
        pairs = entry.items() if isinstance(entry, Mapping) else enumerate(entry)
        for axis, dim in pairs:
            fixed = dim is None or isinstance(dim, int) or dim is torch.export.Dim.STATIC
            if not fixed and x.shape[axis] == 1:
                x = torch.cat([x, x], axis)
        return x

    given = tuple(enlarge(name, x) for name, x in zip(names, arguments, strict=False))
    return given + arguments[len(given) :], {name: enlarge(name, x) for name, x in named.items()}


# ---- writes into tensors


def functional(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program itself if each write into a tensor can be read as its result, else one without writes."""
    graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    if all(_plain(node) for graph in graphs for node in graph.nodes if _writes(node)):
        return program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taken_apart: dict[torch._ops.OperatorBase, Any] = {}  # none
        written_out: torch.export.ExportedProgram = program.run_decompositions(taken_apart)
        return written_out


def _writes(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable:
        return False
    return "dropout" not in schema.name  # in evaluation mode it does nothing


def _plain(node: torch.fx.Node) -> bool:
    """Whether nothing but the node's own result sees its write: no view of what it writes into is around."""
    target = node.args[0]
    if not isinstance(target, torch.fx.Node) or not _fresh(target):
        return False
    return all(user is node or not _may_alias(user) for user in target.users)


def _fresh(node: torch.fx.Node) -> bool:
    """Whether the node gives a tensor of its own (an in-place one: whether what it wrote into was that)."""
    if node.op != "call_function":
        return False
    return _plain(node) if _writes(node) else not _may_alias(node)


def _may_alias(node: torch.fx.Node) -> bool:
    """Whether the node's result may share memory with an argument."""
    schema = getattr(node.target, "_schema", None)
    if node.op == "output":
        return False
    if schema is None:
        return True
    if any(r.alias_info is not None for r in schema.returns):
        return not schema.is_mutable
    if schema.name.split("::")[-1].startswith(_FRESH):
        return False
    name = f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"))
