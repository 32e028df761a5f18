"""Choose which way each weight is rounded, so that the errors cancel on typical inputs (GPTQ)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from irc.analysis.contraction import has_rows, patches, rows_of_weight, weight_of_rows
from irc.analysis.gptq import round_rows
from irc.analysis.saturation import LARGEST_ADDED, product_groups
from irc.analysis.structure import clustered, pruned
from irc.errors import OptionError
from irc.execution.convert import to_torch
from irc.graph import Graph, Node
from irc.ops.fake_quant import FakeQuant
from irc.passes.base import LOSSY, Pass, option
from irc.passes.context import Context
from irc.passes.edit import set_constant
from irc.passes.quantized_contractions import (
    bias_refusal,
    data_source,
    quantized_weight,
    shift_bias,
    stream_inputs,
    without_fake_quant,
)
from irc.types import Array

_BUDGET = 256 << 20  # bytes of second moments held at once; more sites than fit take another stream over the samples


class _Site:
    """A contraction whose constant weight has a calibrated FakeQuant, and the moments of what it multiplies.

    moment : float64, shape (G, K, K), sum of x x^T over the patches;  mean : float64, shape (G, K), sum of x
    """

    def __init__(self, node: Node, fake: Node, weight: Array, data: str) -> None:
        self.node = node
        self.fake = fake
        self.weight = weight
        self.data = data
        self.rows = rows_of_weight(node, to_torch(weight))
        self.moment: torch.Tensor | None = None
        self.mean: torch.Tensor | None = None
        self.count = 0

    @property
    def bytes(self) -> int:
        groups, _, inner = self.rows.shape
        return groups * inner * inner * 8

    def add(self, x: torch.Tensor) -> None:
        """Count the sample whose input to the contraction is `x`."""
        if not x.numel():
            return
        seen = patches(self.node, x, self.weight.shape)
        moment, mean = (seen @ seen.transpose(1, 2)).double(), seen.sum(2).double()
        self.moment = moment if self.moment is None else self.moment.add_(moment)
        self.mean = mean if self.mean is None else self.mean.add_(mean)
        self.count += seen.shape[2]


@dataclass(frozen=True)
class OptimizeRounding(Pass):
    """Round each weight so that its layer's output, not the weight itself, comes out nearest on typical inputs.

    Minimizes `E |(W_q - W) x|^2` layer by layer with GPTQ (Frantar et al. 2022), `x` as it is in the float model, and
    subtracts what is left of the mean, `E[(W_q - W) x]`, from the bias. The weight constants then lie on the grid of
    their FakeQuants, whose scales do not change. Valid for Conv over one or two axes, Gemm and MatMul with constant
    weights; others are left to `correct-bias`, and so are clustered weights, whose equal elements are to stay equal.
    Zeros of a pruned weight stay zero, and the elements beside them make up for it. Lossy, for the better.

    Streams the samples once for every 256 MiB of second moments (K x K float64 for a layer that sums over K inputs);
    memory does not grow with the number of samples.
    """

    numerics = LOSSY
    after = ("insert-fake-quant", "calibrate")
    before = ("correct-bias",)

    damping: float = option(0.01, help="added to the diagonal of the second moments, as a share of its mean")
    vnni: bool = option(False, help="x86 only: all machines have VNNI, so weights need not avoid 16-bit saturation")
    keep_structure: bool = option(True, help="zeros of pruned weights stay, and clusters stay one")

    def run(self, graph: Graph, context: Context) -> None:
        if not self.damping > 0:
            raise OptionError(f"optimize-rounding: damping={self.damping:g} must be more than 0")
        sites = [s for node in graph.walk() if (s := self._site(node, context)) is not None]
        plain = without_fake_quant(graph)
        for batch in _batches(sites):
            stream_inputs(batch, plain, context, "optimize-rounding")
            for site in context.progress(batch, "optimize-rounding", len(batch)):
                self._round(site, context)
                site.moment = None

    def _site(self, node: Node, context: Context) -> _Site | None:
        fake = quantized_weight(node)
        weight = fake.constant(0) if fake is not None else None
        if fake is None or weight is None:
            return None
        if fake.output.use_count > 1:
            context.decline(node, "its quantized weight is shared; one rounding cannot be the best for several layers")
            return None
        if not has_rows(node, weight):
            context.decline(node, "it is no Conv over one or two axes, Gemm or MatMul of a matrix")
            return None
        if self.keep_structure and clustered(weight) is not None:
            context.decline(node, "its weight is clustered: rounded to nearest, equal elements stay equal")
            return None
        return _Site(node, fake, weight, data_source(node).name)

    def _round(self, site: _Site, context: Context) -> None:
        if site.moment is None or site.mean is None or not site.count:
            context.decline(site.node, "no calibration sample reached it")
            return
        op, scale = site.fake.op, site.fake.constant(1)
        assert isinstance(op, FakeQuant)
        assert scale is not None
        groups, rows, _ = site.rows.shape
        steps = to_torch(scale).reshape(-1, 1).expand(groups * rows, 1).reshape(groups, rows, 1)
        together = None if self.vnni or op.qmax > LARGEST_ADDED else _together(site, context)
        zeros = pruned(site.weight) if self.keep_structure else None
        try:
            codes = round_rows(
                site.rows,
                site.moment / site.count,
                steps,
                op.qmin,
                op.qmax,
                damping=self.damping,
                together=together,
                zeros=None if zeros is None else rows_of_weight(site.node, torch.from_numpy(zeros)),
            )
        except (ValueError, RuntimeError) as error:
            context.decline(site.node, f"its second moments cannot be used: {error}")
            return
        rounded = (codes * steps.double()).to(site.rows.dtype)
        lost = (rounded - site.rows).double() @ (site.mean / site.count)[:, :, None]
        made = weight_of_rows(site.node, rounded, site.weight.shape).contiguous().numpy()
        set_constant(site.fake, 0, made, "weight")
        if bias_refusal(site.node) is None:
            shift_bias(site.node, -lost.reshape(-1).numpy())


def _together(site: _Site, context: Context) -> torch.Tensor | None:
    """Which of the site's products the target adds in 16 bits; None if it does not."""
    policy, shape = context.target.policy, site.weight.shape
    products = policy.adds_in_16_bits(site.node.op, shape)
    if not products:
        return None
    return torch.from_numpy(product_groups(site.node, shape, products, by_rows=policy.adds_by_rows))


def _batches(sites: list[_Site]) -> Iterator[list[_Site]]:
    """The sites in order, as many at a time as fit the budget."""
    batch: list[_Site] = []
    for site in sites:
        if batch and sum(s.bytes for s in batch) + site.bytes > _BUDGET:
            yield batch
            batch = []
        batch.append(site)
    if batch:
        yield batch
