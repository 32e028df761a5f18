"""The kernels for AVX-VNNI, AVX-512 VNNI and AMX give the bits of the contract, for any shape.

On a processor that has the instructions they run there. Elsewhere emulation/immintrin.h puts C functions for
the intrinsics: that tests the kernels' arithmetic, addresses and order of channels, but not what the compiler makes of
the intrinsics nor the instructions that are written in assembly. Of these, test_assembly checks the operands.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.c import test_kernels_conv, test_kernels_depthwise, test_kernels_pack_b
from tests.backends.c.emulation import remote

ISAS = ("avxvnni", "avx512vnni", "amx")


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_convolutions(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_conv.Case)(winograd=False))
    with remote.standing_in(remote.x86(isa)):
        np.testing.assert_array_equal(case.run(isa, False), case.wanted())


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_winograd(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_conv.Case)(winograd=True))
    with remote.standing_in(remote.x86(isa)):
        np.testing.assert_array_equal(case.run(isa, True), case.wanted())


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_depthwise(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(test_kernels_depthwise.Case)())
    with remote.standing_in(remote.x86(isa)):
        np.testing.assert_array_equal(case.run(isa), case.wanted())


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_packed_products(isa: str, data: st.DataObject) -> None:
    with remote.standing_in(remote.x86(isa)):
        test_kernels_pack_b.test_packed_products.hypothesis.inner_test(isa, data)
