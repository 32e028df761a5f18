"""The pipeline keeps passes in order, catches what they break, and writes down what each did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from irc.errors import DataError, ModelError, OptionError, PassError, VerifyError
from irc.graph import Graph
from irc.ops.activation import Relu
from irc.ops.unary import Neg
from irc.passes.base import EXACT, LOSSY, Declined, Outcome, Pass, Rewrite, option, sweep, within
from irc.passes.calibrate import Calibrate
from irc.passes.context import Context, plain_context
from irc.passes.correct_bias import CorrectBias
from irc.passes.eliminate_dead import EliminateDead
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.passes.pipeline import Pipeline
from irc.passes.quantize import Quantize
from irc.text import print_graph
from irc.types import tensor

GraphMaker = Callable[..., Graph]


@dataclass(frozen=True)
class Scale(Pass):
    """Multiplies a bias."""

    numerics = EXACT
    by: float = option(2.0, help="factor")

    def run(self, graph: Graph, context: Context) -> None:
        bias = graph.value("b1")
        assert bias.data is not None
        bias.data = (bias.data * self.by).astype(np.float32)


@dataclass(frozen=True)
class ScaleWithin(Scale):
    """The same, and says so."""

    numerics = within(0.5)


@dataclass(frozen=True)
class ScaleLossy(Scale):
    """The same, and promises nothing."""

    numerics = LOSSY


@dataclass(frozen=True)
class Break(Pass):
    """Leaves a value whose stated type is wrong."""

    def run(self, graph: Graph, context: Context) -> None:
        graph.value("a").type = tensor("i64", 7)


@dataclass(frozen=True)
class Crash(Pass):
    """Raises what it is told to."""

    what: str = option("value", help="kind of error")

    def run(self, graph: Graph, context: Context) -> None:
        errors: dict[str, Exception] = {
            "value": ValueError("no such thing"),
            "pass": PassError("will not do"),
            "data": DataError("a bad sample"),
            "model": ModelError("a bad model"),
        }
        raise errors[self.what]


@dataclass(frozen=True)
class Nothing(Pass):
    """Does nothing."""

    def run(self, graph: Graph, context: Context) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Late(Nothing):
    """Wants to be last."""

    after = ("nothing",)


@dataclass(frozen=True)
class Early(Nothing):
    """Wants to be first."""

    before = ("nothing",)


@dataclass(frozen=True)
class ReluToNeg(Rewrite):
    """Changes the first Relu, and says why not the others."""

    numerics = LOSSY

    def rewrite(self, node: Any, context: Context) -> Outcome:
        if node.op != Relu():
            return None
        if node.name != "relu1":
            return Declined("only relu1 may go")
        node.set_op(Neg())
        return True


def test_rows_of_the_ledger(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    graph.info.notes = ("read by a fallback",)
    metrics = iter([0.9, 0.8])
    context = plain_context(graph, calibration=typical(graph))
    context.evaluate = lambda run: next(metrics) + 0 * float(run(typical(graph)[0]).sum())
    ledger = Pipeline([Nothing(), ReluToNeg()]).run(graph, context)
    original, nothing, changed = ledger.rows
    assert [r.name for r in ledger.rows] == ["original", "nothing", "relu-to-neg"]
    assert original.notes == ["read by a fallback"]
    assert original.cost is not None
    assert original.cost.nodes == 5
    assert (original.metric, nothing.metric, changed.metric) == (0.9, None, 0.8)  # not asked of an unchanged graph
    assert nothing.sqnr == float("inf")
    assert changed.sqnr is not None
    assert -50 < changed.sqnr < 50
    assert all(r.seconds > 0 for r in ledger.rows[1:])
    (site,) = ledger.declined("relu-to-neg")
    assert (site.node, site.op, site.reason) == ("relu2", "Relu", "only relu1 may go")
    assert graph.node("relu1").origin.passes == ("relu-to-neg",)
    assert graph.node("relu2").origin.passes == ()


def test_without_samples_there_is_no_error_to_show(net: GraphMaker) -> None:
    graph = net("residual")
    ledger = Pipeline([EliminateDead()]).run(graph, plain_context(graph))
    assert [r.sqnr for r in ledger.rows] == [None, None]
    assert ledger.rows[1].metric is None


def test_a_pass_is_timed(net: GraphMaker) -> None:
    @dataclass(frozen=True)
    class Sleep(Nothing):
        """Takes its time."""

        def run(self, graph: Graph, context: Context) -> None:
            import time

            time.sleep(0.05)

    graph = net("residual")
    assert Pipeline([Sleep()]).run(graph, plain_context(graph)).rows[1].seconds >= 0.05


ORDERS = [
    ([Late(), Nothing()], "pass 'late' must stand after 'nothing'"),
    ([Nothing(), Early()], "pass 'early' must stand before 'nothing'"),
    ([Calibrate(), InsertFakeQuant()], "pass 'calibrate' must stand after 'insert-fake-quant'"),
    ([InsertFakeQuant(), CorrectBias(), Calibrate()], "pass 'correct-bias' must stand after 'calibrate'"),
    ([Quantize(), FoldBatchNorm()], "pass 'quantize' must stand after 'fold-batch-norm'"),
]


@pytest.mark.parametrize(("passes", "said"), ORDERS)
def test_a_violated_order_names_both(passes: list[Pass], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Pipeline(passes)


@pytest.mark.parametrize(
    "passes", [[Nothing(), Late()], [Late()], [Nothing(), Late(), Nothing()], [Early(), Nothing()]]
)
def test_an_order_that_holds(passes: list[Pass]) -> None:
    Pipeline(passes)


def test_the_graph_is_verified_after_each_pass(net: GraphMaker) -> None:
    graph = net("residual")
    with pytest.raises(VerifyError, match=r"pass 'break' failed: .*'a'"):
        Pipeline([Break()]).run(graph, plain_context(graph))


@pytest.mark.parametrize(("each", "holds"), [(Scale(), False), (ScaleWithin(), True), (ScaleLossy(), True)])
def test_check_numerics_holds_a_pass_to_its_word(each: Pass, holds: bool, net: GraphMaker) -> None:
    graph = net("residual")
    pipeline = Pipeline([each], check="numerics")
    if holds:
        pipeline.run(graph, plain_context(graph))
        return
    with pytest.raises(PassError, match=r"pass 'scale' failed: output 'y' moved by .*'scale' is declared exact"):
        pipeline.run(graph, plain_context(graph))


def test_check_numerics_finds_what_exceeds_a_bound(net: GraphMaker) -> None:
    graph = net("residual")
    with pytest.raises(PassError, match=r"is declared within 0\.5"):
        Pipeline([ScaleWithin(by=50.0)], check="numerics").run(graph, plain_context(graph))


def test_without_the_check_nothing_is_run(net: GraphMaker) -> None:
    graph = net("residual")
    Pipeline([Scale()]).run(graph, plain_context(graph))


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("value", PassError, "pass 'crash' failed: ValueError: no such thing"),
        ("pass", PassError, "pass 'crash{what=pass}' failed: will not do"),
        ("data", DataError, "^a bad sample$"),
        ("model", ModelError, "^a bad model$"),
    ],
)
def test_errors_of_passes(what: str, error: type[Exception], said: str, net: GraphMaker, tmp_path: Path) -> None:
    graph = net("residual")
    with pytest.raises(error, match=said):
        Pipeline([Crash(what)], reproducer=tmp_path).run(graph, plain_context(graph))
    assert bool(list(tmp_path.iterdir())) == (error is PassError)  # what the user must mend needs no reproducer


def test_print_after(net: GraphMaker) -> None:
    for names, wanted in (({"nothing"}, ["nothing"]), ({"all"}, ["nothing", "relu-to-neg"]), (set(), [])):
        graph = net("residual")
        shown: list[tuple[str, str]] = []
        pipeline = Pipeline(
            [Nothing(), ReluToNeg()],
            print_after=frozenset(names),
            show=lambda name, g, to=shown: to.append((name, print_graph(g))),  # type: ignore[misc]
        )
        pipeline.run(graph, plain_context(graph))
        assert [name for name, _ in shown] == wanted
        if "all" in names:
            assert "Neg" not in shown[0][1]
            assert "Neg(" in shown[1][1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Pipeline([Nothing]), "is not a pass"),  # type: ignore[list-item]  # the class, not an instance
        (lambda: Pipeline(["nothing"]), "is not a pass"),  # type: ignore[list-item]
        (lambda: Pipeline([type("Bare", (Pass,), {})()]), "pass 'bare' is no dataclass"),
        (lambda: Pipeline([], check="everything"), "check='everything' is not known"),
        (lambda: Pipeline([Nothing()], print_after=frozenset({"nothin"})), "there is no pass 'nothin' in the pipeline"),
    ],
)
def test_what_a_pipeline_does_not_take(make: Callable[[], Pipeline], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make()


def test_a_rewrite_that_never_rests_is_stopped(net: GraphMaker) -> None:
    graph, context = net("residual"), plain_context(net("residual"))
    calls = []

    def again(node: Any, _: Context) -> Outcome:
        calls.append(node.name)
        return True if node.name == "relu1" else Declined("never")

    sweep(graph, again, context)
    assert 10 <= calls.count("relu1") <= 100
    assert len(context.row.declined) == 4  # of the last sweep only
