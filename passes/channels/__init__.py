"""Structured pruning, without what chooses: taking channels out of a graph, and what that is worth."""

from irc.passes.channels.remove import RemovalError, remove_channels

__all__ = ["RemovalError", "remove_channels"]
