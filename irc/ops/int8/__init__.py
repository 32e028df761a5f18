"""The integer ops of domain `irc`, which C targets run: uint8 activations, int8 weights, one contract of rounding."""

from irc.ops.int8.arithmetic import QAdd, QMul
from irc.ops.int8.contraction import QBatchMatMul, QConv, QMatMul
from irc.ops.int8.lookup import QLookup
from irc.ops.int8.pool import QAveragePool, QReduceMean

__all__ = ["QAdd", "QAveragePool", "QBatchMatMul", "QConv", "QLookup", "QMatMul", "QMul", "QReduceMean"]
