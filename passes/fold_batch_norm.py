"""Batch normalization as part of the convolution or matrix product next to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from irc.graph import Node, Value
from irc.op import Op
from irc.ops.binary import Add, Mul
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.linear import Gemm, MatMul
from irc.ops.norm import BatchNormalization
from irc.passes.base import Declined, Outcome, Rewrite, option, within
from irc.passes.edit import only_first_output_read, other_reader, per_channel, set_constant, substitute
from irc.types import Array

if TYPE_CHECKING:
    from irc.passes.context import Context

_CONTRACTIONS = (Conv, ConvTranspose, Gemm, MatMul)
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class FoldBatchNorm(Rewrite):
    """Fold each batch normalization of inference into the convolution or matrix product before or behind it.

        BN(z) = a z + b   with   a = scale / sqrt(var + epsilon),   b = bias - mean a       (per channel)

        BN(W x + c)   =   (a W) x + (a c + b)
        W BN(x) + c   =   (W a) x + (W b + c)

    A Mul or Add of one constant a channel (Caffe's Scale, a layer's learned gain) is such a BN with a or b alone. It
    folds into the product before it, or into the BN before it.

    Valid where the product has no other reader (of BN's output, in the second form), all of W, c, scale, bias, mean
    and var are constants, and, in the second form, the convolution pads nothing (it would pad zeros where BN gives b).
    Within 1e-4 of the largest output: W a is computed in float64 and rounded once to the dtype of W, an error of 6e-8
    an element that the depth of the network adds up. float16 and bfloat16 weights would lose more and are declined.
    A weight that other nodes read too is copied. The weight keeps its name; a bias that is new is called after it.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference" (2018), section 3.2; ONNX BatchNormalization-15.
    """

    lower: bool = option(False, help="turn a batch norm that cannot be folded into Mul and Add")

    numerics = within(1e-4)

    def rewrite(self, node: Node, context: Context) -> Outcome:
        if isinstance(node.op, Mul | Add):
            return _fold_scale_or_shift(node)
        if not isinstance(node.op, BatchNormalization):
            return None
        affine = affine_of(node, node.op)
        if isinstance(affine, Declined):
            return affine
        source = node.inputs[0]
        assert source is not None
        behind = _fold_into_producer(node, source, affine)
        if behind is True:
            return True
        ahead = _fold_into_consumer(node, affine)
        if ahead is True:
            return True
        if self.lower and _lower(node, affine):
            return True
        return ahead if isinstance(ahead, Declined) else behind


class _Affine(NamedTuple):
    """y = a x + b, per channel, in float64."""

    a: Array
    b: Array


def affine_of(node: Node, op: BatchNormalization) -> _Affine | Declined:
    """What the batch norm computes, if it does so from constants alone."""
    if op.training_mode:
        return Declined("it is in training mode: its mean and variance are those of the batch")
    if not only_first_output_read(node):
        return Declined("its running mean or variance is read")
    parameters = [node.constant(k) for k in range(1, 5)]
    for data, what in zip(parameters, ("scale", "bias", "mean", "variance"), strict=True):
        if data is None:
            return Declined(f"its {what} is not a constant")
    scale, bias, mean, var = (np.asarray(p, np.float64) for p in parameters)
    with np.errstate(all="ignore"):  # what is not finite is declined where it is stored
        a = scale / np.sqrt(var + op.epsilon)
        return _Affine(a, bias - mean * a)


# ---- BN(W x + c)


def _fold_into_producer(node: Node, source: Value, affine: _Affine) -> bool | Declined:
    """Fold what `node` does to `source` into what computes that."""
    producer = source.producer
    if producer is None:
        return Declined(f"its input '{source.name}' is not computed by a convolution or matrix product")
    if not isinstance(producer.op, _CONTRACTIONS):
        return Declined(f"its input '{source.name}' comes from {producer!r}, not from a convolution or matrix product")
    if source.use_count != 1:
        return Declined(f"'{source.name}' is read by {other_reader(source, node)} too")
    operands = _operands(producer)
    if isinstance(operands, Declined):
        return operands
    weight, bias = operands
    scaled = weight * _along_outputs(affine.a, producer.op, weight)
    offset = affine.b if bias is None else affine.a * bias + affine.b
    if not _store(producer, scaled, offset):
        return Declined(f"the folded weight of {producer!r} would not be finite: a variance is zero or negative")
    substitute(node, source)
    return True


def _along_outputs(a: Array, op: Op, weight: Array) -> Array:
    """One factor an output channel, shaped to multiply the weight."""
    match op:
        case ConvTranspose():  # weight (C, M/group, *kernel): group g of the inputs makes outputs g M/group ...
            repeated = np.repeat(a.reshape(op.group, -1), weight.shape[0] // op.group, axis=0)
            return repeated.reshape(weight.shape[0], weight.shape[1], *(1,) * (weight.ndim - 2))
        case Conv():
            return a.reshape(-1, *(1,) * (weight.ndim - 1))
        case Gemm(transB=1):
            return a.reshape(-1, 1)
        case _:
            return a


# ---- Mul and Add of a constant


def _fold_scale_or_shift(node: Node) -> Outcome:
    """Fold it into a contraction or batch norm before it; anywhere else it is an ordinary Mul or Add, and no site."""
    for index in (0, 1):
        source, data = node.inputs[index], node.constant(1 - index)
        producer = source.producer if source is not None else None
        if source is None or data is None or producer is None or data.dtype not in _DTYPES:
            continue
        if not isinstance(producer.op, (*_CONTRACTIONS, BatchNormalization)) or source.use_count != 1:
            return None
        vector = per_channel(data, source)
        if vector is None:
            return None
        wide, neutral = np.asarray(vector, np.float64), np.full(vector.shape, float(isinstance(node.op, Add)))
        affine = _Affine(neutral, wide) if isinstance(node.op, Add) else _Affine(wide, neutral)
        if isinstance(producer.op, BatchNormalization):
            return _fold_into_batch_norm(node, producer, affine)
        return True if _fold_into_producer(node, source, affine) is True else None
    return None


def _fold_into_batch_norm(node: Node, producer: Node, affine: _Affine) -> Outcome:
    """a BN(z) + b is a BN of scale a scale and bias a bias + b."""
    scale, bias = producer.constant(1), producer.constant(2)
    if scale is None or bias is None or scale.dtype not in _DTYPES or not only_first_output_read(producer):
        return None
    set_constant(producer, 1, (scale * affine.a).astype(scale.dtype), "scale")
    set_constant(producer, 2, (bias * affine.a + affine.b).astype(bias.dtype), "bias")
    producer.set_op(producer.op)
    substitute(node, producer.output)
    return True


# ---- W BN(x) + c


def _fold_into_consumer(node: Node, affine: _Affine) -> bool | Declined | None:
    """Fold into the one reader; None if that is not a contraction at all."""
    users = node.output.users
    if node.output.use_count != 1 or not users or not isinstance(users[0].op, (Conv, Gemm, MatMul)):
        return None
    (user,) = users
    if user.input(0) is not node.output:
        return None
    source = node.inputs[0]
    assert source is not None
    operands = _operands(user)
    if isinstance(operands, Declined):
        return operands
    if isinstance(user.op, Conv) and _pads(user.op) and np.any(affine.b != 0):
        return Declined(f"{user!r} behind it pads with zeros, where this gives its bias")
    if isinstance(user.op, Gemm) and user.op.transA:
        return Declined(f"{user!r} behind it reads its input transposed")
    weight, bias = operands
    scaled, moved = _along_inputs(affine, user.op, weight)
    if not _store(user, scaled, moved if bias is None else moved + bias):
        return Declined(f"the folded weight of {user!r} would not be finite: a variance is zero or negative")
    substitute(node, source)
    return True


def _pads(op: Conv) -> bool:
    return op.auto_pad.startswith("SAME") or any(op.pads or ())


def _along_inputs(affine: _Affine, op: Op, weight: Array) -> _Affine:
    """The weight times a per input channel, and the weight summed with b over them."""
    match op:
        case Conv():
            grouped = weight.reshape(op.group, -1, *weight.shape[1:])
            shape = (op.group, 1, weight.shape[1], *(1,) * (weight.ndim - 2))
            a, b = affine.a.reshape(shape), affine.b.reshape(shape)
            moved = (grouped * b).sum(axis=tuple(range(2, grouped.ndim)))
            return _Affine((grouped * a).reshape(weight.shape), moved.reshape(-1))
        case Gemm(transB=1):
            return _Affine(weight * affine.a, op.alpha * (weight @ affine.b))
        case Gemm():
            return _Affine(weight * affine.a[:, None], op.alpha * (affine.b @ weight))
        case _:
            return _Affine(weight * affine.a[:, None], affine.b @ weight)


# ---- the contraction's constants


class _Operands(NamedTuple):
    """Weight, and bias as it is added to the product (Gemm's beta included), in float64."""

    weight: Array
    bias: Array | None


def _operands(node: Node) -> _Operands | Declined:
    weight, bias = node.constant(1), node.constant(2)
    if weight is None:
        return Declined(f"the weight of {node!r} is not a constant")
    if weight.dtype not in _DTYPES:
        return Declined(f"the weight of {node!r} is {weight.dtype}, which would round the folded one by more than 1e-4")
    if node.input(2) is not None and bias is None:
        return Declined(f"the bias of {node!r} is not a constant")
    if isinstance(node.op, MatMul):
        data = node.inputs[0].tensor_type if node.inputs[0] is not None else None
        if weight.ndim != 2 or data is None or data.rank != 2:
            return Declined(f"{node!r} is not a product of two matrices, so its channels are not on axis 1")
    wide = None if bias is None else np.asarray(bias, np.float64)
    if wide is not None and isinstance(node.op, Gemm):
        wide = node.op.beta * wide
    return _Operands(np.asarray(weight, np.float64), wide)


def _store(node: Node, weight: Array, bias: Array) -> bool:
    """Give the contraction its new constants; False, and nothing changed, if one of them is not finite in its dtype."""
    held = node.inputs[1]
    assert held is not None
    dtype = held.data.dtype if held.data is not None else weight.dtype
    with np.errstate(over="ignore"):
        weight, bias = weight.astype(dtype), bias.astype(dtype)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return False
    name = _bias_name(node, held)
    set_constant(node, 1, weight, held.name)
    set_constant(node, 2, bias, name)
    if isinstance(node.op, MatMul):
        node.set_op(Gemm())
    else:
        node.set_op(replace(node.op, beta=1.0) if isinstance(node.op, Gemm) else node.op)
    return True


def _bias_name(node: Node, weight: Value) -> str:
    """`layer.weight` -> `layer.bias`, as the user's framework would have called it."""
    stem, dot, last = weight.name.rpartition(".")
    return f"{stem}.bias" if dot and last.startswith("weight") else f"{node.name}.bias"


# ---- what is left


def _lower(node: Node, affine: _Affine) -> bool:
    source = node.inputs[0]
    type = source.tensor_type if source is not None else None
    if type is None or type.rank is None:
        return False
    shape = (-1, *(1,) * (type.rank - 2))
    factor, offset = (v.reshape(shape).astype(type.dtype.numpy) for v in affine)
    scaled = node.graph.insert(
        Mul(), [source, node.graph.add_constant(factor, f"{node.name}.factor")], before=node, name=f"{node.name}.scaled"
    )
    made = node.graph.insert(
        Add(), [scaled.output, node.graph.add_constant(offset, f"{node.name}.offset")], before=node, name=node.name
    )
    substitute(node, made.output)
    return True
