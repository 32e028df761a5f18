"""The PyTorch front end: `read_torch` makes a Graph of a module, an exported program or an fx graph."""

from __future__ import annotations

from irc.frontends.torch.reader import is_torch_model, read_torch

__all__ = ["is_torch_model", "read_torch"]
