"""How the passes' time grows with the graph: python benchmarks/scale.py [NODES ...]

Made-up graphs of 5,000, 10,000 and 20,000 nodes (chains of convolutions with batch norm, branches, duplicates, dead
code, shape arithmetic, no-ops, repeated constants) go through each pass that keeps the function. Prints one row a pass:
seconds of processor time for each size, the best of three runs, and the ratio of the last two sizes (2.0 is linear).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.activation import Clip, Relu
from irc.ops.binary import Add
from irc.ops.conv import Conv
from irc.ops.index import Concat, Gather, Pad
from irc.ops.norm import BatchNormalization
from irc.ops.shape import Identity, Reshape, Shape, Transpose, Unsqueeze
from irc.ops.unary import Neg
from irc.passes.base import Pass
from irc.passes.common_subexpressions import CommonSubexpressions
from irc.passes.context import plain_context
from irc.passes.dedup_weights import DedupWeights
from irc.passes.eliminate_dead import EliminateDead
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.fold_constants import FoldConstants
from irc.passes.fold_pad import FoldPad
from irc.passes.simplify import Simplify
from irc.types import Type, tensor
from irc.verify import verify

SIZES = (5_000, 10_000, 20_000)
PASSES: tuple[Pass, ...] = (
    Simplify(),
    FoldConstants(),
    DedupWeights(),
    CommonSubexpressions(),
    FoldPad(),
    FoldBatchNorm(),
    EliminateDead(),
)
CHANNELS = 8


def made_up(nodes: int) -> Graph:
    """A graph of about so many nodes, the same for the same number."""
    graph = Graph()
    value = graph.add_input("x", tensor("f32", "N", CHANNELS, 16, 16))
    random = np.random.default_rng(0)
    while len(graph) < nodes:
        value = _block(graph, value, random)
    graph.add_output(value, "y")
    return graph


def _block(graph: Graph, x: Value, random: np.random.Generator) -> Value:
    """Twenty nodes, of which the passes leave about four."""
    image = x.type
    constant = graph.add_constant

    def add(op: Op, *inputs: Value, like: Type | None = None) -> Value:
        return graph.insert(op, inputs, types=[like] if like is not None else None).output

    weight = constant(random.normal(size=(CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 9, "weight")
    channel = [constant(random.uniform(0.5, 1.5, CHANNELS).astype(np.float32), f"bn.{k}") for k in range(4)]
    padded = add(Pad(), x, constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads"))
    normal = add(BatchNormalization(), add(Conv(), padded, weight), *channel, like=image)
    low, high = constant(np.array(0, np.float32), "low"), constant(np.array(6, np.float32), "high")
    active = add(Clip(), add(Relu(), normal, like=image), low, high, like=image)
    one, same = add(Neg(), active, like=image), add(Neg(), active, like=image)  # duplicates
    add(Neg(), add(Relu(), same, like=image), like=image)  # dead
    turned = add(Transpose(perm=(0, 3, 1, 2)), add(Transpose(perm=(0, 2, 3, 1)), one))
    batch = add(Gather(), add(Shape(), turned), constant(np.array(0, np.int64), "zero"))
    batch = add(Unsqueeze(), batch, constant(np.array([0], np.int64), "axes"))
    sizes = constant(np.array([CHANNELS, 16, 16], np.int64), "sizes")
    shaped = add(Reshape(), turned, add(Concat(axis=0), batch, sizes), like=image)
    offset = add(Neg(), constant(np.zeros((1, CHANNELS, 1, 1), np.float32), "offset"))
    offset = add(Add(), offset, constant(np.ones((1, CHANNELS, 1, 1), np.float32), "one"))  # constants
    moved = add(Add(), add(Identity(), shaped, like=image), offset, like=image)
    return add(Add(), add(Add(), moved, x, like=image), same, like=image)


def measure(nodes: int) -> list[tuple[str, float, int]]:
    """(pass, seconds, nodes left) for one run of all passes."""
    graph = made_up(nodes)
    rows = []
    for each in PASSES:
        context = plain_context(graph)
        start = time.process_time()
        each.run(graph, context)
        rows.append((each.pass_name(), time.process_time() - start, len(graph)))
    start = time.process_time()
    verify(graph)
    rows.append(("(verify)", time.process_time() - start, len(graph)))
    return rows


def best_of(runs: int, nodes: int) -> list[tuple[str, float, int]]:
    """The same, each pass with its shortest time over some runs."""
    return [min(rows, key=lambda row: row[1]) for rows in zip(*(measure(nodes) for _ in range(runs)), strict=True)]


def main(sizes: Sequence[int]) -> None:
    """Print the table for graphs of the given sizes."""
    measure(200)  # imports and caches
    gc.collect()
    gc.freeze()  # so that collections scan the graphs, not all of torch
    runs = [best_of(3, nodes) for nodes in sizes]
    table = Table(title="seconds a pass, by nodes in the graph")
    for heading in ("pass", *(f"{n:,}" for n in sizes), "ratio", "nodes left"):
        table.add_column(heading, justify="left" if heading == "pass" else "right")
    for rows in zip(*runs, strict=True):
        seconds = [s for _, s, _ in rows]
        table.add_row(rows[0][0], *(f"{s:.2f}" for s in seconds), _ratio(seconds), f"{rows[-1][2]:,}")
    totals = [sum(s for _, s, _ in run) for run in runs]
    table.add_section()
    table.add_row("all", *(f"{s:.2f}" for s in totals), _ratio(totals), "")
    Console().print(table)


def _ratio(seconds: Sequence[float]) -> str:
    return f"{seconds[-1] / seconds[-2]:.2f}" if len(seconds) > 1 and seconds[-2] > 0 else ""


if __name__ == "__main__":
    main([int(a) for a in sys.argv[1:]] or SIZES)
