"""The typed ops, one file a family: importing this package fills `Op.registry`."""

from irc.op import Op
from irc.ops import (  # noqa: F401
    activation,
    attention,
    binary,
    cast,
    conv,
    fake_quant,
    index,
    integer,
    linear,
    logic,
    misc,
    norm,
    pool,
    quantize,
    reduce,
    resize,
    shape,
    unary,
)

TYPED: tuple[type[Op], ...] = tuple(Op.registry.values())
