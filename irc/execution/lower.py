"""Lower a Graph to a `torch.fx.GraphModule`.

node      ->  call_module, one module a node, at the path of the node's name ("layer1.0.conv1")
constant  ->  get_attr, a parameter or buffer at the path of its name ("layer1.0.conv1.weight")
"""

from __future__ import annotations

import keyword
import operator
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from irc.execution.convert import to_torch
from irc.execution.modules import IfModule, OnnxModule, OpModule
from irc.graph import Graph, Node, Value
from irc.ops.onnx_op import OnnxOp

# inputs that are settings or statistics, not weights, although they are floats
_NOT_TRAINED = {
    ("BatchNormalization", 3),
    ("BatchNormalization", 4),
    ("Clip", 1),
    ("Clip", 2),
    ("Pad", 2),
    ("Resize", 1),
    ("Resize", 2),
    ("QuantizeLinear", 1),
    ("DequantizeLinear", 1),
}
_BRANCHES = ("then_branch", "else_branch")
_RESERVED = frozenset(dir(nn.Module())) | {"self"}  # names that every module has a use for


@dataclass
class Lowered:
    """The module, and where in it the graph's values are.

    weights : path of the parameter or buffer of each constant
    modules : path of the module of each node
    values : the value that each fx node computes, by the fx node's name; one table per GraphModule (bodies have theirs)
    bodies : the branches of Ifs, by the paths of their modules
    """

    module: fx.GraphModule
    weights: dict[Value, str]
    modules: dict[Node, str]
    values: dict[str, Value]
    bodies: dict[str, Lowered]


def lower(
    graph: Graph, *, trainable: bool = False, captures: Sequence[Value] = (), taps: Sequence[Value] = ()
) -> Lowered:
    """The graph as a GraphModule that takes its inputs (and then `captures`) and returns a tuple of its outputs.

    trainable : weights are copies, as parameters that ask for gradients; otherwise buffers on the constants' own memory
    taps : values of the graph that it returns as well, behind the outputs
    """
    return _Lowering(graph, trainable, captures).lowered(taps)


class _Lowering:
    def __init__(self, graph: Graph, trainable: bool, captures: Sequence[Value]) -> None:
        self.trainable = trainable
        self.root = nn.Module()
        self.fx = fx.Graph()
        self.graph = graph
        self.at: dict[Value, fx.Node] = {}
        self.weights: dict[Value, str] = {}
        self.modules: dict[Node, str] = {}
        self.values: dict[str, Value] = {}
        self.bodies: dict[str, Lowered] = {}
        parameters: set[str] = set()
        for value in (*graph.inputs, *captures):
            placeholder = self.fx.placeholder(_parameter(value.name, parameters))
            if value.graph is graph:
                self._set(value, placeholder)
            else:
                self.at[value] = placeholder  # whoever watches the values has seen it outside

    def lowered(self, taps: Sequence[Value]) -> Lowered:
        for node in self.graph:
            self._node(node)
        for value in self.graph.constants:
            if value.use_count:
                self._constant(value)
        self.fx.output(tuple(self._get(v) for v in (*self.graph.outputs, *taps)))
        self._hoist_constants()
        module = fx.GraphModule(self.root, self.fx)
        module.eval()
        return Lowered(module, self.weights, self.modules, self.values, self.bodies)

    def _set(self, value: Value, node: fx.Node) -> None:
        self.at[value] = node
        self.values[node.name] = value

    def _get(self, value: Value | None) -> fx.Node | None:
        if value is not None and value not in self.at and value.is_constant:
            self._constant(value)
        return None if value is None else self.at[value]

    def _constant(self, value: Value) -> None:
        if value in self.at:
            return
        assert value.data is not None
        trained = self.trainable and is_trainable(value)
        data: Any = to_torch(value.data, copy=trained)
        if trained:
            data = nn.Parameter(data)
        path = _place(self.root, value.name, data)
        self.weights[value] = path
        self._set(value, self.fx.get_attr(path))

    def _hoist_constants(self) -> None:
        """Put the get_attr nodes first, where an fx reader expects them."""
        first = next((n for n in self.fx.nodes if n.op not in ("placeholder", "get_attr")), None)
        for node in list(self.fx.nodes):
            if node.op == "get_attr" and first is not None:
                first.prepend(node)

    def _node(self, node: Node) -> None:
        reads: list[Value | None] = list(node.inputs)
        module: nn.Module
        branches: list[Lowered] = []
        if isinstance(node.op, OnnxOp) and node.op.name == "If" and not node.op.domain:
            captures = node.captures()
            branches = [lower(node.bodies[key], trainable=self.trainable, captures=captures) for key in _BRANCHES]
            module = IfModule(branches[0].module, branches[1].module, len(node.outputs))
            reads += captures
        elif isinstance(node.op, OnnxOp):
            module = OnnxModule(node)
            reads = list(module.node.reads)
        else:
            module = OpModule(node)
        path = self.modules[node] = _place(self.root, node.name, module)
        for key, branch in zip(_BRANCHES, branches, strict=False):
            self.bodies[f"{path}.{key}"] = branch
            self.weights.update({v: f"{path}.{key}.{p}" for v, p in branch.weights.items()})
            self.modules.update({n: f"{path}.{key}.{p}" for n, p in branch.modules.items()})
        call = self.fx.call_module(path, tuple(self._get(v) for v in reads))
        if len(node.outputs) == 1:
            self._set(node.output, call)
            return
        for value in node.outputs:
            if not value.is_omitted:
                self._set(value, self.fx.call_function(operator.getitem, (call, value.index)))


