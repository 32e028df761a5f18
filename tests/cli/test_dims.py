"""Sizes of symbolic dimensions: read from the command line, taken from samples, given to samples."""

from __future__ import annotations

import numpy as np
import pytest

from irc.cli.dims import check_dims, parse_dims, stored_dims
from irc.errors import DataError, OptionError
from irc.evaluation.sizes import fitted, made_up_sample, sample_dims
from irc.graph import Graph
from irc.types import tensor


def graph_of(**shapes: tuple[int | str, ...]) -> Graph:
    graph = Graph()
    for name, shape in shapes.items():
        graph.add_input(name, tensor("f32", *shape))
    return graph


GRAPH = graph_of(x=("N", 3, "T"), mask=("N", "2 * T"), fixed=(4,))


def test_text() -> None:
    assert parse_dims("") == {}
    assert parse_dims("N=8") == {"N": 8}
    assert parse_dims(" N = 8, T=128,") == {"N": 8, "T": 128}


@pytest.mark.parametrize("text", ["N", "N=", "=8", "N=0", "N=-1", "N=two", "N=1.5", "N=8 T=2"])
def test_text_that_is_wrong(text: str) -> None:
    with pytest.raises(OptionError, match="must be a name and a size, 1 or more, such as N=8"):
        parse_dims(text)


def test_names_that_are_wrong() -> None:
    with pytest.raises(OptionError, match="'N' is given twice"):
        parse_dims("N=8,N=9")
    check_dims(GRAPH, {"N": 1, "T": 2})
    with pytest.raises(OptionError, match="no dimension 'M'; they have N, T"):
        check_dims(GRAPH, {"M": 1})
    with pytest.raises(OptionError, match="all of theirs are numbers"):
        check_dims(graph_of(x=(1, 2)), {"M": 1})


def test_sizes_of_a_sample() -> None:
    sample = {"x": np.zeros((8, 3, 5), np.float32), "mask": np.zeros((8, 10), np.float32)}
    assert sample_dims(GRAPH, sample) == {"N": 8, "T": 5}
    assert sample_dims(GRAPH, {"mask": sample["mask"]}) == {"N": 8, "T": 5}  # an input may have a default
    with pytest.raises(DataError, match="dimension 'N' is 8 in input 'x' and 7 in input 'mask'"):
        sample_dims(GRAPH, sample | {"mask": np.zeros((7, 10), np.float32)})


def test_samples_are_repeated_and_cut() -> None:
    x, mask = np.arange(6.0).reshape(1, 3, 2), np.arange(4.0).reshape(1, 4)
    made = fitted(GRAPH, {"x": x, "mask": mask}, {"N": 2, "T": 3})
    np.testing.assert_array_equal(made["x"], np.stack([x[0][:, [0, 1, 0]]] * 2))
    np.testing.assert_array_equal(made["mask"], [[0, 1, 2, 3, 0, 1]] * 2)
    np.testing.assert_array_equal(fitted(GRAPH, made, {"T": 2})["mask"], made["mask"][:, :4])
    with pytest.raises(DataError, match="input 'x' is empty"):
        fitted(GRAPH, {"x": x[:0]}, {"N": 2})


def test_made_up_samples() -> None:
    made = made_up_sample(GRAPH, {"N": 5}, other=2)
    assert {name: array.shape for name, array in made.items()} == {"x": (5, 3, 2), "mask": (5, 4), "fixed": (4,)}
    np.testing.assert_array_equal(made["x"], made_up_sample(GRAPH, {"N": 5}, other=2)["x"])
    assert (made["x"] != made_up_sample(GRAPH, {"N": 5}, seed=1, other=2)["x"]).any()


def test_models_that_are_no_c_have_no_stored_sizes() -> None:
    assert stored_dims(GRAPH) == {}
