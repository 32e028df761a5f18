"""The commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from irc.cli import bench, compare, diff, passes, run, search, select, show, targets
from irc.cli import compile as compile_

app = typer.Typer(
    name="irc",
    help="Compress neural networks: a PyTorch or ONNX model in, int8 ONNX that runtimes fuse, or int8 C, out.",
    rich_markup_mode=None,  # plain help: the same on a terminal and in a file
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="On an error, show where it arose.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"irc {version_of('irc-compiler')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


app.command("compile")(compile_.command)
app.command("show")(show.command)
app.command("run")(run.command)
app.command("bench")(bench.command)
app.command("diff")(diff.command)
app.command("compare")(compare.command)
app.command("select")(select.command)
app.command("search")(search.command)
app.command("passes")(passes.command)
app.command("targets")(targets.command)
