"""Removal of what nothing reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from irc.graph import Graph
from irc.passes.base import Pass
from irc.unused import remove_unused

if TYPE_CHECKING:
    from irc.passes.context import Context


@dataclass(frozen=True)
class EliminateDead(Pass):
    """Remove nodes and constants that no output depends on, inside the bodies of If, Loop and Scan too.

        live(v)  <=>  v is given out, or a live node reads v

    Valid because no ONNX operator has an effect besides its outputs. Exact. Graph inputs stay, read or not: they are
    the model's signature.

    Source: Muchnick, "Advanced Compiler Design and Implementation" (1997), section 18.10; on a graph with def-use
    links one backward walk does it.
    """

    def run(self, graph: Graph, context: Context) -> None:
        remove_unused(graph)
