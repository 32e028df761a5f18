"""What a graph remembers of the model that it came from, and a node of its layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Origin:
    """Where a node comes from: the user's layer, and the passes that made or changed it, oldest first."""

    layer: str = ""
    passes: tuple[str, ...] = ()

    def touched_by(self, name: str) -> Origin:
        """The same origin with pass `name` noted last."""
        return self if self.passes[-1:] == (name,) else replace(self, passes=(*self.passes, name))


@dataclass
class ModelInfo:
    """What a model says besides its graph; written back as it came."""

    opsets: dict[str, int] = field(default_factory=lambda: {"": 21})
    ir_version: int = 10
    metadata: dict[str, str] = field(default_factory=dict)
    doc: str = ""
    producer: str = ""
    producer_version: str = ""
    domain: str = ""  # whose model it is, as a reversed domain name
    model_version: int = 0
    functions: tuple[bytes, ...] = ()  # serialized FunctionProto, called by OnnxOps
    notes: tuple[str, ...] = ()  # what the front end has to say to the user
