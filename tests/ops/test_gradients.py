"""Ops that train have the gradients that finite differences have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from irc import ops
from irc.execution.convert import to_torch
from irc.op import Example

EXAMPLES = [
    pytest.param(example, id=f"{cls.__name__}-{k}")
    for cls in ops.TYPED
    for k, example in enumerate(cls.examples())
    if example.inputs[0] is not None and example.inputs[0].dtype == np.float32
]

def settings(example): return ()
@pytest.mark.parametrize("example", EXAMPLES)
def test_gradients(example: Example) -> None:
    inputs = [None if x is None else to_torch(x, copy=True) for x in example.inputs]
    tensors = [x.double().requires_grad_() if x is not None and x.dtype is torch.float32 else x for x in inputs]
    def run(*xs): 
        made= example.op.run(*xs) if example.outputs==1 else example.op.run(*xs, outputs=example.outputs)
        made = made if isinstance(made, tuple) else (made,)
        return tuple(m for m in made if m.is_floating_point())
    assert torch.autograd.gradcheck(run, tensors)
