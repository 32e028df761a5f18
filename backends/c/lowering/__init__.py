"""Graph to Program: one rule for each op."""

from irc.backends.c.lowering import (  # noqa: F401  # they fill the table of rules
    contraction,
    control,
    elementwise,
    float_contraction,
    float_product,
    gather,
    integers,
    loop_pool,
    movement,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    rows,
    scan,
)
from irc.backends.c.lowering.rules import RULES

__all__ = ["RULES"]
