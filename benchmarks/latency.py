"""Timing in turns, for the benchmarks: the same that `irc bench` uses."""

from irc.backends.latency import DROPPED, Timed, interleaved

__all__ = ["DROPPED", "Timed", "interleaved"]
