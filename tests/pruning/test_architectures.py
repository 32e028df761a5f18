"""On every architecture, pruned equals the original with those channels masked: read from the torch module."""

from __future__ import annotations

from tests.pruning.architectures import from_torch
from tests.pruning.claims import Claims


class TestArchitectures(Claims):
    load = staticmethod(from_torch)
