"""Put the factors of a weight into the graph.

    y = W x + b        =>   y = L (F x) + b
    y = W * x + b      =>   y = L (G * (F x)) + b      strides, pads and dilations go with the core G

The node that was there becomes the last factor, and keeps its name, its output and its bias, to which what the mean
input loses is added where it is known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from irc.analysis.low_rank import Factors, Tucker, factors, times, tucker
from irc.graph import Node, Value
from irc.op import Op
from irc.ops.conv import Conv
from irc.ops.linear import Gemm
from irc.passes.low_rank_rules.ranks import Plan
from irc.passes.low_rank_rules.sites import Site
from irc.passes.quantized_contractions import shift_bias
from irc.types import Array


def carry_out(plan: Plan) -> float:
    """Factor the site's weight in all its nodes; the relative error of the weight, weighed as the spectra are."""
    held, site = plan.held, plan.held.site
    if plan.inputs is None:
        linear = factors(site.rows, held.outputs.basis[:, : plan.outputs])
        _factor_linear(site, linear)
        _move_bias(site, site.rows, linear.last @ linear.first)
        return float(np.sqrt(held.outputs.tail(plan.outputs)))
    assert held.inputs is not None
    made, read = site.rows.shape[:2]
    start = _columns(held.outputs.basis, plan.outputs, made), _columns(held.inputs.basis, plan.inputs, read)
    spatial = tucker(site.rows, *start, held.scale)
    _factor_conv(site, spatial)
    made_rows = times(times(spatial.core, spatial.last, 0), spatial.first.T, 1)
    _move_bias(site, site.rows, made_rows)
    return _error(plan, made_rows)


def _columns(basis: Array, rank: int, size: int) -> Array:
    return np.eye(size) if rank == size else basis[:, :rank]


def _move_bias(site: Site, rows: Array, made: Array) -> None:
    """Add to each node's bias what its mean input gives with the weight, and not with its factors."""
    lost = rows - made
    for node, mean in zip(site.nodes, site.means or (), strict=False):
        shift_bias(node, lost.reshape(*lost.shape[:2], -1).sum(2) @ mean)


def _error(plan: Plan, made: Array) -> float:
    rows = np.asarray(plan.held.site.rows, np.float64)
    lost = made - rows
    if plan.held.scale is not None:
        lost, rows = times(lost, plan.held.scale, 1), times(rows, plan.held.scale, 1)
    whole = float(np.linalg.norm(rows))
    return float(np.linalg.norm(lost)) / whole if whole else 0.0


def _factor_linear(site: Site, made: Factors) -> None:
    """Two products, or two convolutions of one tap, for each node."""
    conv = isinstance(site.nodes[0].op, Conv)
    index = site.layout.index
    first, last = (_constant(site, array, part) for array, part in zip(made[::-1], ("first", "last"), strict=True))
    for node in site.nodes:
        op = node.op
        if conv:
            _append(node, op, index, first, Conv(), last)
        elif isinstance(op, Gemm):
            behind = replace(op, transA=0) if index == 1 else replace(op, transB=0)
            _append(node, Gemm(transA=op.transA, transB=op.transB), index, first, behind, last)
        else:
            _append(node, op, index, first, op, last)
    _forget(site)


def _factor_conv(site: Site, made: Tucker) -> None:
    """Up to three convolutions for each node: of one tap, of the kernel with fewer channels, of one tap."""
    outputs, inputs = made.core.shape[:2]
    first = _constant(site, made.first, "first") if inputs < site.rows.shape[1] else None
    core = _constant(site, made.core, "core")
    last = _constant(site, made.last, "last") if outputs < site.rows.shape[0] else None
    for node in site.nodes:
        if first is not None:
            before = node.graph.insert(Conv(), [node.input(0), first], before=node, name=f"{node.name}.first")
            node.set_input(0, before.output)
        if last is not None:
            _append(node, node.op, 1, core, Conv(), last, "core")
        else:
            node.set_input(1, core)
            node.set_op(node.op)
    _forget(site)


def _append(node: Node, op: Op, index: int, weight: Value, behind: Op, last: Value, part: str = "first") -> None:
    """Do `op` with `weight` before the node, which then does `behind` with `last`."""
    inputs = [weight, weight]
    data = node.input(1 - index)
    assert data is not None
    inputs[1 - index] = data
    before = node.graph.insert(op, inputs, before=node, name=f"{node.name}.{part}")
    node.set_input(1 - index, before.output)
    node.set_input(index, last)
    node.set_op(behind)


def _constant(site: Site, array: Array, part: str) -> Value:
    """A factor, given as rows, stored as the weight is, beside it."""
    old = site.weight.data
    assert old is not None
    if isinstance(site.nodes[0].op, Conv):
        array = array.reshape(*array.shape[:2], *(array.shape[2:] or (1,) * (old.ndim - 2)))
    elif not site.layout.as_rows:
        array = array.T
    return site.weight.graph.add_constant(np.ascontiguousarray(array, dtype=old.dtype), f"{site.weight.name}.{part}")


def _forget(site: Site) -> None:
    if not site.weight.uses:
        site.weight.graph.remove_constant(site.weight)
