"""Functions of one code, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from irc.errors import GraphError
from irc.op import Example, Op
from irc.ops.int8.contract import codes, typed
from irc.types import Array, DType, Type


@dataclass(frozen=True)
class QLookup(Op):
    """y = table[x], element by element.

    Inputs: x uint8, any shape; table uint8 (256). Output: uint8, shape of x.
    """

    domain: ClassVar[str] = "irc"

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        x, table = typed(self, inputs, DType.U8, DType.U8)
        if table.shape is not None and (len(table.shape) != 1 or table.shape[0] not in (256, None)):
            raise GraphError(f"{self.title}: the table is {table}, not u8[256]")
        return [x]

    def run(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return table[x.long()]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        table = np.random.default_rng(5).permutation(256).astype(np.uint8)
        yield Example(cls(), (codes(2, 3, 7), table))
        yield Example(cls(), (np.arange(256, dtype=np.uint8), table // 3))
        yield Example(cls(), (codes(1), np.full(256, 9, np.uint8)))