def is_trainable(value: Value) -> bool:
    """Whether a constant is a weight: a float tensor, not a scalar setting, and not a statistic."""
    type = value.tensor_type
    if type is None or type.dtype.text not in ("f16", "f32", "f64", "bf16"):
        return False
    uses = {(n.op.name, i) for n, i in value.uses if isinstance(n, Node)}
    if ("FakeQuant", 1) in uses:
        return True
    return type.rank != 0 and not uses & _NOT_TRAINED


def _parameter(name: str, taken: set[str]) -> str:
    """A name for a parameter of the generated `forward`, which is Python: an identifier that no other parameter has."""
    cleaned = re.sub(r"[^0-9a-zA-Z_]", "_", name)
    if not cleaned.isidentifier() or keyword.iskeyword(cleaned) or cleaned == "self":
        cleaned = f"input_{cleaned}"
    while cleaned in taken:
        cleaned += "_"
    taken.add(cleaned)
    return cleaned


def _place(root: nn.Module, name: str, what: Any) -> str:
    """Put a module, parameter, tensor or plain object into the tree at the path that `name` spells; the path taken."""
    *folders, last = [_segment(s) for s in re.split(r"[./]+", name) if s] or ["_"]
    module = root
    for index, folder in enumerate(folders):
        inner = getattr(module, folder, None)
        if inner is None:
            inner = nn.Module()
            module.add_module(folder, inner)
        if not isinstance(inner, nn.Module):
            return _place(root, "_".join([*folders, last]), what)
        module = inner
        folders[index] = folder
    leaf, count = last, 0
    while hasattr(module, leaf):
        count += 1
        leaf = f"{last}_{count}"
    if isinstance(what, nn.Module):
        module.add_module(leaf, what)
    elif isinstance(what, nn.Parameter):
        module.register_parameter(leaf, what)
    elif isinstance(what, torch.Tensor):
        module.register_buffer(leaf, what)
    else:
        setattr(module, leaf, what)
    return ".".join([*folders, leaf])


def _segment(text: str) -> str:
    """One step of a path: a name that is no attribute of every module and no keyword of Python."""
    cleaned = re.sub(r"\W", "_", unicodedata.normalize("NFKC", text))  # as Python reads an identifier
    return f"{cleaned}_" if keyword.iskeyword(cleaned) or cleaned in _RESERVED else cleaned
