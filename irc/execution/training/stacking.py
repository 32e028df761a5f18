"""Whether several samples may run as one batch.

A model that was exported with a batch of one often runs with more all the same, as only its types say one, and the
first number of some Reshapes (`x.view(x.size(0), -1)`), which may as well be open. This is tried: two samples as one
batch must give what they give one by one. If they do not, samples run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from irc.errors import IrcError
from irc.execution.executable import Executable
from irc.execution.training.chunks import chunks_of
from irc.execution.training.data import Item
from irc.execution.training.layers import paired_inputs
from irc.graph import Graph, Node, Value
from irc.ops.shape import Reshape

_TOLERANCE = 1e-3  # relative to the largest; other rows in a batch move a sum by far less, and mixing them by more


def open_batch(run: Executable) -> None:
    """Let the module's Reshapes of data infer the first dimension; where the sizes are the graph's, nothing changes."""
    computed = _computed(run.graph)
    for value in run.graph.constants:
        readers = value.users
        of_data = all(isinstance(n.op, Reshape) and n.inputs[0] in computed and n.inputs[1] is value for n in readers)
        if value.data is None or not readers or not of_data or value.is_output or not value.data.size:
            continue
        sizes = [int(n) for n in value.data]
        first = _open_size(sizes, readers)
        if first is not None:
            run.use_instead(value, torch.tensor([first, *sizes[1:]], dtype=torch.int64))


def _open_size(sizes: list[int], readers: Sequence[Node]) -> int | None:
    """The first size of these Reshapes, left open: what is left (-1), or what the input has (0) if that is the same."""
    if sizes[0] <= 0 or any(isinstance(n.op, Reshape) and n.op.allowzero for n in readers):
        return None
    if all(n >= 0 for n in sizes):
        return -1
    types = [n.inputs[0].tensor_type for n in readers if n.inputs[0] is not None]
    same = all(type is not None and type.shape is not None and type.shape[:1] == (sizes[0],) for type in types)
    return 0 if same else None


def _computed(graph: Graph) -> set[Value]:
    """The values that depend on the inputs."""
    found = set(graph.inputs)
    for node in graph:
        if any(v in found for v in (*node.inputs, *node.captures())):
            found.update(node.outputs)
    return found


def can_stack(runs: Sequence[Executable], items: Sequence[Item]) -> bool:
    """Whether every model gives for two items in a batch what it gives for each; `items` are some to try it with."""
    first = items[0]
    graph = runs[0].graph
    names = [v.name for v in graph.inputs]
    if set(first.sample) != set(names) or any(a.ndim == 0 or len(a) != first.rows for a in first.sample.values()):
        return False
    alike = [
        i for i in items if {n: a.shape for n, a in i.sample.items()} == {n: a.shape for n, a in first.sample.items()}
    ]
    pair = [first, alike[-1]]
    for run in runs:
        open_batch(run)
    return all(_is_stackable(run, pair, [names[i] for i in paired_inputs(graph, run.graph)]) for run in runs)


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
