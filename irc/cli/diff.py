"""`irc diff`: how two models differ, in structure and in what they compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irc.cli import texts
from irc.cli.output import add_row, make_table, print_table, print_text
from irc.cli.runner import check_runtime, checked_samples, make_runner
from irc.reading.model import read_model

if TYPE_CHECKING:
    from irc.analysis.error import ErrorMeter
    from irc.execution.samples import Sample
    from irc.graph import Graph, Node

_SHOWN = 10  # names of each kind, unless --all


def command(
    first: Annotated[str, typer.Argument(metavar="A", help=f"The reference. {texts.MODEL}")],
    second: Annotated[str, typer.Argument(metavar="B", help="What is compared with it.")],
    data: Annotated[str, typer.Option(metavar="DATA", help=f"{texts.DATA} Made up if not given.")] = "",
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
    runtime: Annotated[
        str, typer.Option(help="What runs both: onnxruntime, irc (torch) or c (compiled).")
    ] = "onnxruntime",
    all_names: Annotated[bool, typer.Option("--all", help="Name all nodes that differ, not 10 of each kind.")] = False,
) -> None:
    """Compare two models: operators, size, nodes by name, and the error of B's outputs against A's."""
    check_runtime(runtime)
    graphs = read_model(first), read_model(second)
    samples, made_up = checked_samples(graphs[0], data, preprocess, "diff")
    reason = _incomparable(*graphs)
    errors = None if reason else _measure((first, second), graphs, samples, runtime)
    _print_costs(*graphs)
    print_text("")
    _print_operators(*graphs)
    print_text("")
    _print_nodes(*graphs, None if all_names else _SHOWN)
    print_text("")
    if errors is None:
        print_text(f"the outputs are not compared: {reason}")
    else:
        _print_errors(errors, made_up, runtime)


def _measure(texts: tuple[str, str], graphs: tuple[Graph, Graph], samples: Iterable[Sample], runtime: str) -> _Errors:
    """The errors of the second model's outputs against the first's; inputs go by position."""
    runs = [make_runner(text, graph, runtime) for text, graph in zip(texts, graphs, strict=True)]
    renamed = dict(zip(_required(graphs[0]), _required(graphs[1]), strict=True))
    errors = _Errors(graphs[0].output_names, graphs[1].output_names)
    for sample in samples:
        errors.update(runs[0](sample), runs[1]({renamed[n]: a for n, a in sample.items() if n in renamed}))
    return errors


def _required(graph: Graph) -> list[str]:
    return [v.name for v in graph.inputs if v not in graph.defaults]


def _incomparable(a: Graph, b: Graph) -> str:
    """Why the two cannot be run side by side; empty if they can."""
    from irc.signature import compatible

    inputs = [[v for v in g.inputs if v not in g.defaults] for g in (a, b)]
    if len(inputs[0]) != len(inputs[1]):
        return f"A takes {len(inputs[0])} inputs, B takes {len(inputs[1])}"
    for left, right in zip(*inputs, strict=True):
        if not compatible(left.type, right.type):
            return f"input '{left.name}' is {left.type} in A, and '{right.name}' is {right.type} in B"
    if len(a.outputs) != len(b.outputs):
        return f"A gives {len(a.outputs)} outputs, B gives {len(b.outputs)}"
    return ""


def _print_costs(a: Graph, b: Graph) -> None:
    from irc.analysis.cost import cost

    table = make_table("", "A", "B", "B / A")
    costs = cost(a), cost(b)
    for title, field in (
        ("nodes", "nodes"),
        ("parameters", "parameters"),
        ("bytes", "bytes"),
        ("MACs", "macs"),
        ("peak memory", "peak_memory"),
    ):
        left, right = (getattr(each, field) for each in costs)
        add_row(table, title, f"{left:,}", f"{right:,}", f"{right / left:.3f}" if left else "")
    print_table(table)


def _print_operators(a: Graph, b: Graph) -> None:
    counts = [Counter(node.op.title for node in graph.walk()) for graph in (a, b)]
    differing = [op for op in sorted(counts[0] | counts[1]) if counts[0][op] != counts[1][op]]
    if not differing:
        print_text("the same numbers of each operator")
        return
    table = make_table("operator", "A", "B", "change")
    for op in differing:
        left, right = counts[0][op], counts[1][op]
        add_row(table, op, f"{left:,}", f"{right:,}", f"{right - left:+,}")
    print_table(table)


def _nodes(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """The nodes by name, those of bodies behind the name of the node that owns them."""
    for node in graph:
        yield prefix + node.name, node
        for key, body in node.bodies.items():
            yield from _nodes(body, f"{prefix}{node.name}/{key}/")


def _print_nodes(a: Graph, b: Graph, limit: int | None) -> None:
    left, right = dict(_nodes(a)), dict(_nodes(b))
    changed = [(n, what) for n in left if n in right and (what := _changes(left[n], right[n]))]
    _print_names("only in A", [f"{left[n].op.title} '{n}'" for n in left if n not in right], limit)
    _print_names("only in B", [f"{right[n].op.title} '{n}'" for n in right if n not in left], limit)
    _print_names("changed", [f"{left[n].op.title} '{n}': {', '.join(what)}" for n, what in changed], limit)


def _print_names(title: str, lines: list[str], limit: int | None) -> None:
    print_text(f"{title}: {len(lines):,}")
    for line in lines[:limit]:
        print_text(f"  {line}")
    if limit is not None and len(lines) > limit:
        print_text(f"  and {len(lines) - limit:,} more; --all names them")


def _changes(a: Node, b: Node) -> list[str]:
    """What differs between two nodes of one name."""
    found = []
    if a.op.title != b.op.title:
        found.append(f"is {b.op.title}")
    elif a.op != b.op:
        found.append("attributes")
    if [v.type for v in a.outputs] != [v.type for v in b.outputs]:
        found.append(f"{a.outputs[0].type} is {b.outputs[0].type}" if a.outputs and b.outputs else "outputs")
    read = [[(v.name if v is not None and not v.is_constant else None) for v in node.inputs] for node in (a, b)]
    if read[0] != read[1]:
        found.append("reads other values")
    if not _equal_constants(a, b):
        found.append("weights")
    return found


def _equal_constants(a: Node, b: Node) -> bool:
    import numpy as np

    for index in range(max(len(a.inputs), len(b.inputs))):
        left, right = a.constant(index), b.constant(index)
        if left is None and right is None:
            continue
        if left is None or right is None or left.dtype != right.dtype or left.shape != right.shape:
            return False
        if left.dtype.kind == "O":
            same = bool((left == right).all())
        else:  # bit by bit: NaN is itself, and -0 is not 0
            same = np.ascontiguousarray(left).tobytes() == np.ascontiguousarray(right).tobytes()
        if not same:
            return False
    return True


class _Errors:
    """Errors of each output over the samples, and how often the largest element stands in the same place."""

    def __init__(self, first: Iterable[str], second: Iterable[str]) -> None:
        from irc.analysis.error import ErrorMeter

        self.pairs = list(zip(first, second, strict=True))
        if {a for a, _ in self.pairs} == {b for _, b in self.pairs}:
            self.pairs = [(a, a) for a, _ in self.pairs]
        self.meters: dict[str, ErrorMeter] = {a: ErrorMeter() for a, _ in self.pairs}
        self.agree: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.odd: dict[str, str] = {}
        self.samples = 0

    def update(self, reference: dict[str, Any], actual: dict[str, Any]) -> None:
        import numpy as np

        self.samples += 1
        for name, other in self.pairs:
            if isinstance(reference[name], list) or isinstance(actual[other], list):
                self.odd[name] = "a sequence, not compared"
                continue
            left, right = np.asarray(reference[name]), np.asarray(actual[other])
            if left.shape != right.shape:
                self.odd[name] = f"{list(left.shape)} in A, {list(right.shape)} in B"
            elif left.dtype.kind in "OUS" or right.dtype.kind in "OUS":
                self.odd[name] = "text, not compared"
            else:
                self.meters[name].update(left, right)
                if left.ndim >= 2 and left.shape[-1] > 1 and left.dtype.kind not in "biuc" and left.size:
                    same = left.argmax(-1) == right.argmax(-1)
                    self.agree[name] += int(same.sum())
                    self.asked[name] += same.size


def _print_errors(errors: _Errors, made_up: bool, runtime: str) -> None:
    table = make_table("output of B against A", "SQNR dB", "max error", "relative", "cosine", "top-1 agreement")
    for name, _ in errors.pairs:
        if name in errors.odd:
            add_row(table, f"{name}: {errors.odd[name]}", "", "", "", "", "")
        else:
            add_row(table, name, *_error_cells(errors.meters[name]), _agreement(errors, name))
    print_table(table)
    print_text(f"\n{errors.samples} {'made-up ' if made_up else ''}sample{'s' * (errors.samples != 1)} in {runtime}")


def _error_cells(meter: ErrorMeter) -> list[str]:
    if not meter.elements:
        return [""] * 4
    sqnr = "exact" if meter.sqnr_db == float("inf") else f"{meter.sqnr_db:.2f}"
    return [sqnr, f"{meter.max_abs_error:.4g}", f"{meter.relative_error:.4g}", f"{meter.cosine:.6f}"]


def _agreement(errors: _Errors, name: str) -> str:
    asked = errors.asked[name]
    return f"{errors.agree[name] / asked:.4f} of {asked:,}" if asked else ""
