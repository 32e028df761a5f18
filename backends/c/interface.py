"""What calls of a compiled model need to know of it. All of it is plain data, which JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from irc.backends.c.isa import MACHINES, Isa
from irc.inputs import Signature
from irc.types import DType, TensorType


@dataclass(frozen=True)
class Interface:
    """A compiled model as its caller sees it.

    target : name of what it was compiled for;  machine, isas : what that means
    name : in the names of its functions
    dims : of each symbolic dimension of the inputs, the size that the code is for
    inputs, outputs : in the order of the arguments; all shapes are numbers
    """

    target: str
    machine: str
    isas: tuple[Isa, ...]
    name: str
    dims: dict[str, int]
    inputs: Signature
    outputs: list[TensorType]

    def as_json(self) -> dict[str, Any]:
        """What `of_json` takes."""
        return {
            "target": self.target,
            "machine": self.machine,
            "isas": [isa.name for isa in self.isas],
            "name": self.name,
            "dims": self.dims,
            "inputs": [(name, _type_as_json(type), optional) for name, type, optional in self.inputs],
            "outputs": [_type_as_json(type) for type in self.outputs],
        }

    @staticmethod
    def of_json(held: Mapping[str, Any]) -> Interface:
        """What `as_json` gave."""
        return Interface(
            held["target"],
            held["machine"],
            tuple(isa for isa in MACHINES[held["machine"]] if isa.name in held["isas"]),
            held["name"],
            held["dims"],
            [(name, _type_of_json(type), optional) for name, type, optional in held["inputs"]],
            [_type_of_json(type) for type in held["outputs"]],
        )


def _type_as_json(type: TensorType | None) -> tuple[str, tuple[int, ...]]:
    assert type is not None  # of a program every input is a tensor of known shape
    return type.dtype.text, type.static_shape


def _type_of_json(held: tuple[str, list[int]]) -> TensorType:
    return TensorType(DType.of_text(held[0]), tuple(held[1]))


def explained(text: str, dims: Mapping[str, int]) -> str:
    """The text of an error with what sizes were bound to, as that may be what is wrong; said once."""
    sizes = ", ".join(f"{symbol} = {size}" for symbol, size in dims.items())
    said = f" (compiled for {sizes}; for another size compile it with dims={{{next(iter(dims), '')!r}: ...}})"
    return text if not dims or text.endswith(said) else text + said
