"""A typed op has a field for every attribute that its operator has had since the op's version, default included."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import onnx
import pytest

from irc import ops
from irc.op import Op

TYPED = [cls for cls in ops.TYPED if not cls.domain]


def schemas(cls: type[Op]) -> list[Any]:
    """Every version of the operator from the op's own on."""
    every = onnx.defs.get_all_schemas_with_history()
    return [s for s in every if (s.domain, s.name) == ("", cls.__name__) and s.since_version >= cls.since]


def default_of(attribute: Any) -> Any:
    """ONNX's default as a field has it: MISSING where one must be given, None where one may be."""
    if attribute.required:
        return MISSING
    value = onnx.helper.get_attribute_value(attribute.default_value) if attribute.default_value.name else None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-6)  # ONNX states float32 numbers, the fields the decimal that was meant
    return value if value is None or isinstance(value, int) else tuple(value)


@pytest.mark.parametrize("cls", TYPED, ids=lambda cls: cls.__name__)
def test_fields_are_the_attributes(cls: type[Op]) -> None:
    versions = schemas(cls)
    assert cls.since in {s.since_version for s in versions}
    wanted = {a.name: default_of(a) for s in versions for a in s.attributes.values()}
    assert {f.name: f.default for f in fields(cls)} == wanted
