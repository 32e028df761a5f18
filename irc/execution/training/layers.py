"""Layers of a graph by name.

A layer is every node under one name of the user's model: node "encoder.0.dense" is part of the layers `encoder`,
`encoder.0` and `encoder.0.dense`. Models without layers have the names of their nodes, at "/" or ".". A pattern means
the outermost layers that it matches: `encoder.*` is encoder.0, encoder.1 … as wholes.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from irc.errors import GraphError, OptionError
from irc.graph import Graph, Node, Value

_SHOWN = 4  # names that an error shows


@dataclass(frozen=True)
class Layer:
    """The nodes of a layer in topological order."""

    name: str
    nodes: tuple[Node, ...]

    @property
    def output(self) -> Value:
        """What its last node gives."""
        return self.nodes[-1].output


def names_of(node: Node) -> list[str]:
    """The layers that the node is part of, outermost first, and its own name."""
    path = node.origin.layer or node.name
    prefixes = [path[: m.start()] for m in re.finditer(r"(?<=[^./])[./]", path)]
    return list(dict.fromkeys([*prefixes, path, node.name]))


def matches_name(names: Sequence[str], pattern: str) -> bool:
    """Whether the pattern means one of the names."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def find_layers(graph: Graph, pattern: str) -> dict[str, Layer]:
    """The layers that the pattern means, by name; of the graph itself, not of bodies.

    Raises
    ------
    OptionError : there are none.
    """
    found: dict[str, list[Node]] = {}
    for node in graph:
        name = next((name for name in names_of(node) if fnmatch.fnmatchcase(name, pattern)), None)
        if name is not None:
            found.setdefault(name, []).append(node)
    if not found:
        raise OptionError(hint(graph, pattern))
    return {name: Layer(name, tuple(nodes)) for name, nodes in found.items()}


def hint(graph: Graph, pattern: str) -> str:
    """Says that a pattern means nothing, and which names are near."""
    names = list(dict.fromkeys(name for node in graph.walk() for name in names_of(node)))
    near = difflib.get_close_matches(pattern, names, _SHOWN, cutoff=0.5)
    others = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:_SHOWN])} …"
    return f"no layer, node or weight is called '{pattern}'; {others}"


def paired_layers(student: Graph, teacher: Graph, target: str) -> list[tuple[Layer, Layer]]:
    """The student's layers that `target` means, each with the teacher's of the same name.

    target : a pattern, or `student=teacher`, two patterns whose layers are paired in order

    Raises
    ------
    OptionError : a pattern means nothing, or the two mean different numbers of layers.
    """
    left, equal, right = target.partition("=")
    mine = find_layers(student, left)
    if equal:
        other = find_layers(teacher, right)
        if len(mine) != len(other):
            raise OptionError(
                f"'{left}' means {len(mine)} layers and '{right}' {len(other)}; name pairs of equal numbers"
            )
        return list(zip(mine.values(), other.values(), strict=True))
    theirs = find_layers(teacher, left)
    pairs = [(layer, theirs[name]) for name, layer in mine.items() if name in theirs]
    if not pairs:
        raise OptionError(
            f"'{left}' means {', '.join(list(mine)[:_SHOWN])} in the model and {', '.join(list(theirs)[:_SHOWN])} in "
            "the teacher; pair them as student=teacher"
        )
    return pairs


def paired_inputs(student: Graph, teacher: Graph) -> list[int]:
    """The places of the student's inputs in the order in which the teacher takes them: by name, else as they are."""
    mine, theirs = ([value.name for value in graph.inputs] for graph in (student, teacher))
    return [mine.index(name) for name in theirs] if set(mine) == set(theirs) else list(range(len(mine)))


def counterpart(value: Value, student: Graph, teacher: Graph) -> Value | None:
    """The teacher's value that means the same as one of the student: of the node, or input, of the same name.

    Where a pass has folded a node of the teacher into the one before it, as fold-batch-norm does, the student's node
    of that name gives what the folded one gave.
    """
    made = value.producer
    if made is None:
        return next((v for v in teacher.inputs if v.name == value.name), None)
    node = next((n for n in _by_name(teacher, made.name) if n.op.name == made.op.name), None)
    return None if node is None else unfolded(node.outputs[value.index], student)


def unfolded(value: Value, student: Graph) -> Value:
    """The teacher's value, behind the nodes that were folded into its producer in the student."""
    while value.use_count == 1 and len(users := value.users) == 1:
        (reader,) = users
        others = [v for v in reader.inputs if v is not None and v is not value]
        foldable = reader.op.name in ("BatchNormalization", "Add", "Mul", "Sub", "Div")
        gone = not _by_name(student, reader.name)
        if not (foldable and gone and all(v.is_constant for v in others)):
            break
        value = reader.output
    return value


def _by_name(graph: Graph, name: str) -> list[Node]:
    try:
        return [graph.node(name)]
    except GraphError:
        return []
