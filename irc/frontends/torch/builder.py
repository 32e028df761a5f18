"""From an exported program to a Graph, operator by operator.

placeholder -> input, or constant under its name in the state dict
operator    -> what its rule writes
output      -> graph output
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind

from irc.errors import GraphError, ModelError
from irc.frontends.torch.emitter import Emitter
from irc.frontends.torch.names import LayerNames, layer_of, output_names
from irc.frontends.torch.onnx_ops import OPSET
from irc.frontends.torch.rules import Unsupported
from irc.frontends.torch.symbols import Symbols
from irc.frontends.torch.table import rule_for
from irc.frontends.torch.weights import weight_of
from irc.graph import Graph, Origin, Value
from irc.types import DType, TensorType
from irc.unused import remove_unused

_WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
_ASSERTIONS = ("aten._assert_", "aten.sym_constrain_range")  # about the inputs; ONNX has none
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)


class Builder:
    """Builds the Graph of one exported program.

    Parameters
    ----------
    program : functional, in evaluation mode
    symbols : the names of torch's symbols, by torch's name
    input_names : what to call the inputs; the names of forward's arguments if None
    """

    def __init__(
        self, program: torch.export.ExportedProgram, symbols: dict[str, str], input_names: Sequence[str] | None
    ) -> None:
        self._program = program
        self._symbols = Symbols(symbols)
        self._input_names = input_names
        self._graph = Graph()
        self._graph.info = replace(self._graph.info, opsets={"": OPSET}, producer="pytorch")
        self._values: dict[torch.fx.Node, Any] = {}
        self._tied: dict[Any, Value] = {}
        self._names = LayerNames(n for n in _operators(program.graph_module) if _gives_tensors(n))

    def build(self) -> Graph:
        """The graph.

        Raises
        ------
        Unsupported : an operator, or one with these arguments, has no rule; the text names it.
        """
        missing = Counter(str(n.target) for n in _operators(self._program.graph_module) if not _known(n))
        if missing:
            raise Unsupported("no rule for " + ", ".join(f"{name} (x{count})" for name, count in missing.items()))
        self._inputs()
        self._weights()
        reserved = self._reserve_output_names()
        self._run(self._program.graph_module)
        self._outputs(reserved)
        remove_unused(self._graph)
        return self._graph

    # ---- the ends

    def _specs(self) -> list[tuple[InputSpec, torch.fx.Node]]:
        placeholders = [n for n in self._program.graph.nodes if n.op == "placeholder"]
        return list(zip(self._program.graph_signature.input_specs, placeholders, strict=True))

    def _inputs(self) -> None:
        used = [(s, n) for s, n in self._specs() if s.kind is InputKind.USER_INPUT]
        nodes = [n for s, n in used if not isinstance(s.arg, ConstantArgument)]
        names = list(self._input_names) if self._input_names is not None else [n.name for n in nodes]
        if len(names) != len(nodes):
            shown = ", ".join(n.name for n in nodes)
            raise ModelError(f"input_names gives {len(names)} names; the model has {len(nodes)} inputs: {shown}")
        for name, node in zip(names, nodes, strict=True):
            fake = node.meta["val"]
            scalar = isinstance(fake, torch.SymInt)
            value = self._graph.add_input(name, TensorType(DType.I64, ()) if scalar else self._symbols.type(fake))
            self._symbols.add_source(value, fake)
            self._values[node] = value
        for spec, node in used:
            if isinstance(spec.arg, ConstantArgument):
                self._values[node] = spec.arg.value

    def _weights(self) -> None:
        """Constants for the weights that are used: one for all names of the same memory, under the first of them."""
        first: dict[Any, str] = {}
        held = [(s, n, self._tensor(s)) for s, n in self._specs() if s.kind is not InputKind.USER_INPUT]
        for spec, node, tensor in held:
            name = first.setdefault(_memory(tensor), str(spec.target))
            if node.users:
                self._values[node] = self._constant(tensor, name)

    def _tensor(self, spec: InputSpec) -> torch.Tensor:
        if spec.kind not in _WEIGHTS or spec.target is None:
            raise Unsupported(f"an input of kind {spec.kind.name}")
        held = self._program.state_dict.get(spec.target)
        tensor = self._program.constants[spec.target] if held is None else held
        if not isinstance(tensor, torch.Tensor):
            raise Unsupported(f"the object '{spec.target}', which is no tensor")
        return tensor

    def _constant(self, tensor: torch.Tensor, name: str) -> Value:
        """The constant of a tensor, one for the same memory."""
        place = _memory(tensor)
        if place not in self._tied:
            self._tied[place] = self._graph.add_constant(weight_of(tensor), name)
        return self._tied[place]

    def _reserve_output_names(self) -> list[str]:
        specs = self._program.graph_signature.output_specs
        kept = [s for s in specs if s.kind is OutputKind.USER_OUTPUT]
        spec = self._program.call_spec.out_spec
        names = [f"output_{i}" for i in range(len(kept))] if spec is None else output_names(spec, len(kept))
        lost = [s.target for s in specs if s.kind is not OutputKind.USER_OUTPUT and s.target is not None]
        if lost:
            note = f"forward also writes into {', '.join(lost)}; what it writes is not kept"
            self._graph.info.notes += (note,)
        return [self._graph.unique_name(n) for n in names]

    def _outputs(self, names: Sequence[str]) -> None:
        specs = self._program.graph_signature.output_specs
        given = next(n for n in self._program.graph.nodes if n.op == "output").args[0]
        kept = [a for s, a in zip(specs, given, strict=True) if s.kind is OutputKind.USER_OUTPUT]
        for name, argument in zip(names, kept, strict=True):
            value = self._argument(argument)
            if isinstance(value, str | int | float):
                to = DType.F32 if isinstance(value, float) else DType.I64
                value = self._emitter(name, Origin(), ()).tensor(value, to)
            if isinstance(value, Value):
                self._graph.add_output(value, name)

    # ---- the operators

    def _run(self, module: torch.fx.GraphModule) -> Any:
        """Write all operators of a module; its results."""
        for node in module.graph.nodes:
            if node.op == "call_function":
                self._values[node] = self._call(module, node)
            elif node.op == "get_attr":
                held = operator.attrgetter(str(node.target))(module)
                self._values[node] = held if isinstance(held, torch.fx.GraphModule) else self._constant(held, node.name)
            elif node.op == "output":
                return self._argument(node.args[0])
        return None

    def _call(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> Any:
        if node.target is operator.getitem:
            source, index = node.args
            return self._values[source][index]  # type: ignore[index]  # fx types arguments loosely
        if _is_inlined(node):
            return self._inline(node)
        if not _needs_rule(node):
            return None  # a size is computed from the inputs' shapes by whoever needs it
        rule = rule_for(node.target)
        assert rule is not None  # `build` has looked
        arguments = [self._argument(a) for a in node.args]
        named = {k: self._argument(v) for k, v in node.kwargs.items()}
        name = self._names.of(node)
        types = tuple(self._symbols.type(v) for v in _results(node) if isinstance(v, torch.Tensor))
        emitter = self._emitter(name, Origin(layer_of(node)), types)
        try:
            result = rule(emitter, *arguments, **named)
            return self._typed(node, emitter, result)
        except Unsupported as error:
            raise Unsupported(f"{node.target} ('{name}'): {error}") from None
        except (GraphError, TypeError) as error:  # a form of the operator that the rule does not foresee
            raise Unsupported(f"{node.target} ('{name}'): {error}") from error

    def _emitter(self, name: str, origin: Origin, types: tuple[TensorType, ...]) -> Emitter:
        return Emitter(self._graph, self._symbols, name, origin, types)

    def _inline(self, node: torch.fx.Node) -> Any:
        """What a region of the model gives, a region that differs by the gradient mode alone."""
        at = next(i for i, a in enumerate(node.args) if isinstance(a, torch.fx.Node) and a.op == "get_attr")
        body = self._values[node.args[at]]  # type: ignore[index]  # it is a node, see above
        inner = [n for n in body.graph.nodes if n.op == "placeholder"]
        for placeholder, argument in zip(inner, node.args[at + 1 :], strict=True):
            self._values[placeholder] = self._argument(argument)
        return self._run(body)

    def _argument(self, argument: Any) -> Any:
        """An argument as rules take it: tensors are values, sizes ints or names."""
        if isinstance(argument, torch.fx.Node):
            fake = argument.meta.get("val")
            if isinstance(fake, torch.SymInt):
                return self._symbols.size(fake)
            if isinstance(fake, torch.SymFloat | torch.SymBool):
                raise Unsupported(f"the number {fake}, which is computed from sizes")
            if argument not in self._values:
                raise Unsupported(f"'{argument.name}', which has no value")
            return self._values[argument]
        if isinstance(argument, list | tuple):
            return [self._argument(a) for a in argument]
        return argument

    def _typed(self, node: torch.fx.Node, emitter: Emitter, result: Any) -> Any:
        """The rule's result with the types that torch gives it; `Unsupported` if they contradict irc's."""
        fakes = _results(node)
        values = list(result) if isinstance(result, list | tuple) else [result]
        if len(values) < len(fakes):
            raise Unsupported(f"{len(values)} of {len(fakes)} results")
        for k, (value, fake) in enumerate(zip(values, fakes, strict=False)):
            if not isinstance(value, Value) or not isinstance(fake, torch.Tensor):
                continue
            wanted = self._symbols.type(fake)
            if str(node.target).split(".")[-2].endswith("_"):
                values[k] = value = emitter.cast(value, wanted.dtype)  # written into a tensor that keeps its type
            if not _agree(value.tensor_type, wanted):
                raise Unsupported(f"the rule gives {value.type} where torch gives {wanted}")
            if value.producer is not None and value.type != wanted:
                value.type = wanted
        return values if isinstance(result, list | tuple) else values[0]


def _memory(tensor: torch.Tensor) -> Any:
    """What two tensors share if and only if they are the same elements."""
    if tensor.numel() == 0 or tensor.device.type == "meta":
        return id(tensor)
    return tensor.data_ptr(), tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride()


def _operators(module: torch.fx.GraphModule) -> list[torch.fx.Node]:
    """The operators of a module and of the regions within it."""
    graphs = [m.graph for m in module.modules() if isinstance(m, torch.fx.GraphModule)]
    return [n for g in graphs for n in g.nodes if n.op == "call_function"]


def _results(node: torch.fx.Node) -> list[Any]:
    fake = node.meta.get("val")
    return list(fake) if isinstance(fake, list | tuple) else [fake]


def _gives_tensors(node: torch.fx.Node) -> bool:
    return node.target is not operator.getitem and any(isinstance(v, torch.Tensor) for v in _results(node))


def _needs_rule(node: torch.fx.Node) -> bool:
    """Whether the node is more than arithmetic of sizes, or an assertion about them."""
    return not isinstance(node.meta.get("val"), _SYMBOLIC) and not str(node.target).startswith(_ASSERTIONS)


def _is_inlined(node: torch.fx.Node) -> bool:
    name = str(node.target)
    return name == "wrap_with_set_grad_enabled" or (name == "wrap_with_autocast" and node.args[2] is False)


def _known(node: torch.fx.Node) -> bool:
    if node.target is operator.getitem or _is_inlined(node) or not _needs_rule(node):
        return True
    return rule_for(node.target) is not None


def _agree(have: TensorType | None, want: TensorType) -> bool:
    """Whether the two can be types of one tensor; what is not known contradicts nothing."""
    if have is None:
        return True
    if have.dtype is not want.dtype:
        return False
    if have.shape is None or want.shape is None:
        return True
    return len(have.shape) == len(want.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(have.shape, want.shape, strict=True)
    )
