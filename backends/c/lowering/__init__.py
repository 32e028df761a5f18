"""Graph to Program: one rule for each op."""

from irc.backends.c.lowering import contraction, elementwise, gather, movement, pool, quantize, reduce, rows  # noqa: F401  # they fill the table of rules
from irc.backends.c.lowering.rules import RULES

__all__ = ["RULES"]
