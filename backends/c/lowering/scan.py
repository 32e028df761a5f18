"""Ops that walk along one axis, an element at a time: running sums and products, and the k largest elements."""

from __future__ import annotations

from collections.abc import Sequence

from irc.backends.c.lowering.attributes import required_constant
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import c_type, index, loops, nest
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Call, Function, Step
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.reduce import CumProd, CumSum, TopK


def along(b: Builder, node: Node, axis: int, source: View, targets: Sequence[View], body: Sequence[str]) -> None:
    """A step over all axes but one, of which `body` does the whole; the threads share the others.

    In the body an element of the source is a0[X + k * XS], of target i y<i>[Y<i> + k * Y<i>S].
    """
    views = [source, *targets]
    heads = [v.without(axis) for v in views]
    axes = loops(heads[0].shape, heads)
    names = {"X": 0} | {f"Y{i}": i + 1 for i in range(len(targets))}
    text = []
    for name, operand in names.items():
        text.append(f"const int64_t {name} = {index(axes, operand)};")
        text.append(f"const int64_t {name}S = {views[operand].strides[axis]};")
    parameters = [f"const {c_type(source.dtype)} *a0"]
    parameters += [f"{c_type(v.dtype)} *y{i}" for i, v in enumerate(targets)]
    function = Function((*parameters, "int thread", "int threads"), nest(axes, [*text, *body]))
    call = Call(function, tuple(views), "elementwise.h")
    b.steps.append(Step(call, node, (source.buffer,), tuple(v.buffer for v in targets)))


@lowers(CumSum, CumProd)
def lower_cumulative(b: Builder, node: Node) -> None:
    """y[k] = y[k - 1] + x[k], or * for products; exclusive: + x[k - 1]; reverse: from the end."""
    op, which = node.op, required_constant(node, 1, "axis")
    assert isinstance(op, CumSum | CumProd)
    x = b.input(node, 0)
    axis, y = int(which.reshape(())[()]) % x.rank, b.output(node.output)
    count, home = x.shape[axis], y
    if op.reverse and count:
        x, home = x.sliced(axis, count - 1, count, -1), y.sliced(axis, count - 1, count, -1)
    sign, type = ("+" if isinstance(op, CumSum) else "*"), c_type(x.dtype)
    write, add = "y0[Y0 + k * Y0S] = acc;", f"acc = ({type})(acc {sign} a0[X + k * XS]);"
    lines = [write, add] if op.exclusive else [add, write]
    start = f"{type} acc = {0 if isinstance(op, CumSum) else 1};"
    along(b, node, axis, x, [home], [start, f"for (int64_t k = 0; k < {count}; ++k) {{", *lines, "}"])


@lowers(TopK, outputs=2)
def lower_top_k(b: Builder, node: Node) -> None:
    """The k first elements in order, each found as the best of those that come after the one before: O(n k).

    Equal elements come in the order of their places, so the order is total, and NaN has its place in it.
    """
    op, k = node.op, required_constant(node, 1, "k")
    assert isinstance(op, TopK)
    x = b.input(node, 0)
    axis, count = op.axis % x.rank, x.shape[op.axis]
    wanted = int(k.reshape(())[()])
    if wanted > count:
        raise BackendError(f"{node!r}: it asks for {wanted} of {count} elements")
    type = c_type(x.dtype)
    first = "IRC_COMES_FIRST" if op.largest else "IRC_COMES_LAST"
    sign = ">" if op.largest else "<"

    def before(a: str, c: str) -> str:
        return f"{first}({a}, {c})" if x.dtype.is_float else f"{a} {sign} {c}"

    body = [
        "int64_t last = -1;",
        f"for (int64_t k = 0; k < {wanted}; ++k) {{",
        "    int64_t best = -1;",
        f"    for (int64_t i = 0; i < {count}; ++i) {{",
        f"        const {type} v = a0[X + i * XS];",
        f"        const {type} p = last < 0 ? v : a0[X + last * XS];",
        f"        if (last >= 0 && !({before('p', 'v')}) && ({before('v', 'p')} || i <= last)) continue;",
        f"        const {type} t = best < 0 ? v : a0[X + best * XS];",
        f"        if (best < 0 || {before('v', 't')}) best = i;",
        "    }",
        "    y0[Y0 + k * Y0S] = a0[X + best * XS];",
        "    y1[Y1 + k * Y1S] = best;",
        "    last = best;",
        "}",
    ]
    homes = [b.output(value) for value in node.outputs[:2]]
    along(b, node, axis, x, homes, body)
