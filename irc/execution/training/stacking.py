"""Whether several samples may run as one batch.

A model that was exported with a batch of one often runs with more all the same, as only its types say one. This is
tried: two samples as one batch must give what they give one by one. If they do not, samples run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from irc.errors import IrcError
from irc.execution.executable import Executable
from irc.execution.training.chunks import chunks_of
from irc.execution.training.data import Item

_TOLERANCE = 1e-3  # relative to the largest; other rows in a batch move a sum by far less, and mixing them by more


def can_stack(runs: Sequence[Executable], items: Sequence[Item]) -> bool:
    """Whether every model gives for two items in a batch what it gives for each; `items` are some to try it with."""
    first = items[0]
    names = [v.name for v in runs[0].graph.inputs]
    if set(first.sample) != set(names) or any(a.ndim == 0 or len(a) != first.rows for a in first.sample.values()):
        return False
    alike = [
        i for i in items if {n: a.shape for n, a in i.sample.items()} == {n: a.shape for n, a in first.sample.items()}
    ]
    pair = [first, alike[-1]]
    return all(_is_stackable(run, pair, names) for run in runs)


def _is_stackable(run: Executable, pair: list[Item], names: list[str]) -> bool:
    (both,) = chunks_of(pair, names, stacked=True)
    single = chunks_of(pair, names, stacked=False)
    with torch.no_grad():
        try:
            together = run.module(*both.inputs)
        except IrcError:  # a shape that is written into the graph
            return False
        alone = [run.module(*chunk.inputs) for chunk in single]
    for a, *parts in zip(together, *alone, strict=True):
        if not isinstance(a, torch.Tensor) or any(p.ndim == 0 for p in parts):
            return False
        wanted = torch.cat(parts)
        if a.shape != wanted.shape:
            return False
        scale = wanted.double().abs().max() if wanted.numel() else torch.zeros(())
        if wanted.numel() and not bool((a.double() - wanted.double()).abs().max() <= _TOLERANCE * scale):
            return False
    return True
