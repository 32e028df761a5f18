"""Pair-safe weights never saturate: onnxruntime's fast kernels then give what ONNX defines, on every x86."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import irc
from irc.analysis.saturation import SUM_LIMIT, adds_pairs, largest_sums, product_groups, sum_limit
from irc.graph import Graph
from irc.op import Op
from irc.ops.conv import Conv
from irc.ops.linear import Gemm, MatMul
from irc.types import Array, tensor

Run = Callable[..., dict[str, Array]]


def contraction(op: Op, x: tuple[int, ...], w: tuple[int, ...], seed: int = 0) -> Graph:
    """One contraction whose weights are all as large as can be, so that any pair that can saturate does."""
    graph = Graph()
    signs = np.where(np.random.default_rng(seed).random(w) < 0.75, 1, -1).astype(np.float32)
    node = graph.insert(op, [graph.add_input("x", tensor("f32", *x)), graph.add_constant(signs, "w")], name="node")
    graph.add_output(node.output, "y")
    return graph


def conv(channels: int, group: int, out: int, kernel: int) -> Graph:
    pads = (kernel // 2,) * 4
    return contraction(
        Conv(group=group, pads=pads), (1, channels, 8, 8), (out, channels // group, kernel, kernel)
    )


SITES = {
    "conv": conv(32, 1, 32, 3),
    "conv, odd channels": conv(3, 1, 16, 3),
    "conv, odd channels and kernel": conv(7, 1, 8, 5),
    "conv, even kernel": conv(9, 1, 8, 2),
    "conv 1x1": conv(33, 1, 16, 1),
    "conv, groups": conv(12, 4, 8, 3),
    "conv, odd groups": conv(10, 2, 8, 3),
    "depthwise, two for each channel": conv(8, 8, 16, 3),
    "conv over one axis": contraction(Conv(), (1, 5, 9), (8, 5, 3)),
    "gemm": contraction(Gemm(), (4, 33), (33, 7)),
    "gemm, transposed": contraction(Gemm(transB=1), (4, 33), (7, 33)),
    "matmul": contraction(MatMul(), (2, 4, 33), (33, 7)),
    "matmul, a stack": contraction(MatMul(), (2, 4, 33), (2, 33, 7)),
}
DEPTHWISE = {"depthwise": conv(16, 16, 16, 3), "depthwise 5x5": conv(8, 8, 8, 5)}


def full(graph: Graph) -> Array:
    """The input that saturates most: the largest code everywhere."""
    type = graph.inputs[0].tensor_type
    assert type is not None
    return np.full(type.static_shape, 255, np.float32)


def difference(graph: Graph, passes: str, path: Path, run: Run) -> float:
    """How far onnxruntime's integer kernels are from the file run by ONNX's definitions, relative to the largest."""
    x = full(graph)
    artifact = irc.compile(graph, passes, calibration=[np.zeros_like(x), x])
    artifact.save(path)
    wanted, got = (run(path, {"x": x}, optimized=o)["y"] for o in (False, True))
    assert artifact.fusion.refused() == []  # the kernel in question really runs
    return float(np.abs(wanted - got).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", [*SITES, *DEPTHWISE])
def test_pair_safe_weights_are_exact_on_the_input_that_saturates_most(
    name: str, tmp_path: Path, in_onnxruntime: Run
) -> None:
    graph = (SITES | DEPTHWISE)[name]
    # the last place of a float requantization, against 0.4 where a pair saturates
    assert difference(graph, "quantize", tmp_path / "m.onnx", in_onnxruntime) < 1e-5


def _has_vnni() -> bool:
    """Whether this machine multiplies in 32 bits: /proc/cpuinfo says so (and where there is none, assume it does)."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="utf-8") if cpu.exists() else ""
    return "vnni" in flags or "avx2" not in flags


@pytest.mark.skipif(_has_vnni(), reason="this machine's int8 kernels do not saturate, or it is no x86")
@pytest.mark.parametrize("name", SITES)
def test_without_it_they_saturate_here(name: str, tmp_path: Path, in_onnxruntime: Run) -> None:
    assert difference(SITES[name], "quantize{vnni=true}", tmp_path / "m.onnx", in_onnxruntime) > 0.1


