"""Graphs as `torch.fx.GraphModule`s: to run them, to watch their values, and to train them."""

from irc.execution.evaluate import evaluate_node
from irc.execution.executable import Executable

__all__ = ["Executable", "evaluate_node"]
