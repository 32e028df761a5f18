"""Products of symbolic dimensions are equal only where the dimensions are."""

from __future__ import annotations

import pytest

from irc.types import Dim, product


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ((), 1),
        ((2, 3), 6),
        (("N",), "N"),
        ((7, "N", 7), "49*N"),
        (("N", "M"), "M*N"),
        ((3, "2*N"), "6*N"),
        (("2*N", "3*M*N"), "6*M*N*N"),
        ((0, "N"), 0),
        (("N", None), None),
        (("2*N+1",), "2*N+1"),
        ((2, "N+1"), "2*(N+1)"),
        ((1, "N+1"), "N+1"),
    ],
)
def test_product(dims: tuple[Dim, ...], expected: Dim) -> None:
    assert product(dims) == expected


def test_twice_a_sum_is_not_the_sum_with_its_first_term_doubled() -> None:
    assert product((2, "N+1")) != "2*N+1"
