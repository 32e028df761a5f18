"""irc: a compiler for neural-network compression.

    import irc
    small = irc.compile(model, "fold-batch-norm, quantize", example_inputs=(x,), calibration=images)
    print(small.report); small.save("small.onnx")

What is imported is what is asked for: `irc.open` of a C model that was compiled on this machine, and its calls, load
numpy but neither torch nor onnx; tensors are taken wherever torch is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import irc.loaded  # noqa: F401  # as early as can be, for it notes the time
from irc.errors import IrcError

if TYPE_CHECKING:
    from irc.api import compile, load
    from irc.evaluation.compare import compare
    from irc.evaluation.select import select
    from irc.graph import Graph
    from irc.opening import open
    from irc.recipe import Recipe
    from irc.searching import search

__all__ = ["Graph", "IrcError", "Recipe", "compare", "compile", "load", "open", "search", "select"]


def __getattr__(name: str) -> Any:
    """Import torch and onnx only when something that needs them is asked for, so that `irc --help` is quick."""
    if name in ("compile", "load"):
        import irc.api

        return getattr(irc.api, name)
    if name == "open":
        from irc.opening import open

        return open
    if name in ("compare", "select"):
        from irc.evaluation.compare import compare
        from irc.evaluation.select import select

        return compare if name == "compare" else select
    if name == "Recipe":
        from irc.recipe import Recipe

        return Recipe
    if name == "search":
        from irc.searching import search

        return search
    if name == "Graph":
        from irc.graph import Graph

        return Graph
    raise AttributeError(f"module 'irc' has no attribute '{name}'")
