"""`irc targets`: where a model can go, what each target computes in integers, and what it lacks for a model."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from irc.cli.output import add_row, make_table, print_fields, print_table, print_text
from irc.reading.model import read_model

if TYPE_CHECKING:
    from irc.graph import Graph
    from irc.target import IntegerFormat, Target


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Describe this target only.")] = "",
    missing: Annotated[
        str, typer.Option(metavar="MODEL", help="Say what of this model the target would not run as integer, and why.")
    ] = "",
) -> None:
    """List the targets, or say what one of them quantizes and how."""
    from irc.backends.registry import all_targets, find_target

    chosen = [find_target(name)] if name else list(all_targets().values())
    if missing:
        graph = read_model(missing)
        for index, target in enumerate(chosen):
            if index:
                print_text("")
            _print_missing(target, graph)
    elif name:
        _print_target(chosen[0])
    else:
        table = make_table("target", "what it is", left=("what it is",))
        for target in chosen:
            add_row(table, target.name, target.title)
        print_table(table)


def _print_target(target: Target) -> None:
    from irc.target import adds_in_32_bits

    policy = target.policy
    scales = "channel" if policy.per_channel else "tensor"
    concat = "one scale for all inputs and the output" if policy.concat_shares_scale else "a scale for each input"
    residual = "only the skip branch quantized" if policy.residual_skip_only else "both branches quantized"
    integer = textwrap.wrap(", ".join(sorted(policy.integer_ops)), 90) or ["none"]
    print_fields(
        [
            ("target", target.name),
            ("what it is", target.title),
            ("activations", _format_text(policy.activation, policy.activation.qmin)),
            ("weights", f"{_format_text(policy.weight, policy.weight.narrow_qmin)}, one scale per {scales}"),
            *(
                [("16-bit sums", "weights scaled so that the products fit")]
                if policy.adds_in_16_bits is not adds_in_32_bits
                else []
            ),
            ("bias", "float" if policy.float_bias else "int32"),
            ("Concat", concat),
            ("residual Add", residual),
            ("Gemm, MatMul", "may give float out" if policy.gemm_output_float else "always requantized"),
            *(("integer operators", line) for line in integer),
        ]
    )


def _format_text(format: IntegerFormat, smallest: int) -> str:
    sign = "int" if format.signed else "uint"
    zero = "zero point 0" if format.symmetric else "zero point free"
    return f"{sign}{format.bits}, {zero}, codes {smallest} to {format.qmax}"


def _print_refused(target: Target, graph: Graph) -> None:
    """The nodes that keep the model from being compiled at all."""
    from irc.errors import IrcError

    try:
        refused = Counter(node.op.title for node in target.missing(graph))
    except IrcError as error:
        print_text(f"{target.name}: cannot be compiled: {error}")
        return
    what = ", ".join(f"{count} {title}" for title, count in sorted(refused.items()))
    print_text(
        f"{target.name}: " + (f"cannot be compiled, there is no kernel for {what}" if what else "compiles whole")
    )


def _print_missing(target: Target, graph: Graph) -> None:
    """Which of the nodes that could be integer somewhere are not so on this target."""
    from irc.analysis.integer_plan import plan_integer
    from irc.op import QuantKind

    if target.kind == "c":
        _print_refused(target, graph)
    plan = plan_integer(graph, target.policy)
    integer: Counter[str] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    for node in graph.walk():
        if node.op.quant.kind not in (QuantKind.CONTRACTION, QuantKind.ARITHMETIC):
            continue
        if node in plan.integer:
            integer[node.op.title] += 1
        elif not target.policy.runs_integer(node.op):
            refused[node.op.title, "the target has no integer kernel for it"] += 1
        else:
            refused[node.op.title, plan.declined.get(node, "no integer node feeds or reads it")] += 1
    whole = integer.total() + refused.total()
    print_text(f"{target.name}: {integer.total():,} of {whole:,} contractions and arithmetic nodes can run as integer")
    if not refused:
        return
    table = make_table("operator", "nodes", "why it stays float", left=("why it stays float",))
    for (op, reason), count in sorted(refused.items(), key=lambda item: (-item[1], item[0])):
        add_row(table, op, f"{count:,}", reason)
    print_table(table)
