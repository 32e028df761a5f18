"""Options that cannot be are errors that name the choices, before anything is pruned; what they leave out is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import irc
from irc.errors import IrcError, OptionError
from irc.graph import Graph
from irc.passes import PruneChannels
from irc.passes.context import Context, plain_context
from irc.text import print_graph


class Attention(nn.Module):
    """Tokens of 8, four heads of 6 that are added to them, and a feed-forward layer of 20."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.ModuleList(nn.Linear(8, 24) for _ in range(3))
        self.out = nn.Linear(24, 8)
        self.up, self.down = nn.Linear(8, 20), nn.Linear(20, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).unflatten(-1, (4, 6)).transpose(1, 2) for layer in self.qkv)
        made = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(made.transpose(1, 2).flatten(-2))
        x = x + self.down(self.up(x).relu())
        return x


def graph() -> Graph:
    torch.manual_seed(0)
    return irc.load(Attention().eval(), (torch.zeros(1, 5, 8),))


def run(made: Graph, step: PruneChannels) -> Context:
    context = plain_context(made)
    step.run(made, context)
    return context


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("criterion=l3", "l1, l2, bn-scale, lamp, fpgm, taylor, hessian, softmax, random"),
        ("scope=everywhere", "global, local"),
        ("kinds=[filter]", "channel, head, dim"),
    ],
)
def test_what_cannot_be_names_what_can(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        irc.compile(graph(), f"prune-channels{{ratio=0.5, {text}}}")


@pytest.mark.parametrize("options", [{"criterion": "l3"}, {"scope": "everywhere"}])
def test_what_cannot_be_is_found_from_python_too(options: dict[str, str]) -> None:
    made, before = graph(), print_graph(graph())
    with pytest.raises(OptionError, match=next(iter(options.values()))):
        run(made, PruneChannels(ratio=0.5, **options))  # type: ignore[arg-type]  # words
    assert print_graph(made) == before


@pytest.mark.parametrize("text", ["fine-tune{", "no-such-pass", "fine-tune{epochs=x}"])
def test_what_cannot_run_between_fails_before_the_first_step(text: str) -> None:
    """Not after an hour of pruning; also where there is one step only, behind which nothing would run."""
    for iterations in (1, 3):
        made, before = graph(), print_graph(graph())
        with pytest.raises(IrcError):
            run(made, PruneChannels(ratio=0.5, between=text, iterations=iterations))
        assert print_graph(made) == before


def test_what_runs_between_runs_between() -> None:
    """Behind each step but the last, on what that step left."""
    seen: list[int] = []

    class Watch(PruneChannels):
        def run(self, graph: Graph, context: Context) -> None:
            up = graph.node("up").constant(1)
            assert up is not None
            seen.append(max(up.shape))

    run(graph(), PruneChannels(ratio=0.5, scope="local", iterations=3, kinds=("channel",), between=[Watch(ratio=0.5)]))
    assert seen == [16, 13]  # of 20, a third of the way to 10 each time: 15.9, then 12.7 of 16


def test_a_pattern_that_matches_nothing_is_noted() -> None:
    made = graph()
    context = run(made, PruneChannels(ratio=0.5, skip=("upp", "up*")))
    assert [note for note in context.row.notes if note.startswith("skip")] == [
        "skip: nothing to prune is called 'upp'; `irc show --groups` has the names"
    ]
    assert [each.reason for each in context.row.groups if each.name == "up"] == ["'up*' is in skip"]


@pytest.mark.parametrize("kinds", [("channel",), ("head",), ("dim",), ("channel", "head"), ("head", "dim")])
def test_kinds_that_are_left_out_are_listed_with_that_reason(kinds: tuple[str, ...]) -> None:
    context = run(graph(), PruneChannels(ratio=0.4, scope="local", kinds=kinds))
    found = {each.kind for each in context.row.groups}
    assert found == {"channel", "head", "dim"}
    for each in context.row.groups:
        if each.kind in kinds:
            assert each.after < each.before
        else:
            assert (each.after, each.reason) == (each.before, f"kinds leaves {each.kind}s out")
