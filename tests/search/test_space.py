"""A space is a pipeline with holes: its text reads back, its points are pipelines, and what does not fit is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from irc.errors import IrcError, OptionError, TextError
from irc.passes import FineTune, FoldConstants, PruneChannels, Quantize
from irc.passes.options import format_pipeline, parse_pipeline
from irc.searching import Choice, Maybe, PerLayer, Range, Space
from irc.searching.space import Corner
from irc.text import parse_graph


class Drawn:
    """Draws at random, and remembers the names."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names: list[str] = []

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.names.append(name)
        return self.random.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.names.append(name)
        return self.random.randrange(low, high + 1, step)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.names.append(name)
        return self.random.uniform(low, high)


TEXTS = [
    "quantize{weight_bits=4|8}",
    "prune-channels{macs=0.2..1.0}, quantize?",
    "prune-channels{multiple=8..64:8, macs=0.5}",
    "fine-tune{data=\"m:f\", lr=0.0001..0.1:log}",
    'quantize{layer_bits=["stem.*"=4|8, head=2|4|8, last=8]}',
    "prune-channels{kinds=[channel]|[channel, head], ratio=0.5}",
    "quantize{weight_bits=none|4, method=min-max|mse}",
    "fold-constants, quantize{correct=false|true, skip=[conv1, \"a|b\"]}",
    "prune-channels{macs=0.5..1.0}, distill, prune-channels{macs=0.2..0.9}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_reads_back(text: str) -> None:
    space = Space.of(text)
    assert str(space) == text
    assert Space.of(str(space)) == space


@pytest.mark.parametrize("text", TEXTS)
def test_points_are_pipelines(text: str) -> None:
    for seed in range(20):
        drawn = Drawn(seed)
        passes = Space.of(text).draw(drawn)
        assert parse_pipeline(format_pipeline(passes)) == passes
        assert len(set(drawn.names)) == len(drawn.names), "two parameters share a name"


def test_parameters_are_named_by_pass_and_option() -> None:
    bits = "quantize{layer_bits=[a=4|8, b=2|8]}"
    space = Space.of(f"prune-channels{{macs=0.5..1.0}}, prune-channels?{{ratio=0.1..0.5}}, {bits}")
    corner = Corner(last=True)
    space.draw(corner)
    assert corner.drawn == {
        "prune-channels.macs": 1.0,
        "prune-channels#2?": True,
        "prune-channels#2.ratio": 0.5,
        "quantize.layer_bits[a]": "8",
        "quantize.layer_bits[b]": "8",
    }


def test_instances_and_text_are_one_space() -> None:
    macs: Any = Range(0.2, 1.0)
    bits: Any = PerLayer({"stem": Choice(4, 8)})
    given: list[Any] = [FoldConstants(), Maybe(PruneChannels(macs=macs)), Quantize(layer_bits=bits)]
    text = "fold-constants, prune-channels?{macs=0.2..1.0}, quantize{layer_bits=[stem=4|8]}"
    assert Space.of(given) == Space.of(text)


def test_a_question_mark_takes_what_the_option_declares() -> None:
    asked = Space.of(
        'prune-channels{criterion=l1, macs=?}, fine-tune?{data="m:f", lr=?}, '
        "quantize{rounding=?, correct=?, weight_bits=?}"
    )
    assert str(asked) == (
        'prune-channels{criterion=l1, macs=0.1..1.0}, fine-tune?{data="m:f", lr=0.0001..0.1:log}, '
        "quantize{rounding=gptq|nearest, correct=false|true, weight_bits=2..8}"
    )


def test_a_passs_place_is_drawn_with_it_and_without_it() -> None:
    lengths = {len(Space.of("fold-constants?, simplify").draw(Drawn(seed))) for seed in range(20)}
    assert lengths == {1, 2}


def test_every_layer_by_itself() -> None:
    graph = parse_graph(
        """graph main(opset = 21) {
  input %x: f32[1, 4]
  weight %w: f32[4, 4] = splat(0.5)
  weight %v: f32[4, 4] = splat(0.25)
  %a: f32[1, 4] = MatMul(%x, %w) @"first"
  %b: f32[1, 4] = Relu(%a) @"relu"
  %y: f32[1, 4] = MatMul(%b, %v) @"second[0]"
  return %y
}
"""
    )
    space = Space.of("quantize{layer_bits=[?=4|8, first=8]}").for_graph(graph)
    assert str(space) == 'quantize{layer_bits=[first=8, "second[[]0]"=4|8]}'


@pytest.mark.parametrize(
    ("space", "kind", "said"),
    [
        ("quantise{weight_bits=4|8}", OptionError, "did you mean 'quantize'"),
        ("quantize{weight_bit=4|8}", OptionError, "did you mean 'weight_bits'"),
        ("quantize{weight_bits=4|eight}", OptionError, "'eight' is not a whole number or none"),
        ("quantize{weight_bits=2.5..8}", OptionError, "is a whole number, and 2.5..8 has others; write 2..8"),
        ("quantize{rounding=gptq|up}", OptionError, "'up' is not one of gptq, nearest"),
        ("quantize{skip=?}", OptionError, "says nothing of what it may be"),
        ("prune-channels{macs=0.1..inf}", OptionError, "has an end that is no number"),
        ("quantize{weight_bits=8..4}", OptionError, "holds nothing to choose from"),
        ("quantize{weight_bits=4|4}", OptionError, "no two are alike"),
        ("prune-channels{macs=0..1:log}", OptionError, "exponents are of numbers above 0"),
        ("prune-channels{macs=0.1..x}", TextError, "space, column 21: '0.1..x' is no range"),
        ("prune-channels{macs=0.1..0.2|0.5}", TextError, "a range has no place in it"),
        ("quantize{skip=[a, b=4|8]}", TextError, "pattern=choice for every entry"),
        ("quantize{weight_bits=4|}", TextError, "expected a value, found '}'"),
        ("quantize, simplify?", OptionError, "must stand after 'simplify'"),
        ("fold-constants, quantize", OptionError, "leaves nothing open"),
        ("", OptionError, "leaves nothing open"),
    ],
)
def test_what_does_not_fit_is_refused(space: str, kind: type[IrcError], said: str) -> None:
    with pytest.raises(kind) as raised:
        Space.of(space)
    assert said in str(raised.value)


@pytest.mark.parametrize("given", [[1, 2], object()])
def test_objects_that_recipes_cannot_name_are_refused(given: Any) -> None:
    lr: Any = Range(0.001, 0.1)
    with pytest.raises(OptionError, match=r"pass 'fine-tune', option 'data'.*package\.module:function"):
        Space.of([FineTune(data=given, lr=lr)])
