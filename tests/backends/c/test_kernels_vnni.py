"""The kernels for AVX-VNNI, AVX-512 VNNI and AMX give the bits of the contract, for any shape.

On a processor that has the instructions they run there. Elsewhere emulation/immintrin.h puts C functions for
the intrinsics: that tests the kernels' arithmetic, addresses and order of channels, but not what the compiler makes of
the intrinsics nor the instructions that are written in assembly. Of these, test_assembly checks the operands.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.c import kernel_driver as driver
from tests.backends.c import test_kernels_conv, test_kernels_depthwise, test_kernels_pack_b
from tests.backends.c.emulation import remote

ISAS = ("avxvnni", "avx512vnni", "amx")
# header, register, type, as the kernels write it, the intrinsic
ZMM = (
    "conv_vnni.h", "zmm", "__m512i",
    "IRC_DPBUSD_ZMM(c, irc_four_codes(x), w)", "_mm512_dpbusd_epi32(c, irc_four_codes(x), w)",
)  # fmt: skip
YMM = (
    "conv_avxvnni.h", "ymm", "__m256i",
    "IRC_DOT_ROW_1(c, x, w)", "_mm256_dpbusd_avx_epi32(c, _mm256_set1_epi32(*x), w)",
)  # fmt: skip
ASSEMBLY = {"avxvnni": YMM, "avx512vnni": ZMM, "amx": ZMM}


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


@pytest.mark.parametrize("isa", ISAS)
def test_assembly(isa: str, tmp_path: Path) -> None:
    """vpdpbusd as the kernels write it has the operands of the compiler's intrinsic: weights first, sums last."""
    header, register, vector, written, intrinsic = ASSEMBLY[isa]
    (tmp_path / "both.c").write_text(
        f'#include "{header}"\n'
        f"{vector} one({vector} c, {vector} w, const uint8_t *x) {{ {written}; return c; }}\n"
        f"{vector} two({vector} c, {vector} w, const uint8_t *x) {{ return {intrinsic}; }}\n"
    )
    command = ["gcc", "-O2", *remote.FLAGS[isa], f"-I{driver.KERNELS}", "-S", "both.c", "-o", "both.s"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = re.findall(r"vpdpbusd\s+(%\w+),\s*(%\w+),\s*(%\w+)", (tmp_path / "both.s").read_text())
    assert len(found) == 2
    assert [(weights, sums) for weights, _, sums in found] == [(f"%{register}1", f"%{register}0")] * 2
