"""Evaluate one node whose inputs are all constants."""

from __future__ import annotations

import numpy as np
import torch

from irc.errors import ExecutionError
from irc.execution.convert import to_numpy, to_torch
from irc.execution.modules import OnnxModule, OpModule
from irc.graph import Node
from irc.ops.onnx_op import OnnxOp
from irc.types import Array


def evaluate_node(node: Node) -> list[Array]:
    """The outputs of a node, computed from its constant inputs (and those that its bodies read).

    Raises
    ------
    ExecutionError : an input is not a constant, an output is not a tensor, or the op fails on these inputs.
    """
    module: OpModule | OnnxModule = OnnxModule(node) if isinstance(node.op, OnnxOp) else OpModule(node)
    reads = module.node.reads if isinstance(module, OnnxModule) else node.inputs
    if any(v is not None and v.data is None for v in reads):
        raise ExecutionError(f"{node!r} does not read constants only")
    with torch.inference_mode():
        made = module(*[None if v is None or v.data is None else to_torch(v.data) for v in reads])
    made = made if isinstance(made, tuple) else (made,)
    arrays = [np.zeros(0, np.float32) if v.is_omitted else to_numpy(m) for v, m in zip(node.outputs, made, strict=True)]
    if not all(isinstance(a, np.ndarray) for a in arrays):
        raise ExecutionError(f"{node!r} gives out something that is not a tensor")
    return [np.array(a) for a in arrays]
