"""The target `onnx` takes for integer exactly what the installed onnxruntime computes on integers."""

from __future__ import annotations

import fusion_table
import pytest


@pytest.mark.parametrize("case", fusion_table.CASES, ids=lambda case: f"{case.op}{case.attributes.get('mode', '')}")
def test_an_operator_alone_is_fused_as_the_profile_says(case: fusion_table.Case) -> None:
    verdict = fusion_table.judge(case)
    assert verdict.as_expected, verdict


def test_every_operator_of_the_profile_has_been_tried() -> None:
    assert fusion_table.untried() == []
