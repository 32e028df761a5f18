"""Graph to Program: one rule for each op."""

from irc.backends.c.lowering import (  # noqa: F401  # they fill the table of rules
    composed_attention,
    composed_norm,
    composed_quantized,
    composed_select,
    contraction,
    control,
    elementwise,
    float_contraction,
    float_product,
    gather,
    integer_product,
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
from irc.backends.c.lowering.composed import is_composed
from irc.backends.c.lowering.rules import RULES, key_of
from irc.op import Op

__all__ = ["RULES", "is_covered"]


def is_covered(op: Op) -> bool:
    """Whether there is a rule for the op, or it is written out as ops that have one."""
    return key_of(op) in RULES or is_composed(op)
