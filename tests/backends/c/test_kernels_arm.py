"""The kernels for ARM (NEON, dot products, matrix products) give the bits of the contract, for any shape.

qemu emulates the processors. NEON and dot products run on processors that have no more than they may use: one
too many ends the process. The cases are those of the kernels of this machine.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.c import test_kernels_conv, test_kernels_depthwise, test_kernels_pack_b
from tests.backends.c.emulation import remote

CPUS = {"neon": "cortex-a72", "dotprod": "cortex-a76", "i8mm": "max"}


def arm(isa: str, compiler: str = "gcc") -> remote.Remote:
    if missing := remote.missing_for_arm(compiler):
        pytest.skip(f"ARM kernels need {missing}")
    return remote.arm(isa, CPUS[isa], compiler)


@pytest.mark.parametrize("isa", CPUS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_convolutions(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_conv.Case)(winograd=False))
    with remote.standing_in(arm(isa)):
        np.testing.assert_array_equal(case.run(isa, False), case.wanted())


@pytest.mark.parametrize("isa", CPUS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_clang_gives_the_same_bits(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_conv.Case)(winograd=False))
    with remote.standing_in(arm(isa, "clang")):
        np.testing.assert_array_equal(case.run(isa, False), case.wanted())


@pytest.mark.parametrize("isa", CPUS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_winograd(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_conv.Case)(winograd=True))
    with remote.standing_in(arm(isa)):
        np.testing.assert_array_equal(case.run(isa, True), case.wanted())


@pytest.mark.parametrize("isa", CPUS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_depthwise(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_depthwise.Case)())
    with remote.standing_in(arm(isa)):
        np.testing.assert_array_equal(case.run(isa), case.wanted())


@pytest.mark.parametrize("isa", CPUS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_packed_products(isa: str, data: st.DataObject) -> None:
    with remote.standing_in(arm(isa)):
        test_kernels_pack_b.test_packed_products.hypothesis.inner_test(isa, data)
