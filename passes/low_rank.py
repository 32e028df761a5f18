"""Low-rank factors in place of weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from irc.errors import OptionError
from irc.graph import Graph
from irc.passes.base import LOSSY, Pass, option
from irc.passes.channels.budget import Goal
from irc.passes.context import Context
from irc.passes.low_rank_rules.factor import carry_out
from irc.passes.low_rank_rules.moments import watched
from irc.passes.low_rank_rules.ranks import Decomposed, Plan, largest_energy, macs_of, plan, spread
from irc.passes.low_rank_rules.sites import Site, find_sites, unmatched
from irc.report.ledger import PrunedGroup

_AMOUNTS = ("energy", "macs", "parameters", "ratio")


@dataclass(frozen=True)
class LowRank(Pass):
    """Replace weights by products of smaller ones: a matrix by two, a convolution's kernel by up to three.

        W x   ~   L (F x)            Gemm, MatMul by a weight, Conv of one tap: truncated singular values
        W * x ~   L (G * (F x))      Conv of several taps: Tucker-2, G with fewer channels on both sides

    One amount says how far to go. energy=0.9 keeps, in each layer, the smallest rank that has this part of the squared
    singular values. macs=0.7 and parameters say what may be left of the whole model, as a part or as a number above 1:
    the layers then keep equal parts of their energy. ratio=0.3 takes this part of the MACs out of each layer.

    criterion=activations measures energy in what a layer gives out for calibration samples, not in its weight: of all
    factors of a rank, those of a matrix then have the least error E |(W - L F) x|^2. What the mean input loses is put
    into the bias. For a kernel, the taps are taken as uncorrelated. Directions that few samples leave out are not
    taken for empty.

    A layer is factored only where that saves MACs. Ranks are multiples of what the target's kernels like. A bias stays
    with the last factor, strides, pads and dilations with the core. Put `fold-batch-norm` before it and `quantize`
    behind it; `fine-tune` or `distill` brings accuracy back. Lossy, by what the ledger says of each layer.

    Source: Kim et al. 2016, "Compression of deep convolutional neural networks for fast and low power mobile
    applications" (Tucker-2); Wang et al. 2024, "SVD-LLM" (criterion=activations); all in `irc.analysis.low_rank`.
    """

    numerics = LOSSY
    after = ("fold-constants", "simplify")
    before = ("insert-fake-quant", "quantize", "lower-to-integer")

    energy: float | None = option(
        None, help="part of the squared singular values that each layer keeps", range=(0.5, 0.99)
    )
    macs: float | None = option(
        None, help="multiply-accumulates that may be left, a part or a number", range=(0.1, 1.0)
    )
    parameters: float | None = option(None, help="parameters that may be left, a part or a number", range=(0.1, 1.0))
    ratio: float | None = option(None, help="part of each layer's multiply-accumulates that goes", range=(0.1, 0.9))
    criterion: str = option("weights", help="of what the energy is", choices=("weights", "activations"))
    multiple: int | None = option(None, help="ranks are a multiple of this; what the target likes if none")
    skip: tuple[str, ...] = option((), help="patterns of nodes, layers or weights that stay as they are")

    def _check_options(self) -> None:
        from irc.passes.options import check_choices  # which knows this pass

        given = [name for name in _AMOUNTS if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"it has {' and '.join(given)}" if given else "it has none"
            raise OptionError(f"low-rank needs one of {', '.join(_AMOUNTS)}, and {said}; energy=0.9, say")
        amount = getattr(self, given[0])
        if not amount > 0 or (given[0] in ("energy", "ratio") and not amount < 1):
            raise OptionError(f"low-rank: {given[0]}={amount} leaves nothing or is no part")
        if self.multiple is not None and self.multiple < 1:
            raise OptionError(f"low-rank: multiple={self.multiple} must be at least 1")
        check_choices(self)

    def run(self, graph: Graph, context: Context) -> None:
        self._check_options()
        for pattern in unmatched(graph, self.skip):
            context.note(f"skip: no layer with a weight is called '{pattern}'")
        sites = find_sites(graph, self.skip, context)
        name = next((n for n in ("macs", "parameters") if getattr(self, n) is not None), None)
        goal = Goal.of(name, float(getattr(self, name)), graph, context.target) if name is not None else None
        held = list(self._decomposed(sites, graph, context))
        for made in self._plans(held, goal, context):
            self._carry_out(made, context)
        if goal is not None and sites and not goal.reached(graph):
            context.note(f"the budget is not reached: {goal.said}; layers whose factors save nothing keep the rest")
        if not sites:
            context.note("there is nothing to factor: no layer has a constant weight of its own, skip aside")

    def _decomposed(self, sites: Sequence[Site], graph: Graph, context: Context) -> Iterator[Decomposed]:
        if self.criterion == "weights":
            yield from map(Decomposed.of, context.progress(sites, "low-rank", len(sites)))
            return
        for batch in watched(sites, graph, context, "criterion=activations of low-rank"):
            for site in context.progress(batch, "low-rank", len(batch)):
                if site.moment is None:
                    context.note(
                        f"{site.nodes[0]!r}: its weight alone decides: no calibration sample reached it, all were "
                        "alike there, or some were not finite"
                    )
                yield Decomposed.of(site)
                site.moment = None

    def _plans(self, held: Sequence[Decomposed], goal: Goal | None, context: Context) -> list[Plan]:
        multiple = max(context.target.channel_multiple if self.multiple is None else self.multiple, 1)
        if goal is not None:
            tail = spread(held, goal.name, goal.start - goal.limit, multiple)
            context.note(f"each layer keeps at least {1 - tail:.6g} of its energy")
            return [plan(each, tail, multiple) for each in held]
        if self.energy is not None:
            return [plan(each, 1 - self.energy, multiple) for each in held]
        assert self.ratio is not None
        return [self._of_ratio(each, self.ratio, multiple) for each in held]

    def _of_ratio(self, held: Decomposed, ratio: float, multiple: int) -> Plan:
        limit = (1 - ratio) * macs_of(held.site)
        tail = largest_energy(lambda tail: plan(held, tail, multiple).macs <= limit)
        return plan(held, tail, multiple)

    def _carry_out(self, made: Plan, context: Context) -> None:
        site = made.held.site
        full = min(site.rows.shape) if made.inputs is None else site.rows.shape[0]
        if not made.saves:
            ranks = f"rank {made.outputs}" if made.inputs is None else f"ranks {made.outputs} and {made.inputs}"
            for node in site.nodes:
                context.decline(node, f"factors of {ranks} of a weight of shape {site.rows.shape} save nothing")
            return
        error = carry_out(made)
        what = "outputs" if made.held.weighed else "weight"
        reason = f"error {error:.3g} of the {what}"
        name = site.nodes[0].name
        kinds = [("rank", full, made.outputs)]
        if made.inputs is not None:
            kinds = [("output rank", full, made.outputs), ("input rank", site.rows.shape[1], made.inputs)]
        context.row.groups += [PrunedGroup(name, kind, before, after, reason) for kind, before, after in kinds]
