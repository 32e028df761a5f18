"""All rules: importing this module fills the table."""

from __future__ import annotations

from irc.frontends.torch import (  # noqa: F401  # each enters its rules
    aten_activation,
    aten_attention,
    aten_compare,
    aten_conv,
    aten_create,
    aten_elementwise,
    aten_index,
    aten_linear,
    aten_norm,
    aten_pool,
    aten_recurrent,
    aten_reduce,
    aten_resize,
    aten_shape,
)
from irc.frontends.torch.rules import RULES, rule_for

__all__ = ["RULES", "rule_for"]
