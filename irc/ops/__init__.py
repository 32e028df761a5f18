"""The typed ops, one file a family: importing this package fills `Op.registry`."""

from irc.op import Op
from irc.ops.activation import (
    Celu,
    Clip,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    PRelu,
    Relu,
    Selu,
    Shrink,
    Sigmoid,
    Softplus,
    Softsign,
    SwiGLU,
    Swish,
    ThresholdedRelu,
)
from irc.ops.attention import Attention, RotaryEmbedding
from irc.ops.binary import (
    Add,
    BitShift,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    Div,
    Max,
    Mean,
    Min,
    Mod,
    Mul,
    Pow,
    Sub,
    Sum,
)
from irc.ops.cast import Cast, CastLike
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.fake_quant import FakeQuant
from irc.ops.index import (
    Concat,
    Gather,
    GatherElements,
    GatherND,
    Pad,
    ReverseSequence,
    ScatterElements,
    ScatterND,
    Slice,
    Split,
    Trilu,
)
from irc.ops.int8 import QAdd, QAveragePool, QBatchMatMul, QConv, QLookup, QMatMul, QMul, QReduceMean
from irc.ops.integer import ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul
from irc.ops.linear import Gemm, MatMul
from irc.ops.logic import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from irc.ops.misc import Compress, Det, Dropout, Einsum, EyeLike, NonZero, OneHot, Range
from irc.ops.norm import (
    LRN,
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
)
from irc.ops.pool import AveragePool, GlobalAveragePool, GlobalLpPool, GlobalMaxPool, LpPool, MaxPool
from irc.ops.quantize import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from irc.ops.reduce import (
    ArgMax,
    ArgMin,
    CumProd,
    CumSum,
    ReduceL1,
    ReduceL2,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare,
    TopK,
)
from irc.ops.resize import Resize
from irc.ops.shape import (
    DepthToSpace,
    Expand,
    Flatten,
    Identity,
    Reshape,
    Shape,
    Size,
    SpaceToDepth,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
)
from irc.ops.softmax import Hardmax, LogSoftmax, Softmax
from irc.ops.unary import (
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitwiseNot,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Floor,
    IsInf,
    IsNaN,
    Log,
    Neg,
    Not,
    Reciprocal,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
)

TYPED: tuple[type[Op], ...] = tuple(Op.registry.values())

# fmt: off
__all__ = [
    "LRN", "TYPED", "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "Attention", "AveragePool", "BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Compress", "Concat", "Conv", "ConvInteger",
    "ConvTranspose", "Cos", "Cosh", "CumProd", "CumSum", "DepthToSpace", "DequantizeLinear", "Det", "Div",
    "Dropout", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "FakeQuant",
    "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax",
    "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMul", "MatMulInteger", "Max", "MaxPool", "Mean",
    "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "PRelu",
    "Pad", "Pow", "QAdd", "QAveragePool", "QBatchMatMul", "QConv", "QLinearConv", "QLinearMatMul", "QLookup",
    "QMatMul", "QMul", "QReduceMean", "QuantizeLinear", "RMSNormalization", "Range", "Reciprocal", "ReduceL1",
    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "ReverseSequence", "RotaryEmbedding", "Round",
    "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "SwiGLU", "Swish",
    "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor",
]
# fmt: on
