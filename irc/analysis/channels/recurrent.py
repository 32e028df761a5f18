"""Labels through LSTM and GRU: a hidden unit goes from all gates of its direction at once."""

from __future__ import annotations

from irc.analysis.channels.trace import Trace
from irc.graph import Node


def recurrent(trace: Trace, node: Node) -> None:
    """LSTM and GRU."""
    trace.barrier(node)
