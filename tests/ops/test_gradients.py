"""Ops that networks train through have the gradients that finite differences show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from irc import ops
from irc.execution.convert import to_torch
from irc.op import Example

# steps, whose finite differences say nothing; FakeQuant's gradient is one by decree, and tested as that
STEPS = {"Cast", "CastLike", "FakeQuant", "Mod", "QuantizeLinear", "Range", "Round"}
# float inputs that are settings: of Pow the exponent, whose gradient has the logarithm of a base that may be negative
SETTINGS = {"Pad": {2}, "Pow": {1}, "Resize": {1, 2}}


def takes_part(example: Example) -> bool:
    """Whether there is a gradient in float64 to look at."""
    x, op = example.inputs[0], example.op
    precise = getattr(op, "softmax_precision", None) is None  # else float32 on the way
    return op.name not in STEPS and precise and x is not None and x.dtype == np.float32 and x.size > 0


EXAMPLES = [
    pytest.param(example, id=f"{cls.__name__}-{k}")
    for cls in ops.TYPED
    for k, example in enumerate(cls.examples())
    if takes_part(example)
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of tiny calls: with threads, each waits for the slowest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("example", EXAMPLES)
def test_gradients_are_those_of_finite_differences(example: Example) -> None:
    torch.manual_seed(0)  # gradcheck looks along random directions
    inputs = [None if x is None else to_torch(x, copy=True) for x in example.inputs]
    settings = SETTINGS.get(example.op.name, set())
    for k, x in enumerate(inputs):
        if x is not None and x.dtype is torch.float32:
            inputs[k] = x.double().requires_grad_(k not in settings)

    def run(*given: Any) -> tuple[torch.Tensor, ...]:
        made = example.op.run(*given) if example.outputs == 1 else example.op.run(*given, outputs=example.outputs)
        return tuple(m for m in (made if isinstance(made, tuple) else (made,)) if m.dtype is torch.float64)

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)  # type: ignore[arg-type]
