"""Run passes in order: verify after each, hold each to its numerics, and write down what it did.

    graph --pass--> graph --verify--> --check numerics--> row of the ledger      (a crash leaves a reproducer)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path

from irc.analysis.cost import Cost, cost
from irc.errors import DataError, IrcError, ModelError, OptionError, PassError
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context
from irc.passes.numerics import Yardstick
from irc.passes.options import check_choices, format_pass, format_pipeline, parse_pipeline
from irc.passes.reproducer import write_reproducer
from irc.report.ledger import Ledger, Row
from irc.verify import verify

__all__ = ["Pipeline", "check_order", "format_pipeline", "parse_pipeline"]

_CHECKS = ("", "numerics")


@dataclass
class Pipeline:
    """An ordered list of passes and how to run it.

    passes : the passes
    check : `numerics` runs the graph before and after each pass that is not lossy and compares
    print_after : names of passes after which to show the graph, or `all`
    show : what shows it, given the pass's name and the graph
    reproducer : folder in which a crash leaves a reproducer; None for none
    evaluate_each : whether to evaluate the model as it came in and after each pass, not only at the end
    """

    passes: Sequence[Pass]
    check: str = ""
    print_after: frozenset[str] = frozenset()
    show: Callable[[str, Graph], None] = field(default=lambda name, graph: None)
    reproducer: Path | None = None
    evaluate_each: bool = True

    def __post_init__(self) -> None:
        if self.check not in _CHECKS:
            raise OptionError(f"check='{self.check}' is not known; it is 'numerics' or ''")
        for each in self.passes:
            if not isinstance(each, Pass):
                raise OptionError(f"{each!r} is not a pass; give instances of irc.passes.base.Pass, or text")
            if not is_dataclass(each):
                raise OptionError(f"pass '{each.pass_name()}' is no dataclass; put @dataclass(frozen=True) over it")
            check_choices(each)
        check_order(self.passes)
        known = {p.pass_name() for p in self.passes}
        for name in sorted(self.print_after - known - {"all"}):
            raise OptionError(f"print_after: there is no pass '{name}' in the pipeline; give one of it, or 'all'")

    def run(self, graph: Graph, context: Context) -> Ledger:
        """Transform `graph` in place; the ledger of what was done.

        Raises
        ------
        PassError : a pass crashed, or changed the outputs more than it may.
        VerifyError : a pass left an invalid graph.
        """
        checked = bool(self.check)
        run = _Run(context, Yardstick(context, always=checked), copies=checked or self.reproducer is not None)
        first = Row("original", cost=run.cost(graph), metric=self._metric(graph, run), notes=list(graph.info.notes))
        verify(graph)
        rows = [first, *(self._run_one(index, each, graph, run) for index, each in enumerate(self.passes))]
        if not self.evaluate_each:
            rows[-1].metric = run.yardstick.metric(graph)
        return Ledger(rows)

    def _metric(self, graph: Graph, run: _Run) -> float | None:
        return run.yardstick.metric(graph) if self.evaluate_each else None

    def _run_one(self, index: int, each: Pass, graph: Graph, run: _Run) -> Row:
        row = run.context.row = Row(format_pass(each))
        before, version = run.copy(graph), graph.version
        start = time.perf_counter()
        try:
            with graph.edited_by(each.pass_name()):
                each.run(graph, run.context)
            row.seconds = time.perf_counter() - start
            verify(graph)
            if self.check and before is not None and graph.version != version:
                run.yardstick.hold(each, before, graph)
            row.sqnr = run.yardstick.sqnr(graph)
        except (DataError, ModelError, OptionError):
            raise  # the user's to mend: nothing to reproduce
        except Exception as error:
            raise self._crash(index, before, run.context, error) from error
        row.cost = run.cost(graph)
        row.metric = self._metric(graph, run) if graph.version != version else None
        if "all" in self.print_after or each.pass_name() in self.print_after:
            self.show(row.name, graph)
        return row

    def _crash(self, index: int, before: Graph | None, context: Context, error: Exception) -> IrcError:
        name = format_pass(self.passes[index])
        said = f"pass '{name}' failed: {error if isinstance(error, IrcError) else f'{type(error).__name__}: {error}'}"
        if self.reproducer is not None and before is not None:
            said += write_reproducer(self.reproducer, before, self.passes[index:], context, error, self.check)
        return (type(error) if isinstance(error, IrcError) else PassError)(said)


@dataclass
class _Run:
    """What one run of a pipeline keeps between passes: the latest copy of the graph and its cost, until it changes.

    copies : whether copies are wanted, to compare with or to reproduce a crash from
    """

    context: Context
    yardstick: Yardstick
    copies: bool
    _copy: tuple[int, Graph] | None = None
    _cost: tuple[int, Cost] | None = None

    def copy(self, graph: Graph) -> Graph | None:
        """A copy of the graph as it is; None if none is wanted."""
        if self.copies and (self._copy is None or self._copy[0] != graph.version):
            self._copy = graph.version, graph.copy()
        return None if self._copy is None else self._copy[1]

    def cost(self, graph: Graph) -> Cost:
        """The cost of the graph as it is."""
        if self._cost is None or self._cost[0] != graph.version:
            self._cost = graph.version, cost(graph, packed=self.context.target.packs)
        return self._cost[1]


def check_order(passes: Sequence[Pass]) -> None:
    """OptionError if a pass stands before one it must follow, or behind one it must precede."""
    names = [p.pass_name() for p in passes]
    for index, each in enumerate(passes):
        for earlier in each.after:
            if earlier in names[index + 1 :] and earlier not in names[:index]:
                raise OptionError(f"pass '{names[index]}' must stand after '{earlier}'; swap them")
        for later in each.before:
            if later in names[:index]:
                raise OptionError(f"pass '{names[index]}' must stand before '{later}'; swap them")
