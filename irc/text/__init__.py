"""The text form of a graph: MLIR-like, exact in both directions, with long weights in a safetensors file beside it."""

from irc.text.files import load_text, save_text
from irc.text.parser import parse_graph
from irc.text.printer import print_graph

__all__ = ["load_text", "parse_graph", "print_graph", "save_text"]
