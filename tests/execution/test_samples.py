"""Samples are checked one by one, and replayed as often as wanted in memory that does not grow with their number."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from irc.errors import DataError, OutputError
from irc.execution.samples import Samples, random_sample
from irc.graph import Graph
from irc.types import tensor


def graph_of(**inputs: Any) -> Graph:
    graph = Graph()
    for name, type in inputs.items():
        graph.add_input(name, type)
    return graph


IMAGE = graph_of(x=tensor("f32", "N", 3))
PAIR = graph_of(a=tensor("f32", 2), b=tensor("i64"))


def stream(count: int, width: int = 3) -> Iterator[Any]:
    for index in range(count):
        yield np.full((1, width), index, np.float32)


def numbers(samples: Iterator[dict[str, Any]]) -> list[int]:
    return [int(s["x"].flat[0]) for s in samples]


# ---- replay


@pytest.mark.parametrize("once", [True, False])
def test_every_pass_sees_every_sample(once: bool) -> None:
    samples = Samples(stream(5) if once else list(stream(5)), IMAGE)
    assert samples.count is None
    for _ in range(3):
        assert numbers(iter(samples)) == [0, 1, 2, 3, 4]
    assert samples.count == 5


def test_a_stream_is_taken_up_where_a_partial_pass_left_it() -> None:
    drawn = []

    def source() -> Iterator[Any]:
        for array in stream(6):
            drawn.append(int(array[0, 0]))
            yield array

    samples = Samples(source(), IMAGE)
    assert [int(s["x"][0, 0]) for s in samples.first(2)] == [0, 1]
    assert drawn == [0, 1], "no more is read than is asked for"
    assert numbers(iter(samples.first(4))) == [0, 1, 2, 3]
    assert numbers(iter(samples)) == list(range(6))
    assert numbers(iter(samples)) == drawn == list(range(6))


def test_two_passes_may_run_at_the_same_time() -> None:
    samples = Samples(stream(4), IMAGE)
    first, second = iter(samples), iter(samples)
    assert numbers(iter([next(first), next(first)])) == [0, 1]
    assert numbers(second) == [0, 1, 2, 3]
    assert numbers(first) == [2, 3]


def test_an_iterable_is_not_started_before_it_is_read() -> None:
    class Loader:
        started = 0

        def __iter__(self) -> Iterator[Any]:
            Loader.started += 1
            return stream(2)

    samples = Samples(Loader(), IMAGE)
    assert Loader.started == 0
    assert numbers(iter(samples)) == numbers(iter(samples)) == [0, 1]
    assert Loader.started == 2


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    width = 100_000  # 400 kB a sample
    graph = graph_of(x=tensor("f32", "N", width))

    def peak(count: int) -> int:
        samples = Samples(stream(count, width), graph)
        tracemalloc.start()
        for _ in range(2):
            assert sum(1 for _ in samples) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(4), peak(40)
    assert many < few + 4 * width, "not one sample more"


def test_a_full_disk_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    with pytest.raises(OutputError, match=r"sample 0 cannot be kept in '.*': No space left on device; set TMPDIR"):
        list(Samples(stream(2, width=100_000), graph_of(x=tensor("f32", "N", 100_000))))


@pytest.mark.parametrize("dtype", ["bf16", "f16", "i4", "u16", "bool", "string", "f8e4m3fn", "c64"])
def test_every_dtype_comes_back_from_the_spool(dtype: str) -> None:
    type = tensor(dtype, 2)
    array = np.array(["a", "äö"], object) if dtype == "string" else np.array([0, 1]).astype(type.dtype.numpy)
    samples = Samples(iter([array, array]), graph_of(x=type))
    for _ in range(2):
        for sample in samples:
            assert sample["x"].dtype == type.dtype.numpy
            assert sample["x"].tolist() == array.tolist()


def test_an_input_with_a_default_may_be_left_out_now_and_then() -> None:
    graph = graph_of(x=tensor("f32", 1))
    graph.add_input("k", tensor("f32", "M"), np.ones(1, np.float32))
    one = np.ones(1, np.float32)
    given = [{"x": one}, {"x": one, "k": one}, {"k": np.zeros(0, np.float32), "x": one}]
    for samples in (Samples(iter(given), graph), Samples(given, graph)):
        for _ in range(2):
            assert [sorted(s) for s in samples] == [["x"], ["k", "x"], ["k", "x"]]


# ---- forms


@pytest.mark.parametrize(
    "form",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        lambda a, b: {"b": b, "a": a},
        lambda a, b: (torch.from_numpy(a).requires_grad_(), torch.tensor(int(b))),
    ],
    ids=["tuple", "list", "dict", "torch"],
)
def test_forms_of_a_sample(form: Callable[[Any, Any], Any]) -> None:
    (sample,) = Samples([form(np.array([1, 2], np.float32), np.array(7))], PAIR)
    assert {n: v.tolist() for n, v in sample.items()} == {"a": [1, 2], "b": 7}
    assert all(isinstance(v, np.ndarray) for v in sample.values())


def test_an_array_or_a_tensor_alone_is_the_one_input() -> None:
    assert numbers(iter(Samples([np.full((1, 3), 4, np.float32)], IMAGE))) == [4]
    half = torch.full((1, 3), 5).to(torch.bfloat16)
    (sample,) = Samples([half], graph_of(x=tensor("bf16", "N", 3)))
    assert sample["x"].dtype == ml_dtypes.bfloat16


# ---- errors

ONES = np.ones((1, 3), np.float32)
WRONG: dict[str, tuple[Graph, Any, str]] = {
    "an unknown name": (IMAGE, {"y": ONES}, "sample 1: the model has no input 'y'; its inputs are x"),
    "a missing name": (PAIR, {"a": np.ones(2, np.float32)}, "sample 1: input 'b' is missing; the model takes a, b"),
    "too few": (PAIR, (np.ones(2, np.float32),), "sample 1: input 'b' is missing"),
    "too many": (IMAGE, (ONES, ONES), r"sample 1: 2 values for 1 inputs \(x\)"),
    "a dtype": (
        IMAGE,
        ONES.astype(np.float64),
        r"input 'x' is float64, the model takes float32; convert it with .astype",
    ),
    "a byte order": (IMAGE, ONES.astype(">f4"), "input 'x' is >f4, the model takes float32"),
    "a number of dimensions": (IMAGE, ONES[0], r"input 'x' has shape \[3\], the model takes f32\[N, 3\]"),
    "a dimension": (IMAGE, ONES[:, :2], r"input 'x' has shape \[1, 2\], the model takes f32\[N, 3\]"),
    "ragged rows": (IMAGE, {"x": [[1.0], [1.0, 2.0]]}, "input 'x' is no array: its rows differ in length"),
    "no array at all": (IMAGE, "picture.png", "input 'x' is <U11"),
}


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_samples(name: str, once: bool) -> None:
    graph, wrong, text = WRONG[name]
    good = ONES if graph is IMAGE else (np.ones(2, np.float32), np.array(1))
    samples = Samples(iter([good, wrong]) if once else [good, wrong], graph)
    with pytest.raises(DataError, match=text):
        list(samples)


@pytest.mark.parametrize("source", [[], iter([])])
def test_no_sample_at_all(source: Any) -> None:
    samples = Samples(source, IMAGE)
    for _ in range(2):
        with pytest.raises(DataError, match="there is not a single sample"):
            list(samples)


@pytest.mark.parametrize("source", [{"x": ONES}, "images", b"images", 3, None])
def test_what_is_no_series_of_samples(source: Any) -> None:
    with pytest.raises(DataError, match="samples must be an iterable of inputs"):
        Samples(source, IMAGE)


# ---- made-up samples


def test_a_random_sample_fits_the_model_and_depends_on_the_seed_only() -> None:
    graph = graph_of(x=tensor("f32", "N", 3), h=tensor("f16", None), i=tensor("i64", "N"))
    sample, again, other = random_sample(graph, 1), random_sample(graph, 1), random_sample(graph, 2, symbol=5)
    (checked,) = Samples([sample], graph)
    assert {n: a.shape for n, a in checked.items()} == {"x": (2, 3), "h": (2,), "i": (2,)}
    assert all(np.array_equal(sample[n], again[n]) for n in sample)
    assert other["x"].shape == (5, 3)
    assert not np.array_equal(other["x"][:2], sample["x"])


def test_a_random_sample_needs_a_shape() -> None:
    with pytest.raises(DataError, match="input 'x' has no known shape; give example inputs"):
        random_sample(graph_of(x=None))
