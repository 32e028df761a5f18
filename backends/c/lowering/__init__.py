"""Graph to Program: one rule for each op."""

from irc.backends.c.lowering import (  # noqa: F401  # they fill the table of rules
    contraction,
    elementwise,
    float_contraction,
    float_product,
    gather,
    movement,
    pool,
    quantize,
    reduce,
    rows,
)
from irc.backends.c.lowering.rules import RULES

__all__ = ["RULES"]
