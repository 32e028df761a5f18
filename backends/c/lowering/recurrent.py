"""LSTM and GRU of float32, which the graph keeps as ONNX has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from irc.backends.c.lowering.attributes import onnx_attributes
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Expr
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Argument, Scratch, Struct, Table
from irc.backends.c.views import View, constant
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.onnx_op import OnnxOp
from irc.types import DType

# in the order of the enumeration in recurrent.h: alpha and beta as onnxruntime has them if they are not given; None for
# a function without
_ACTIVATIONS: dict[str, tuple[float | None, float | None]] = {
    "sigmoid": (None, None), "tanh": (None, None), "relu": (None, None), "affine": (1.0, 0.0),
    "leakyrelu": (0.01, None), "thresholdedrelu": (1.0, None), "scaledtanh": (1.0, 1.0), "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None), "softsign": (None, None), "softplus": (None, None),
}  # fmt: skip
_GATES = {"LSTM": 4, "GRU": 3}
_STATES = {"LSTM": 2, "GRU": 1}  # outputs besides the sequence
_SCRATCH = {"LSTM": 6, "GRU": 5}  # floats for each hidden unit
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}
_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


@lowers(("", "LSTM"), outputs=3)
def lower_lstm(b: Builder, node: Node) -> None:
    """Inputs: x, W, R, B, sequence lengths, initial h and c, peepholes. Outputs: Y, last h and c."""
    _lower(b, node, "LSTM")


@lowers(("", "GRU"), outputs=2)
def lower_gru(b: Builder, node: Node) -> None:
    """Inputs: x, W, R, B, sequence lengths, initial h. Outputs: Y, last h."""
    _lower(b, node, "GRU")


def _lower(b: Builder, node: Node, kind: str) -> None:
    assert isinstance(node.op, OnnxOp)
    attributes = onnx_attributes(node.op)
    first = attributes.get("layout", 0)  # 1: batches first
    _check(b, node, kind, attributes)
    x = b.input(node, 0)
    x = x if x.strides[2] == 1 or x.shape[2] == 1 else b.copied(x, node)
    x = x.permuted((1, 0, 2)) if first else x
    w, r = _weights(b, node, 1), _weights(b, node, 2)
    hidden, directions = r.shape[2], r.shape[0]
    y, finish = _sequence_home(b, node, bool(first))
    states = [_state_home(b, node, i) for i in range(1, _STATES[kind] + 1)]
    # states are (directions, batch, hidden) in memory, or with batches first
    state = (x.shape[1] * hidden, hidden) if not first else (hidden, directions * hidden)
    at = (0, 0, 0) if y is None else y.strides
    struct = Struct.of("irc_recurrent", {
        "directions": directions, "batch": x.shape[1], "steps": x.shape[0], "inputs": x.shape[2], "hidden": hidden,
        "reverse": int(attributes.get("direction", "forward") == "reverse"),
        "x_step": x.strides[0], "x_batch": x.strides[1],
        "y_step": at[0], "y_direction": at[1], "y_batch": at[2],
        "state_direction": state[0], "state_batch": state[1],
        "w_direction": w.strides[0], "w_input": w.strides[2], "w_gate": w.strides[1],
        "r_direction": r.strides[0], "r_hidden": r.strides[2], "r_gate": r.strides[1],
        **_activations(node, attributes, kind, directions), "clip": float(attributes.get("clip", 0.0)),
        "input_forget": attributes.get("input_forget", 0),
        "linear_before_reset": attributes.get("linear_before_reset", 0),
    })  # fmt: skip
    rest = [_dense(b, node, i) for i in ((5, 6, 7) if kind == "LSTM" else (5,))]
    given = [x, w, r, _dense(b, node, 3), _lengths(b, node, x.shape[0]), *rest]
    scratch = Scratch(4 * _SCRATCH[kind] * hidden)
    arguments: list[Argument] = [struct, *given, scratch, y, *states]
    macs = directions * x.shape[0] * x.shape[1] * _GATES[kind] * hidden * (x.shape[2] + hidden)
    function = f"irc_{kind.lower()}_f32"
    b.call(node, function, "recurrent.h", arguments, reads=given, writes=(y, *states), macs=macs)
    for home, private in [*finish, *_unfinished(b, node, states)]:
        b.copy(private, home, node)


def _check(b: Builder, node: Node, kind: str, attributes: dict[str, Any]) -> None:
    """Refuse inputs and outputs that do not fit each other: the kernel reads and writes by these numbers.

    Raises
    ------
    BackendError : one is of another shape or type than the weights and the first input make it.
    """
    shapes = [None if v is None else b.shape(v) for v in node.inputs]
    x, r = shapes[0], shapes[2] if len(shapes) > 2 else None
    directions = _DIRECTIONS.get(attributes.get("direction", "forward"))
    if x is None or r is None or directions is None or len(x) != 3 or len(r) != 3:
        raise BackendError(f"{node!r}: it takes x and R of three axes, and goes forward, reverse or bidirectional")
    hidden, gates, first = r[2], _GATES[kind] * r[2], attributes.get("layout", 0)
    batch, steps = (x[0], x[1]) if first else (x[1], x[0])
    state = (batch, directions, hidden) if first else (directions, batch, hidden)
    sequence = (batch, steps, directions, hidden) if first else (steps, directions, batch, hidden)
    named = {
        "x": x, "W": (directions, gates, x[2]), "R": (directions, gates, hidden), "B": (directions, 2 * gates),
        "sequence_lens": (batch,), "initial_h": state, "initial_c": state, "P": (directions, 3 * hidden),
    }  # fmt: skip
    made = {"Y": sequence, "Y_h": state, "Y_c": state}
    values = [*zip(named.items(), node.inputs, strict=False), *zip(made.items(), node.outputs, strict=False)]
    for (name, wanted), value in values:
        if value is None or not value.use_count:
            continue
        dtype = DType.I32 if name == "sequence_lens" else DType.F32
        if b.dtype(value) is not dtype or b.shape(value) != wanted:
            raise BackendError(
                f"{node!r}: its {name} is {b.dtype(value)}{list(b.shape(value))}, but with {hidden} hidden units, "
                f"{directions} directions and x of {list(x)} it must be {dtype}{list(wanted)}"
            )


def _weights(b: Builder, node: Node, index: int) -> View:
    """(directions, gates, inputs), gates adjacent in memory: transposed now if they are constants."""
    data = node.constant(index)
    if data is None:
        return b.copied(b.input(node, index), node, (0, 2, 1))
    return constant(np.ascontiguousarray(data.transpose(0, 2, 1)), node.name).permuted((0, 2, 1))


def _dense(b: Builder, node: Node, index: int) -> View | None:
    return None if node.input(index) is None else b.dense(node, index)


def _lengths(b: Builder, node: Node, steps: int) -> View | None:
    """The lengths of the sequences, held in 0 .. steps whatever they are: the kernel trusts them."""
    if node.input(4) is None:
        return None
    view = b.input(node, 4)
    held = Expr(DType.I32, view.shape, f"{{0}} < 0 ? 0 : {{0}} > {steps} ? {steps} : {{0}}", (view,))
    return b.materialize(held, node)


def _sequence_home(b: Builder, node: Node, batches_first: bool) -> tuple[View | None, list[tuple[View, View]]]:
    """A home for Y as (steps, directions, batch, hidden), None if nothing reads it; and what is to be copied then."""
    value = node.outputs[0]
    if not value.use_count:
        return None, []
    home = b.output(value)
    private = home if home.strides[-1] == 1 else b.scratch(home.dtype, home.shape)
    copies = [] if private is home else [(home, private)]
    return private.permuted((1, 2, 0, 3)) if batches_first else private, copies


def _state_home(b: Builder, node: Node, index: int) -> View | None:
    """Dense memory for a last state, None if nothing reads it."""
    if index >= len(node.outputs) or not node.outputs[index].use_count:
        return None
    home = b.output(node.outputs[index])
    return home if home.is_dense() else b.scratch(home.dtype, home.shape)


def _unfinished(b: Builder, node: Node, states: Sequence[View | None]) -> list[tuple[View, View]]:
    """Of the last states those that were not computed where they belong: home, and where they are."""
    made = []
    for view, value in zip(states, node.outputs[1:], strict=False):
        if view is not None and (home := b.view(value, node)) != view:
            made.append((home, view))
    return made


def _activations(node: Node, attributes: dict[str, Any], kind: str, directions: int) -> dict[str, Table]:
    """Which function each gate takes, and its alpha and beta: the given ones go in order to those that have them."""
    names = [str(n).lower() for n in attributes.get("activations") or _USUAL[kind] * directions]
    known, wanted = list(_ACTIVATIONS), len(_USUAL[kind]) * directions
    if len(names) != wanted:
        raise BackendError(f"{node!r}: it has {len(names)} activations; with {directions} directions they are {wanted}")
    if any(name not in known for name in names):
        raise BackendError(
            f"{node!r}: the C backend has not all of the activations {', '.join(names)}; it has {', '.join(known)}"
        )
    factors: list[tuple[float, ...]] = []
    for which, key in enumerate(("activation_alpha", "activation_beta")):
        given = iter(attributes.get(key) or ())
        row = []
        for name in names:
            default = _ACTIVATIONS[name][which]
            row.append(0.0 if default is None else float(next(given, default)))
        factors.append(tuple(row))
    numbers = Table("int32_t", tuple(known.index(name) for name in names))
    return {"activation": numbers, "alpha": Table("float", factors[0]), "beta": Table("float", factors[1])}
