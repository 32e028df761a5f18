"""irc: a compiler for neural-network compression.

    import irc
    small = irc.compile(model, "fold-batch-norm, quantize", example_inputs=(x,), calibration=images)
    print(small.report); small.save("small.onnx")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import irc.loaded  # noqa: F401  # as early as can be, for it notes the time
from irc.errors import IrcError

if TYPE_CHECKING:
    from irc.api import compile, load
    from irc.graph import Graph
    from irc.opening import open

__all__ = ["Graph", "IrcError", "compile", "load", "open"]


def __getattr__(name: str) -> Any:
    """Import torch and onnx only when something that needs them is asked for, so that `irc --help` is quick."""
    if name in ("compile", "load"):
        import irc.api

        return getattr(irc.api, name)
    if name == "open":
        from irc.opening import open

        return open
    if name == "Graph":
        from irc.graph import Graph

        return Graph
    raise AttributeError(f"module 'irc' has no attribute '{name}'")
