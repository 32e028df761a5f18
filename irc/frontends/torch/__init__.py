"""The PyTorch front end: `read_torch` makes a Graph of a module, an exported program or an fx graph."""

from __future__ import annotations

from irc.frontends.torch.reader import read_torch

__all__ = ["read_torch"]
