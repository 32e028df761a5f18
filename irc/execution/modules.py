"""The modules of a lowered graph: one for each node."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from irc.errors import ExecutionError, IrcError
from irc.execution.convert import to_numpy, to_torch
from irc.execution.onnx_node import OnnxNode
from irc.graph import Node


class OpModule(nn.Module):
    """Does a node's op: by its torch semantics, or in onnxruntime where those cannot hold the case."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.op = node.op
        self.label = repr(node)
        self.asked = {"outputs": len(node.outputs)} if len(node.outputs) > 1 else {}
        self.fallback = OnnxNode(node)
        self.places = [None if v is None else self.fallback.reads.index(v) for v in node.inputs]

    def forward(self, *inputs: Any) -> Any:
        if all(x is None or isinstance(x, torch.Tensor) for x in inputs):
            try:
                return self.op.run(*inputs, **self.asked)
            except NotImplementedError:
                pass  # onnxruntime can
            except IrcError:
                raise
            except Exception as error:  # torch raises RuntimeError, IndexError, TypeError …
                shapes = ", ".join("-" if x is None else f"{tuple(x.shape)}" for x in inputs)
                raise ExecutionError(f"{self.label} on inputs of shapes {shapes}: {error}") from error
        given: list[Any] = [None] * len(self.fallback.reads)
        for place, value in zip(self.places, inputs, strict=True):
            if place is not None:
                given[place] = value
        return run_in_onnxruntime(self.fallback, given)

    def extra_repr(self) -> str:
        return self.label


class OnnxModule(nn.Module):
    """Runs an `OnnxOp`, its bodies included, in onnxruntime; takes what the node and then its bodies read."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = OnnxNode(node)

    def forward(self, *reads: Any) -> Any:
        return run_in_onnxruntime(self.node, list(reads))

    def extra_repr(self) -> str:
        return repr(self.node.node)


class IfModule(nn.Module):
    """If: runs the branch that the condition chooses, so that its values can be watched and its weights trained."""

    def __init__(self, then_branch: nn.Module, else_branch: nn.Module, outputs: int) -> None:
        super().__init__()
        self.then_branch = then_branch
        self.else_branch = else_branch
        self.outputs = outputs

    def branch(self, condition: torch.Tensor) -> nn.Module:
        return self.then_branch if bool(condition) else self.else_branch

    def forward(self, condition: torch.Tensor, *captures: Any) -> Any:
        made = self.branch(condition)(*captures)
        return made[0] if self.outputs == 1 else made


def run_in_onnxruntime(node: OnnxNode, values: list[Any]) -> Any:
    """Outputs as tensors where torch can hold them; one alone, several as a tuple."""
    made = node([to_numpy(v) for v in values])
    held = tuple(None if m is None else _held(m) for m in made)
    return held[0] if len(held) == 1 else held


def _held(value: Any) -> Any:
    if isinstance(value, list):
        return [_held(v) for v in value]
    return to_torch(value) if hasattr(value, "dtype") else value
