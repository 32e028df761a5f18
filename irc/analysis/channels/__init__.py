"""Channel dependency groups: what can be removed from a graph, and what has to go with it."""

from irc.analysis.channels.groups import Channels, Group, Unit, trace_channels

__all__ = ["Channels", "Group", "Unit", "trace_channels"]
