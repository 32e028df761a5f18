"""Samples may come in any form, and run in a batch or one by one: the steps are the same, means over a batch's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc.execution.training.data as data_module
from irc.execution import Executable
from irc.execution.training.chunks import chunks_of, shared_out
from irc.execution.training.data import Item, TrainingData
from irc.execution.training.distributed import World
from irc.execution.training.stacking import can_stack, open_batch
from irc.graph import Graph
from irc.passes.fine_tune import FineTune
from irc.text import parse_graph
from irc.types import Array
from tests.training.nets import CLASSES, Pair, graph_of, largest_difference, network, pairs, run_pass, trained

TOLERANCE = 1e-6  # sums over a batch in another order


class Numbered:
    """A data set as torch's are: items by number, without the axis of rows."""

    def __init__(self, items: list[Pair]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        image, label = self.items[number]
        return torch.from_numpy(image[0]), label


FORMS: dict[str, Callable[[list[Pair]], Any]] = {
    "labels in arrays": lambda items: [(x, np.array([y])) for x, y in items],
    "dicts": lambda items: [{"input": x, "label": y} for x, y in items],
    "pairs of a dict": lambda items: [({"input": x}, y) for x, y in items],
    "pairs of a tuple": lambda items: [((x,), torch.tensor(y)) for x, y in items],
    "labels by output": lambda items: [(x, {"output": y}) for x, y in items],
    "data set": Numbered,
    "a function": lambda items: lambda: list(items),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_samples_does_not_matter(form: str) -> None:
    graph, items = graph_of(network()), pairs(20)
    wanted = trained(FineTune(data=items, batch=8), graph)
    assert largest_difference(trained(FineTune(data=FORMS[form](items), batch=8), graph), wanted) == 0


def loader_of(items: list[Pair], **options: Any) -> Any:
    """Batches of 8, as torch makes them."""
    kind: Any = torch.utils.data.DataLoader
    return kind(Numbered(items), batch_size=8, **options)


def test_items_of_many_rows_are_batches() -> None:
    graph, items = graph_of(network(), symbolic=True), pairs(20)
    loader = loader_of(items)
    made = trained(FineTune(data=loader, batch=8), graph)
    assert largest_difference(made, trained(FineTune(data=items, batch=8, shuffle=False), graph)) == 0


def test_a_loader_that_shuffles_gives_the_same_with_the_same_seed() -> None:
    graph, items = graph_of(network()), pairs(20)
    loader = loader_of(items, shuffle=True)
    torch.manual_seed(1)
    first = trained(FineTune(data=loader, batch=8), graph)
    torch.manual_seed(2)
    assert largest_difference(first, trained(FineTune(data=loader, batch=8), graph)) == 0
    assert largest_difference(first, trained(FineTune(data=loader, batch=8), graph, seed=1)) > 1e-5


class Stream(torch.utils.data.IterableDataset[Any]):
    """Pairs of an image without the axis of rows, of which nobody knows how many there are."""

    def __init__(self, items: list[Pair]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return ((image[0], label) for image, label in self.items)


def test_a_loader_of_a_stream_has_no_length() -> None:
    graph, items = graph_of(network(), symbolic=True), pairs(20)
    kind: Any = torch.utils.data.DataLoader
    made = trained(FineTune(data=kind(Stream(items), batch_size=8), batch=8, epochs=2), graph)
    assert largest_difference(made, trained(FineTune(data=loader_of(items), batch=8, epochs=2), graph)) == 0


@pytest.mark.parametrize("dtype", ["uint16", "uint64", "int8", "bool"])
def test_class_numbers_are_of_any_integer_type(dtype: str) -> None:
    graph, items = graph_of(network()), [(x, min(y, 1)) for x, y in pairs(8)]
    made = trained(FineTune(data=[(x, np.array(y, dtype)) for x, y in items]), graph)
    assert largest_difference(made, trained(FineTune(data=items), graph)) == 0


SCALED = """\
graph main(opset = 21) {
  input %x: f32[1, 4]
  input %by: f32[1, 4]
  weight %w: f32[4, 5] = splat(0.1)
  %m: f32[1, 4] = Mul(%x, %by)
  %y: f32[1, 5] = MatMul(%m, %w)
  return %y
}
"""


def test_an_input_that_is_left_out_has_its_default() -> None:
    graph = parse_graph(SCALED)
    graph.defaults[graph.inputs[1]] = np.full((1, 4), 2, np.float32)
    items = [x for x, _ in pairs(8, shape=(4,))]
    labels = range(5)
    short, whole = (
        trained(FineTune(data=[(dict(zip(("x", "by"), given, strict=False)), y) for given, y in data]), graph)
        for data in (
            list(zip([(x,) for x in items], labels, strict=False)),
            list(zip([(x, np.full((1, 4), 2, np.float32)) for x in items], labels, strict=False)),
        )
    )
    assert largest_difference(short, whole) == 0


class Fixed(nn.Module):
    """A model that has its batch of one written into it, by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 4)
        self.second = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.second(torch.relu(self.first(x)).view(4, 1).transpose(0, 1))
        return made


def test_a_model_that_takes_one_sample_learns_the_same_as_one_that_takes_many() -> None:
    torch.manual_seed(0)
    fixed = Fixed()
    free = nn.Sequential(fixed.first, nn.ReLU(), fixed.second)
    items = pairs(20, shape=(6,))
    one, many = (trained(FineTune(data=items, batch=8, lr=0.1), graph_of(m, (1, 6))) for m in (fixed, free))
    assert not can_stack([Executable(graph_of(fixed, (1, 6)))], checked(items, graph_of(fixed, (1, 6))))
    assert can_stack([Executable(graph_of(free, (1, 6)))], checked(items, graph_of(free, (1, 6))))
    for a, b in zip(one.values(), many.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)


class Viewed(nn.Module):
    """A model with the sizes of its example written into two views, as torch.export leaves them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 4), nn.BatchNorm1d(12), nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x.view(x.size(0), 3, 2)).reshape(x.size(0), -1)
        made: torch.Tensor = self.last(self.norm(x))
        return made


def test_the_batch_of_a_view_is_opened_and_the_graph_keeps_it() -> None:
    torch.manual_seed(0)
    graph = graph_of(Viewed().eval(), (1, 6))
    shapes = shape_constants(graph)
    assert len(shapes) == 2
    assert all(shape[0] == 1 for shape in shapes)
    run_pass(FineTune(data=pairs(16, shape=(6,)), batch=8), graph)
    assert shape_constants(graph) == shapes
    mean = graph.value("norm.running_mean").data
    assert mean is not None
    assert mean.any(), "the rows ran together, so that the statistics follow them"


def test_a_reshape_that_merges_rows_keeps_its_sizes() -> None:
    """(4, 6) -> (2, -1): the first size is not the input's, so that 0 would make another tensor of it."""
    graph = parse_graph(
        """\
graph main(opset = 21) {
  input %x: f32[4, 6]
  weight %s: i64[2] = [2, -1]
  weight %w: f32[12, 5] = splat(0.1)
  %r: f32[2, 12] = Reshape(%x, %s)
  %y: f32[2, 5] = MatMul(%r, %w)
  return %y
}
"""
    )
    run = Executable(graph, trainable=True)
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    before = run.run_numpy({"x": x})["y"]
    open_batch(run)
    np.testing.assert_array_equal(run.run_numpy({"x": x})["y"], before)


def shape_constants(graph: Graph) -> list[list[int]]:
    return [v.data.tolist() for v in graph.constants if v.data is not None and v.data.dtype == np.int64]


class Mixing(nn.Module):
    """A model whose outputs depend on the other rows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.linear(x - x.mean(0, keepdim=True) + 1)
        return made


def test_rows_that_a_model_mixes_do_not_run_together() -> None:
    graph = graph_of(Mixing(), (1, 6))
    assert not can_stack([Executable(graph)], checked(pairs(4, shape=(6,)), graph))


def test_batch_norms_of_a_model_that_takes_one_sample_keep_their_statistics_and_the_report_says_so() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fixed = nn.BatchNorm1d(6), Fixed()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.fixed(self.norm(x))
            return made

    graph = graph_of(Both().eval(), (1, 6))
    context = run_pass(FineTune(data=pairs(8, shape=(6,)), batch=8), graph)
    assert any("batch norms keep their statistics" in note for note in context.row.notes)
    mean = graph.value("norm.running_mean").data
    assert mean is not None
    assert not mean.any()


class Sequence(nn.Module):
    """Tokens (n, length, 4) of any length to one class each."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.linear(x)
        return made


def test_samples_of_different_shapes_share_a_batch() -> None:
    torch.manual_seed(0)
    module, random = Sequence(), np.random.default_rng(0)
    example = torch.zeros(2, 5, 4)
    shapes = ({0: torch.export.Dim("n"), 1: torch.export.Dim("length")},)
    graph = irc_load(module, example, shapes)
    lengths = [3, 5, 3, 2, 5, 3]
    items = [(random.normal(size=(1, n, 4)).astype(np.float32), random.integers(0, CLASSES, (1, n))) for n in lengths]
    made = trained(FineTune(data=items, batch=6, lr=0.1, warmup=0.0, weight_decay=0.0, momentum=0.0), graph)
    losses = [
        nn.functional.cross_entropy(module(torch.from_numpy(x)).transpose(1, 2), torch.from_numpy(y)) for x, y in items
    ]
    torch.autograd.backward(torch.stack(losses).mean())  # of rows: a long one counts as a short one
    assert module.linear.bias.grad is not None
    wanted = module.linear.bias.detach() - 0.1 * module.linear.bias.grad
    np.testing.assert_allclose(made["linear.bias"], wanted.numpy(), atol=TOLERANCE)


def irc_load(module: nn.Module, example: torch.Tensor, shapes: Any) -> Graph:
    import irc.api

    return irc.api.load(module, (example,), dynamic_shapes=shapes)


def checked(items: Any, graph: Graph) -> list[Item]:
    return list(TrainingData(items, graph, batch=4, seed=0, shuffle=True, labelled=True, name="test").items(0))


def test_every_sample_comes_once_an_epoch_and_in_another_order_each() -> None:
    graph, items = graph_of(network()), pairs(20)
    source = TrainingData(items, graph, batch=8, seed=3, shuffle=True, labelled=True, name="test")
    orders = [[keys(item.sample["input"]) for item in source.items(epoch)] for epoch in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(keys(x) for x, _ in items)
    assert [len(batch) for batch in source.batches(0)] == [8, 8, 4]


def keys(array: Array) -> bytes:
    return array.tobytes()


def test_a_stream_is_shuffled_in_a_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, items = graph_of(network()), pairs(50)

    class Stream:
        def __iter__(self) -> Iterator[Pair]:
            return iter(items)

    for size in (1 << 20, 10 * items[0][0].nbytes):
        monkeypatch.setattr(data_module, "_BUFFER", size)
        order = [keys(item.sample["input"]) for item in checked(Stream(), graph)]
        assert order != [keys(x) for x, _ in items]
        assert sorted(order) == sorted(keys(x) for x, _ in items)
    first = order.index(keys(items[0][0]))
    assert order[0] in [keys(x) for x, _ in items[:11]], "nothing beyond the buffer can come first"
    assert first >= 0


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_a_batch_without_loss(size: int) -> None:
    graph, items = graph_of(network()), pairs(7)
    chunks = chunks_of(checked(items, graph), ["input"], stacked=True)
    parts = [shared_out(chunks, World(rank, size), stacked=True)[0] for rank in range(size)]
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert torch.cat([part.inputs[0] for part in parts]).equal(chunks[0].inputs[0])


def test_images_have_their_channels_next_to_one_another() -> None:
    """However many run at once; to index them, nothing is another."""
    items = list(checked(pairs(3), graph_of(network())))
    for stacked in (True, False):
        chunks = chunks_of(items, ["input"], stacked=stacked)
        inputs = [chunk.inputs[0] for chunk in chunks]
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in inputs)
        images = np.concatenate([item.sample["input"] for item in items])
        np.testing.assert_array_equal(torch.cat(inputs).numpy(), images)


def test_a_process_that_there_is_no_row_for_counts_nothing() -> None:
    graph = graph_of(network())
    chunks = chunks_of(checked(pairs(2)[:1], graph), ["input"], stacked=True)
    for stacked in (True, False):
        shares = [[c.share for c in shared_out(chunks, World(rank, 2), stacked=stacked)] for rank in range(2)]
        assert sorted(shares) == [[0.0], [1.0]]
