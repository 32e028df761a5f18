"""`irc show`: what a model is made of and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from irc.cli import texts
from irc.cli.dims import check_dims, parse_dims
from irc.cli.output import add_row, make_table, print_fields, print_table, print_text
from irc.reading.model import read_model

if TYPE_CHECKING:
    from irc.graph import Graph


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=texts.MODEL)],
    layers: Annotated[bool, typer.Option("--layers", help="One row a layer: type, parameters, bytes, MACs.")] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="What can be pruned: groups of channels, what goes with each, barriers.")
    ] = False,
    dims: Annotated[str, typer.Option(help=f"For --groups: {texts.DIMS}; some that run for those not given.")] = "",
    text: Annotated[bool, typer.Option("--text", help="Print the IR instead.")] = False,
) -> None:
    """Print the summary of a model: inputs, outputs, operators, parameters, bytes, MACs, peak activation memory."""
    sizes = parse_dims(dims)
    graph = read_model(model)
    check_dims(graph, sizes)
    if text:
        from irc.text import print_graph

        print_text(print_graph(graph).rstrip())
        return
    _print_summary(model, graph)
    print_text("")
    _print_operators(graph)
    if layers:
        print_text("")
        _print_layers(graph)
    if groups:
        print_text("")
        _print_groups(graph, sizes)


def _print_summary(model: str, graph: Graph) -> None:
    from irc.analysis.cost import cost

    spent = cost(graph)
    opsets = (f"{domain} {version}".strip() for domain, version in graph.info.opsets.items())
    outputs = zip(graph.output_names, graph.outputs, strict=True)
    print_fields(
        [
            ("model", model),
            ("opset", ", ".join(opsets)),
            *(("inputs", f"{v.name}: {v.type}{', has a default' * (v in graph.defaults)}") for v in graph.inputs),
            *(("outputs", f"{name}: {value.type}") for name, value in outputs),
            ("nodes", f"{spent.nodes:,}"),
            ("parameters", f"{spent.parameters:,}"),
            ("bytes", f"{spent.bytes:,}"),
            ("MACs", f"{spent.macs:,}"),
            ("peak memory", f"{spent.peak_memory:,}"),
            *(("metadata", f"{key} = {text}") for key, text in sorted(graph.info.metadata.items())),
            *(("note", note) for note in graph.info.notes),
        ]
    )


def _print_operators(graph: Graph) -> None:
    from irc.analysis.cost import layers

    totals: dict[str, list[int]] = {}
    for layer in layers(graph):
        row = totals.setdefault(layer.op, [0, 0, 0, 0])
        for index, amount in enumerate((1, layer.parameters, layer.bytes, layer.macs)):
            row[index] += amount
    table = make_table("operator", "nodes", "parameters", "bytes", "MACs")
    for op, row in sorted(totals.items(), key=lambda item: (-item[1][0], item[0])):
        add_row(table, op, *(f"{amount:,}" for amount in row))
    print_table(table)


def _print_layers(graph: Graph) -> None:
    from irc.analysis.cost import layers

    table = make_table("layer", "operator", "output", "parameters", "bytes", "MACs", left=("operator", "output"))
    for layer in layers(graph):
        type = "" if layer.type is None else str(layer.type)
        add_row(table, layer.name, layer.op, type, f"{layer.parameters:,}", f"{layer.bytes:,}", f"{layer.macs:,}")
    print_table(table)


def _print_groups(graph: Graph, dims: dict[str, int]) -> None:
    """The groups as `prune-channels` finds them behind `fold-constants, simplify`."""
    from irc.analysis.channels import trace_channels
    from irc.passes import FoldConstants, Simplify
    from irc.passes.context import plain_context

    context = plain_context(graph)
    for each in (FoldConstants(), Simplify()):
        each.run(graph, context)
    channels = trace_channels(graph, dims)
    table = make_table("group", "kind", "units", "goes with each unit", left=("kind", "goes with each unit"))
    for group in channels.groups:
        add_row(table, group.name, group.kind, f"{len(group.units):,}", ", ".join(channels.slices(group)))
    print_table(table)
    for barrier in dict.fromkeys(channels.barriers):
        where = "graph" if barrier.node is None else repr(barrier.node)
        print_text(f"barrier: {where}: {barrier.reason}")
