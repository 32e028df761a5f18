"""`irc passes`: the passes there are, generated from their dataclasses."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from irc.cli.output import print_text

if TYPE_CHECKING:
    from irc.passes.base import Pass


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Describe this pass only, in full.")] = "",
) -> None:
    """List the passes: what each does to the model and to the numbers, its options, and where it must stand."""
    import irc.ops  # noqa: F401  # a pass of another package may look ops up
    from irc.passes.registry import all_passes, find_pass

    if name:
        cls = find_pass(name)
        print_text("\n".join([*_lines(cls, summary=False), "", inspect.cleandoc(cls.__doc__ or "")]))
        return
    print_text("\n\n".join("\n".join(_lines(cls, summary=True)) for cls in all_passes().values()))


def _lines(cls: type[Pass], *, summary: bool) -> list[str]:
    """The pass's name, numerics, place in a pipeline and options."""
    lines = [cls.pass_name()]
    if summary:
        lines.append(f"  {cls.summary()}")
    lines.append(f"  numerics: {cls.numerics}")
    if cls.after:
        lines.append(f"  stands after: {', '.join(cls.after)}")
    if cls.before:
        lines.append(f"  stands before: {', '.join(cls.before)}")
    options = _options(cls)
    if options:
        widths = [max(len(row[i]) for row in options) for i in range(2)]
        lines += [f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in options]
    return lines


def _options(cls: type[Pass]) -> list[tuple[str, str, str]]:
    """For each option: `name=default`, what it takes, what it is for."""
    import typing
    from dataclasses import MISSING, fields

    from irc.passes.options import format_value, type_text

    hints = typing.get_type_hints(cls)
    rows = []
    for each in fields(cls):  # type: ignore[arg-type]  # every concrete pass is a dataclass
        default = each.default if each.default_factory is MISSING else each.default_factory()
        choices = each.metadata.get("choices")
        takes = f"one of {', '.join(choices)}" if choices else type_text(hints[each.name])
        shown = f"{each.name} (must be given)" if default is MISSING else f"{each.name}={format_value(default)}"
        rows.append((shown, takes, str(each.metadata.get("help", ""))))
    return rows
