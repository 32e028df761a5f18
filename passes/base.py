"""What a pass is.

    Pass    ::= frozen dataclass; its fields are its options; `run(graph, context)`
    Rewrite ::= a Pass that looks at one node at a time: `rewrite(node, context) -> Outcome`
    Outcome ::= None (not a site) | True (changed) | Declined(reason)

A pass keeps no state. What it may do to the numbers is stated in `numerics` and held against it by the pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from irc.graph import Graph, Node

if TYPE_CHECKING:
    from irc.passes.context import Context

_SWEEPS = 16  # a rewrite that still changes the graph after so many is likely to undo its own work


@dataclass(frozen=True)
class Numerics:
    """What a pass may do to the outputs: nothing (`exact`), a relative error (`within`), or anything (`lossy`).

    tolerance : largest allowed |after - before| / max|before| over an output; None when lossy
    """

    kind: str
    tolerance: float | None

    def __str__(self) -> str:
        return f"within {self.tolerance:g}" if self.kind == "within" else self.kind


EXACT = Numerics("exact", 0.0)
LOSSY = Numerics("lossy", None)


def within(tolerance: float) -> Numerics:
    """Outputs may move by `tolerance`, relative to the largest magnitude of the output."""
    return Numerics("within", tolerance)


def option(
    default: Any = MISSING, *, help: str, choices: tuple[str, ...] = (), range: tuple[float, float] | None = None
) -> Any:
    """Declare an option of a pass: a dataclass field with its one-line help.

    choices : of a word, what it may be
    range : of a number, from where to where `irc search` looks if nobody says; other values are allowed
    """
    return field(default=default, metadata={"help": help, "choices": choices, "range": range})


@dataclass(frozen=True)
class Declined:
    """A site that a pass could have changed and did not, and why."""

    reason: str


Outcome = Declined | bool | None


class Pass:
    """Base of all passes. The name in pipelines is the class's, in kebab case: `FoldBatchNorm`, `fold-batch-norm`.

    numerics : what the pass may do to the outputs
    after, before : names of passes that, when they are in the pipeline too, stand before / behind this one
    """

    numerics: ClassVar[Numerics] = EXACT
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def pass_name(cls) -> str:
        """The pass's name in pipelines."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def summary(cls) -> str:
        """First sentence of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def run(self, graph: Graph, context: Context) -> None:
        """Transform the graph, bodies included, in place."""
        raise NotImplementedError

    def __str__(self) -> str:
        from irc.passes.options import format_pass  # that module imports this one

        return format_pass(self)


class Rewrite(Pass):
    """A pass that matches one node and rewrites around it, swept over the nest until nothing changes."""

    def rewrite(self, node: Node, context: Context) -> Outcome:
        """Change the graph around `node` and return True; or say why not (`Declined`); or None, if it is no site."""
        raise NotImplementedError

    def run(self, graph: Graph, context: Context) -> None:
        sweep(graph, self.rewrite, context)


def sweep(graph: Graph, rewrite: Callable[[Node, Context], Outcome], context: Context) -> None:
    """Apply `rewrite` to every node of the nest, again and again until a whole sweep changes nothing.

    The sites that the last sweep declined are noted in the context's ledger.
    """
    for _ in range(_SWEEPS):
        declined: list[tuple[Node, str]] = []
        changed = False
        for inner in list(graph.graphs()):
            for node in inner:
                outcome = rewrite(node, context)
                if isinstance(outcome, Declined):
                    declined.append((node, outcome.reason))
                elif outcome:
                    changed = True
        if not changed:
            break
    else:
        context.note(f"it was still changing the graph after {_SWEEPS} sweeps, and was stopped")
    for node, reason in declined:
        context.decline(node, reason)
