"""A View is to its buffer what a numpy view is to its array: the same elements under every movement."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from irc.backends.c.views import Buffer, View, dense_strides
from irc.types import Array, DType


def elements(view: View) -> Array:
    """What the view shows of a buffer that counts upwards."""
    count = np.arange(view.buffer.elements)
    return as_strided(count[view.offset :], view.shape, [s * count.itemsize for s in view.strides])


@st.composite
def views(draw: Any) -> View:
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    order = draw(st.permutations(range(len(shape))))
    view = View(Buffer(DType.U8, math.prod(shape)), tuple(shape), dense_strides(shape, order))
    axis = draw(st.integers(0, len(shape) - 1))
    if draw(st.booleans()) and shape[axis] > 1:
        view = view.sliced(axis, 1, shape[axis] - 1)
    return view


@st.composite
def reshapes(draw: Any) -> tuple[View, list[int]]:
    view = draw(views())
    rest = view.elements
    shape: list[int] = []
    while rest > 1 and len(shape) < 5:
        size = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        shape.append(size)
        rest //= size
    return view, [*shape, rest]


@given(views(), st.data())
def test_movements(view: View, data: Any) -> None:
    whole = elements(view)
    axes = data.draw(st.permutations(range(view.rank)))
    np.testing.assert_array_equal(elements(view.permuted(axes)), whole.transpose(axes))
    axis = data.draw(st.integers(0, view.rank - 1))
    np.testing.assert_array_equal(
        elements(view.sliced(axis, view.shape[axis] - 1, view.shape[axis], -1)), np.flip(whole, axis)
    )
    np.testing.assert_array_equal(elements(view.without(axis)), whole.take(0, axis))
    np.testing.assert_array_equal(elements(view.broadcast((3, *view.shape))), np.broadcast_to(whole, (3, *view.shape)))


@given(reshapes())
def test_a_reshape_shows_the_same_elements_or_needs_a_copy(case: tuple[View, list[int]]) -> None:
    view, shape = case
    made = view.reshaped(shape)
    whole = elements(view)
    if made is not None:
        np.testing.assert_array_equal(elements(made), whole.reshape(shape))
    else:
        copied = whole.reshape(shape)
        assert not np.shares_memory(copied, whole), "numpy finds a view where View.reshaped finds none"


@given(views())
def test_dense(view: View) -> None:
    assert view.is_dense() == elements(view).flags["C_CONTIGUOUS"]
