"""On every architecture, pruned equals the original with those channels masked: read from an exported file."""

from __future__ import annotations

from tests.pruning.architectures import from_onnx
from tests.pruning.claims import Claims


class TestArchitectures(Claims):
    load = staticmethod(from_onnx)