@pytest.mark.parametrize("name", SITES)
def test_largest_sums_of_two_is_what_a_loop_over_the_products_finds(name: str) -> None:
    node = SITES[name].node("node")
    rng = np.random.default_rng(2)
    weight: Any = rng.standard_normal(SITES[name].value("w").data.shape)  # type: ignore[union-attr]
    rows: list[tuple[int, Array]] = []
    if isinstance(node.op, Conv):
        rows = [(o, np.moveaxis(weight[o], 0, -1).ravel()) for o in range(len(weight))]
    elif isinstance(node.op, Gemm) and node.op.transB:
        rows = list(enumerate(weight))
    else:
        rows = [(o, m[:, o]) for m in weight.reshape(-1, *weight.shape[-2:]) for o in range(weight.shape[-1])]
    wanted = np.zeros(max(o for o, _ in rows) + 1)
    for out, row in rows:
        for k in range(0, len(row), 2):
            pair = row[k : k + 2]
            wanted[out] = max(wanted[out], pair[pair > 0].sum(), -pair[pair < 0].sum())
    np.testing.assert_allclose(largest_sums(node, weight, 2, by_rows=False), wanted)


@pytest.mark.parametrize("name", SITES)
def test_largest_sums_of_four_is_what_a_loop_over_the_rows_of_the_kernel_finds(name: str) -> None:
    node = SITES[name].node("node")
    rng = np.random.default_rng(3)
    weight: Any = rng.standard_normal(SITES[name].value("w").data.shape)  # type: ignore[union-attr]
    if isinstance(node.op, Conv):
        joined = node.op.group == 1  # one row of the kernel lies in one piece, but not that of a group
        taps = np.moveaxis(weight, 1, -1).reshape(len(weight), -1, weight.shape[-1], weight.shape[1])
        shape = (taps.shape[1], -1) if joined else (-1, taps.shape[3])
        pieces = taps.reshape(len(weight), *shape)
    elif isinstance(node.op, Gemm) and node.op.transB:
        pieces = weight[:, None]
    else:
        pieces = np.swapaxes(weight, -1, -2).reshape(-1, 1, weight.shape[-2])
    wanted = np.zeros(len(pieces))
    for out, rows in enumerate(pieces):
        for row in rows:
            for first in range(0, len(row), 8):
                for lane in (0, 2):
                    members = [first + lane + i for i in (0, 1, 4, 5) if first + lane + i < len(row)]
                    four = row[members]
                    wanted[out] = max(wanted[out], four[four > 0].sum(), -four[four < 0].sum())
    outputs = weight.shape[node.op.quant.weight_axis]
    np.testing.assert_allclose(largest_sums(node, weight, 4, by_rows=True), wanted.reshape(-1, outputs).max(axis=0))
    if isinstance(node.op, Conv):
        assert len(product_groups(node, weight.shape, 4, by_rows=True)) == weight[0].size


def test_pairs_of_rows_do_not_reach_over_their_ends() -> None:
    """Three rows of 9: the last product of each is alone, and the next row starts anew."""
    node, shape = SITES["conv, odd channels"].node("node"), (16, 3, 3, 3)
    rows = product_groups(node, shape, 2, by_rows=True).reshape(3, 9)
    assert rows.tolist() == [[5 * r + k // 2 for k in range(9)] for r in range(3)]
    assert product_groups(node, shape, 2, by_rows=False).tolist() == [k // 2 for k in range(27)]


@pytest.mark.parametrize("name", DEPTHWISE)
def test_true_depthwise_kernels_do_not_pair(name: str) -> None:
    graph = DEPTHWISE[name]
    data = graph.value("w").data
    assert data is not None
    assert adds_pairs(graph.node("node").op, data.shape) == 0


@pytest.mark.parametrize("products", [2, 4])
def test_the_limit_leaves_room_for_rounding(products: int) -> None:
    """Codes of which each was rounded up by a half stay within what 16 bits hold."""
    assert (sum_limit(products) + products / 2) * 255 <= SUM_LIMIT * 255 <= 2**15 - 1
