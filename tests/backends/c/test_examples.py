"""Every example of every op that the C backend takes gives in C what the op's `run` gives, in plain C and with AVX2.

Each example is run twice: with all but its first input as constants, which are packed when it is compiled, and with
every float tensor as an input of the graph. Integers must be equal. Floats may differ by rounding, as sums are taken in
another order than torch takes them, and both sides' functions are within some units in the last place of the true ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from irc.backends.c.compilers import find_compiler
from irc.backends.c.emit.sources import Sources
from irc.backends.c.isa import AVX2, PORTABLE, Isa, host_isas
from irc.backends.c.lower import legalize, lower, missing
from irc.backends.c.lowering import is_covered
from irc.backends.c.program import Program
from irc.backends.c.runner import Runner
from irc.backends.c.targets import TARGETS
from irc.backends.c.toolchain import build_library
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.op import Example, Op
from irc.ops.resize import Resize
from irc.types import Array, type_of_array

# relative to the largest magnitude of the output: 32 roundings, more than any example's longest sum has in a row
TOLERANCE = {np.dtype(np.float32): 32 * 2.0**-24, np.dtype(np.float64): 32 * 2.0**-53}

# The ops without a rule: the shapes of their outputs depend on the data, or (Det) they are too rare.
UNCOVERED = {"Compress", "Det", "FakeQuant", "NonZero", "Range"}
# The examples that are refused although the op is covered, in both ways of running them:
REFUSED = {
    "Cast_3", "Cast_8", "Cast_9", "Cast_10", "CastLike_1",  # to float16 and float8, which C has not
    "DequantizeLinear_5", "QuantizeLinear_7", "QuantizeLinear_8", "RMSNormalization_2",  # the same
    "MaxPool_1", "MaxPool_2", "MaxPool_3", "MaxPool_6", "MaxPool_8",  # the indices, which nothing but MaxUnpool reads
}  # fmt: skip
FAMILIES = 6  # libraries that the ops are spread over


class Case(NamedTuple):
    """An example of an op: its name, which tells the op, and whether everything that can be is an input."""

    name: str
    example: Example
    dynamic: bool


def cases(op: type[Op]) -> Iterator[Case]:
    """The examples of one op, in both ways."""
    for number, example in enumerate(op.examples()):
        for dynamic in (False, True):
            yield Case(f"{op.__name__}_{number}_{'inputs' if dynamic else 'weights'}", example, dynamic)


def covered_ops() -> list[type[Op]]:
    """The typed ops that are covered whatever their attributes are, by name."""
    known = sorted(Op.registry.items(), key=lambda item: item[0][1])
    return [cls for _, cls in known if all(is_covered(e.op) for e in cls.examples()) and cls.__name__ != "FakeQuant"]


def add(graph: Graph, case: Case, feeds: dict[str, Array]) -> None:
    """Put the example into the graph, as a part that touches no other."""
    values: list[Value | None] = []
    for index, array in enumerate(case.example.inputs):
        name = f"{case.name}.{index}"
        if array is None:
            values.append(None)
        elif index == 0 or (case.dynamic and is_data(case.example.op, array)):
            values.append(graph.add_input(name, type_of_array(array)))
            feeds[name] = array
        else:
            values.append(graph.add_constant(array, name))
    node = graph.insert(case.example.op, values, name=case.name, outputs=case.example.outputs)
    for value in node.outputs:
        graph.add_output(value)


def is_data(op: Op, array: Array) -> bool:
    """Whether an input may be computed: a tensor of floats; of the integer ops, whose scales are not, one of codes."""
    if isinstance(op, Resize):
        return False  # its scales decide the shape
    if op.domain:
        return array.dtype == np.uint8 and array.ndim > 1
    return array.dtype.kind == "f" and array.ndim > 0


def graph_of(wanted: list[Case]) -> tuple[Graph, dict[str, Array]]:
    """All the examples in one graph, and its inputs by name."""
    graph, feeds = Graph(), dict[str, Array]()
    for case in wanted:
        add(graph, case, feeds)
    return graph, feeds


class Family(NamedTuple):
    """Some ops in one program: what it takes, what it should give, and what was left out."""

    program: Program
    feeds: dict[str, Array]
    wanted: dict[str, Array]
    refused: frozenset[str]


@cache
def family(number: int) -> Family:
    """Every sixth op from `number` on."""
    chosen = [case for cls in covered_ops()[number::FAMILIES] for case in cases(cls)]
    refused = frozenset(
        node.name.split(".")[0] for node in missing(legalize(graph_of(chosen)[0], TARGETS["c:portable"]))
    )
    graph, feeds = graph_of([case for case in chosen if case.name not in refused])
    wanted = Executable(graph).run_numpy(feeds)
    return Family(lower(legalize(graph, TARGETS["c:portable"])), feeds, wanted, refused)


@cache
def sources(number: int) -> Sources:
    """The C of a family, for both instruction sets."""
    return Sources("examples", family(number).program, [PORTABLE, AVX2], "x86-64")


@pytest.mark.parametrize("isa", [PORTABLE, AVX2], ids=lambda isa: isa.name)
@pytest.mark.parametrize("number", range(FAMILIES))
def test_examples_give_what_run_gives(number: int, isa: Isa) -> None:
    if isa not in host_isas():
        pytest.skip("this processor does not have it")
    made, text = family(number), sources(number)
    library = build_library(text.files, text.objects, find_compiler("x86-64"), "-O1")
    runner = Runner(library, "examples", len(made.program.inputs), made.program.output_types, threads=2, isa=isa.name)
    given = [np.ascontiguousarray(made.feeds[p.name]).reshape(p.view.shape) for p in made.program.inputs]
    got = runner(given)
    wrong = [
        f"{name}: {difference(array, want)}"
        for array, (name, want) in zip(got, made.wanted.items(), strict=True)
        if difference(array, want) > TOLERANCE.get(want.dtype, 0.0)
    ]
    assert not wrong, "\n".join(wrong)


def difference(got: Array, want: Array) -> float:
    """Of floats the largest difference, relative to the largest magnitude; of integers 0 or 1: equal or not."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return np.inf
    if want.dtype.kind != "f":
        return float(not np.array_equal(got, want))
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return np.inf
    return float(np.abs(got - want, where=finite, out=np.zeros_like(want)).max(initial=0)) / max(
        float(np.abs(want, where=finite, out=np.zeros_like(want)).max(initial=0)), 1e-30
    )


def test_ops_without_a_rule_are_these() -> None:
    known = {cls.__name__ for cls in covered_ops()}
    assert {cls.__name__ for cls in Op.registry.values() if list(cls.examples())} - known == UNCOVERED


def test_refused_examples_are_these() -> None:
    refused = set().union(*(family(number).refused for number in range(FAMILIES)))
    assert refused == {f"{name}_{way}" for name in REFUSED for way in ("inputs", "weights")}
