"""`Executable`: a graph that runs, is watched, and trains.

graph --Executable--> module (torch.fx.GraphModule) --write_back--> graph
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from irc.errors import DataError, ExecutionError
from irc.execution.convert import to_numpy, to_torch
from irc.execution.lower import Lowered, lower
from irc.execution.modules import IfModule
from irc.graph import Graph, Node, Value
from irc.ops.tensors import torch_dtype
from irc.types import Array, TensorType

Observer = Callable[[Value, torch.Tensor], None]


class Executable:
    """A root graph, lowered once. Editing the graph afterwards does not change it; make another.

    module : the `torch.fx.GraphModule`; it takes the inputs in order and returns a tuple of the outputs and the taps
    trainable : its weights are parameters of their own, to be trained by ordinary PyTorch and written back
    taps : values of the graph that the module returns as well, behind the outputs
    """

    def __init__(self, graph: Graph, *, trainable: bool = False, taps: Sequence[Value] = ()) -> None:
        self.graph = graph
        self.trainable = trainable
        self._lowered = lower(graph, trainable=trainable, taps=taps)
        self.module = self._lowered.module

    @property
    def parameters(self) -> dict[Value, nn.Parameter]:
        """The parameter of each weight, bodies' too; of a trainable one."""
        held = {value: self._held(path) for value, path in self._lowered.weights.items()}
        return {value: parameter for value, parameter in held.items() if isinstance(parameter, nn.Parameter)}

    @property
    def modules(self) -> dict[Node, str]:
        """The path in `module` of each node's own module, bodies' too."""
        return self._lowered.modules

    @property
    def values(self) -> dict[str, Value]:
        """The value that each node of `module.graph` computes, by that node's name."""
        return self._lowered.values

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name (tensors; what torch cannot hold stays numpy), without gradients.

        inputs : tensors or arrays by input name; an input that has a default may be left out. Floats of another type
            than the input's, as samples are where `cast-float` changed it, are cast
        """
        with torch.inference_mode():
            made = self.module(*self._arguments(inputs))
        return dict(zip(self.graph.output_names, made, strict=False))  # behind them stand the taps

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """As `run`, with gradients."""
        return dict(zip(self.graph.output_names, self.module(*self._arguments(inputs)), strict=False))

    def run_numpy(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """As `run`, in numpy."""
        return {name: to_numpy(value) for name, value in self.run(inputs).items()}

    def observe(self, inputs: Mapping[str, Any], values: Collection[Value], observer: Observer) -> dict[str, Any]:
        """As `run`, calling `observer(value, tensor)` for each of `values` as soon as it is computed, bodies' too.

        Only what the graph still needs is kept, so memory is that of an ordinary run.
        """
        with torch.inference_mode():
            made = _Watcher(self._lowered, set(values), observer).run(*self._arguments(inputs))
        return dict(zip(self.graph.output_names, made, strict=False))

    def write_back(self) -> None:
        """Put the module's weights into the graph's constants.

        Raises
        ------
        ExecutionError : it was not made with `trainable=True`, and so has no weights but the graph's own.
        """
        if not self.trainable:
            raise ExecutionError(f"there are no weights to put into {self.graph!r}: make it with trainable=True")
        for value, parameter in self.parameters.items():
            value.data = to_numpy(parameter).copy()

    def use_instead(self, constant: Value, data: torch.Tensor) -> None:
        """Let the module run with other data for a constant; the graph keeps its own."""
        parent, _, leaf = self._lowered.weights[constant].rpartition(".")
        setattr(self.module.get_submodule(parent), leaf, data)

    def _held(self, path: str) -> Any:
        parent, _, leaf = path.rpartition(".")
        return getattr(self.module.get_submodule(parent), leaf)

    def _arguments(self, inputs: Mapping[str, Any]) -> list[Any]:
        given = {**{v.name: data for v, data in self.graph.defaults.items()}, **inputs}
        names = [v.name for v in self.graph.inputs]
        for name in (*names, *given):
            if name not in given or name not in names:
                what = "is missing" if name in names else "is none of the model's"
                raise DataError(f"input '{name}' {what}; the model takes {', '.join(names)}")
        return [as_argument(given[v.name], v.tensor_type) for v in self.graph.inputs]


def as_argument(value: Any, type: TensorType | None = None) -> Any:
    """A tensor or array, or a list of them, as a module takes it: floats in the input's type."""
    if isinstance(value, list):
        return [as_argument(v) for v in value]
    held = to_torch(value) if hasattr(value, "__array_interface__") else value
    if type is None or not type.dtype.is_float or not isinstance(held, torch.Tensor) or not held.is_floating_point():
        return held
    return held.to(torch_dtype(type.dtype))


class _Watcher(fx.Interpreter):
    """Runs a lowered graph node by node and shows the wanted values."""

    def __init__(self, lowered: Lowered, wanted: set[Value], observer: Observer) -> None:
        super().__init__(lowered.module)
        self.extra_traceback = False  # an error names its node already, in one line
        self.lowered = lowered
        self.wanted = wanted
        self.observer = observer

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        value = self.lowered.values.get(n.name)
        if value in self.wanted and isinstance(made, torch.Tensor):
            self.observer(value, made)
        return made

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        if not isinstance(module, IfModule):
            return module(*args, **kwargs)
        key = "then_branch" if bool(args[0]) else "else_branch"
        made = _Watcher(self.lowered.bodies[f"{target}.{key}"], self.wanted, self.observer).run(*args[1:])
        return made[0] if module.outputs == 1 else made
