"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from irc.graph import Node
from irc.op import Op
from irc.passes.base import Outcome

Rule = Callable[[Node], Outcome]
Table = Mapping[type[Op], tuple[Rule, ...]]
