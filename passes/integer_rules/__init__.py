"""The rules of `lower-to-integer`, one family a file: what stands between DequantizeLinear and QuantizeLinear.

    codes          values held as uint8 codes; where a value is quantized again; turning a node into an integer op
    signed         int8 activations to uint8 ones
    movement       op(DQ(c))  ->  DQ(op(c))
    contraction    Q(epilogue(Conv, Gemm, MatMul))  ->  QConv, QMatMul;  epilogue, product: what these are made with
    arithmetic     Q(Add, Sub, Mul, means)  ->  QAdd, QMul, QReduceMean, QAveragePool
    lookup         Q(any function of one code)  ->  QLookup, and Concat of unlike scales
    INTEGER_OPS, INTEGER_POLICY     what a target that runs the result quantizes
"""

from irc.target import IntegerFormat, QuantPolicy

# what these rules make integer ops of, by ONNX name; the rest stays float between Q and DQ
_CONTRACTIONS = {"Conv", "Gemm", "MatMul"}
_ARITHMETIC = {"Add", "AveragePool", "Concat", "GlobalAveragePool", "Mul", "ReduceMean", "Sub"}
_FUNCTIONS = {"Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Sigmoid", "Swish", "Tanh"}
_CLAMPS = {"Clip", "Relu"}
_MOVEMENT = {"DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Pad", "ReduceMax"}
_MOVEMENT |= {"ReduceMin", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose"}
_MOVEMENT |= {"Unsqueeze"}
INTEGER_OPS = frozenset(_CONTRACTIONS | _ARITHMETIC | _FUNCTIONS | _CLAMPS | _MOVEMENT)

# what a target that runs the integer ops wants quantized, and how
INTEGER_POLICY = QuantPolicy(
    activation=IntegerFormat(signed=False, symmetric=False),
    weight=IntegerFormat(),
    integer_ops=INTEGER_OPS,
    residual_skip_only=True,
    float_bias=True,
    matmul_right_symmetric=True,
    bias_add_fused=True,
    as_convolutions=True,
    quantize_embeddings=True,
)
