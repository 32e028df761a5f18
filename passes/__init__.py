"""The built-in passes, one a file. Importing a pass here is what registers it.

    base, options, registry             what a pass is; its options as text; passes by name
    context, pipeline                   what a pass is given; running passes in order
    numerics, reproducer                holding a pass to what it declares; what a crash leaves behind
    edit, qdq, quantized_contractions   what several passes do alike
    simplify_rules, integer_rules       the rules of `simplify`, those of `lower-to-integer`
    training, scale_limits              what `fine-tune` and `distill` do alike; what scales must not fall below
    smooth_folding                      where `smooth-quant` puts its factors
    between                             passes that a pass runs between its steps
    near_duplicates                     what `dedup-weights` does with a tolerance
    channels                            what `prune-channels` does: how to choose channels, and how to take them out
    float_rules                         what `cast-float` does: which nodes stay in float32, and the Casts between
    low_rank_rules                      what `low-rank` does: which weights, at which ranks, and the factors
    as_convolutions                     what `quantize` does first, where the target wants it
    every other file                    the pass of that name
"""

from irc.passes.base import EXACT, LOSSY, Declined, Outcome, Pass, Rewrite, option, within
from irc.passes.calibrate import Calibrate
from irc.passes.cast_float import CastFloat
from irc.passes.cluster_weights import ClusterWeights
from irc.passes.common_subexpressions import CommonSubexpressions
from irc.passes.correct_bias import CorrectBias
from irc.passes.dedup_weights import DedupWeights
from irc.passes.distill import Distill
from irc.passes.eliminate_dead import EliminateDead
from irc.passes.fine_tune import FineTune
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.fold_constants import FoldConstants
from irc.passes.fold_pad import FoldPad
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.passes.low_rank import LowRank
from irc.passes.lower_to_integer import LowerToInteger
from irc.passes.optimize_rounding import OptimizeRounding
from irc.passes.prune_channels import PruneChannels
from irc.passes.prune_weights import PruneWeights
from irc.passes.quantize import Quantize
from irc.passes.simplify import Simplify
from irc.passes.smooth_quant import SmoothQuant

__all__ = [
    "EXACT",
    "LOSSY",
    "Calibrate",
    "CastFloat",
    "ClusterWeights",
    "CommonSubexpressions",
    "CorrectBias",
    "Declined",
    "DedupWeights",
    "Distill",
    "EliminateDead",
    "FineTune",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldPad",
    "InsertFakeQuant",
    "LowRank",
    "LowerToInteger",
    "OptimizeRounding",
    "Outcome",
    "Pass",
    "PruneChannels",
    "PruneWeights",
    "Quantize",
    "Rewrite",
    "Simplify",
    "SmoothQuant",
    "option",
    "within",
]
