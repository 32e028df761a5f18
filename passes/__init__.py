"""The built-in passes, one a file. Importing a pass here is what registers it."""

from irc.passes.base import EXACT, LOSSY, Declined, Outcome, Pass, Rewrite, option, within
from irc.passes.calibrate import Calibrate
from irc.passes.common_subexpressions import CommonSubexpressions
from irc.passes.correct_bias import CorrectBias
from irc.passes.dedup_weights import DedupWeights
from irc.passes.eliminate_dead import EliminateDead
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.fold_constants import FoldConstants
from irc.passes.fold_pad import FoldPad
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.passes.optimize_rounding import OptimizeRounding
from irc.passes.quantize import Quantize
from irc.passes.simplify import Simplify

__all__ = [
    "EXACT",
    "LOSSY",
    "Calibrate",
    "CommonSubexpressions",
    "CorrectBias",
    "Declined",
    "DedupWeights",
    "EliminateDead",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldPad",
    "InsertFakeQuant",
    "OptimizeRounding",
    "Outcome",
    "Pass",
    "Quantize",
    "Rewrite",
    "Simplify",
    "option",
    "within",
]
