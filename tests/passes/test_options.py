"""Every pipeline has one text, which reads back to the same passes; a wrong text is refused with place and way out."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irc.errors import IrcError, OptionError, TextError
from irc.graph import Graph
from irc.passes.base import Pass, option
from irc.passes.context import Context
from irc.passes.fine_tune import FineTune
from irc.passes.options import format_pipeline, make_pass, parse_pipeline, takes_objects, type_text
from irc.passes.pipeline import Pipeline
from irc.passes.quantize import Quantize
from irc.passes.registry import all_passes


def values(hint: Any, choices: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    """Any value that an option of this type takes from text."""
    if choices:
        return st.sampled_from(choices)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return st.one_of(*(values(part) for part in typing.get_args(hint) if not takes_objects(part)))
    if typing.get_origin(hint) is tuple:
        return st.lists(values(typing.get_args(hint)[0]), max_size=3).map(tuple)
    odd = ["inf", "nan", "Infinity", "true", "none", "", "a b", 'a"b\\', "a,b}", "x.y-z", "1e5", "_", "é\n"]
    words = st.sampled_from(odd)
    known: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-(2**70), 2**70),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        str: st.text(st.characters(exclude_categories=["Cs"])) | words,
        types.NoneType: st.none(),
    }
    return known[hint]


def instances(cls: type[Pass]) -> st.SearchStrategy[Pass]:
    hints = typing.get_type_hints(cls)
    options = {f.name: values(hints[f.name], f.metadata.get("choices", ())) for f in fields(cls)}  # type: ignore[arg-type]
    return st.builds(cls, **options)


@pytest.mark.parametrize("name", sorted(all_passes()))
def test_every_pass_comes_back_from_its_text(name: str) -> None:
    @given(instances(all_passes()[name]))
    def check(instance: Pass) -> None:
        assert parse_pipeline(str(instance)) == [instance]

    check()


@given(st.lists(st.sampled_from(sorted(all_passes())).flatmap(lambda n: instances(all_passes()[n])), max_size=4))
def test_every_pipeline_comes_back_from_its_text(passes: list[Pass]) -> None:
    assert parse_pipeline(format_pipeline(passes)) == passes


def test_defaults_are_not_printed() -> None:
    assert str(Quantize()) == "quantize"
    assert str(Quantize(method="mse", skip=("a b", "c"))) == 'quantize{method=mse, skip=["a b", c]}'


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", []),
        ("  ", []),
        ("quantize{}", [Quantize()]),
        (" quantize ,quantize{ method = mse , } ,", [Quantize(), Quantize(method="mse")]),
        ("quantize{skip=head}", [Quantize(skip=("head",))]),
        ("quantize{skip=[*.head, conv?]}", [Quantize(skip=("*.head", "conv?"))]),
        ("quantize{percentile=99}", [Quantize(percentile=99.0)]),
        ("quantize{weight_bits=none}", [Quantize()]),
        ("quantize{skip=[]}", [Quantize()]),
    ],
)
def test_what_may_be_left_out(text: str, passes: list[Pass]) -> None:
    assert parse_pipeline(text) == passes


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("quantise", OptionError, "there is no pass 'quantise'; did you mean 'quantize'?"),
        ("xyzzy", OptionError, "there is no pass 'xyzzy'; `irc passes` lists them"),
        ("quantize{metod=mse}", OptionError, "pass 'quantize' has no option 'metod'; did you mean 'method'?"),
        ("quantize{zzz=1}", OptionError, "pass 'quantize' has no option 'zzz'; it takes method, percentile, "),
        ("eliminate-dead{a=1}", OptionError, "pass 'eliminate-dead' has no option 'a'; it takes none"),
        ("quantize{method=best}", OptionError, "'best' is not one of min-max, percentile, entropy, mse"),
        ("quantize{percentile=high}", OptionError, "option 'percentile': 'high' is not a number"),
        ("quantize{weight_bits=4.5}", OptionError, "'weight_bits': 4.5 is not a whole number or none"),
        ("quantize{correct=1}", OptionError, "option 'correct': 1 is not a true or false"),
        ("quantize{skip=[1]}", OptionError, "option 'skip': 1 is not a text"),
        ("quantize{weight_bits=true}", OptionError, "True is not a whole number or none"),
        ("quantize quantize", TextError, "column 10: expected ',', found 'quantize'"),
        ("quantize{method}", TextError, "column 16: expected '=', found '}'"),
        ("quantize{method=}", TextError, "column 17: expected a value, found '}'"),
        ("quantize{method=mse", TextError, "expected ',', found 'the end'"),
        ("quantize{method=mse, method=mse}", TextError, "option 'method' stands here twice"),
        ("quantize{skip=[a}", TextError, "column 17: expected ',', found '}'"),
        ("quantize{skip=[a", TextError, "found 'the end'"),
        ("{}", TextError, "column 1: expected the name of a pass, found '{'"),
        (",quantize", TextError, "column 1: expected the name of a pass, found ','"),
        ('"quantize"', TextError, 'expected the name of a pass, found "quantize"'),
        ("quantize; simplify", TextError, "column 9: this character has no place here"),
        ('quantize{skip="a}', TextError, "this character has no place here"),
        ('quantize{skip="\\q"}', TextError, "is not a text that can be read"),
    ],
)
def test_errors_say_where_and_what(text: str, error: type[IrcError], said: str) -> None:
    with pytest.raises(error) as caught:
        parse_pipeline(text)
    assert said in str(caught.value)


@dataclass(frozen=True)
class Needy(Pass):
    """Has an option without a default."""

    count: int = option(help="how many")
    share: float = option(0.5, help="how much")

    def run(self, graph: Graph, context: Context) -> None:
        """Nothing."""


def test_an_option_that_must_be_given() -> None:
    assert fields(Needy)[0].default is MISSING
    with pytest.raises(OptionError, match="pass 'needy' needs option 'count'"):
        make_pass(Needy, {"share": 1})
    assert make_pass(Needy, {"count": 3, "share": 1}) == Needy(3, 1.0)
    assert str(Needy(3)) == "needy{count=3}"


def test_choices_hold_for_the_constructor_too() -> None:
    with pytest.raises(OptionError, match="'best' is not one of min-max"):
        Pipeline([Quantize(method="best")])


def test_types_in_words() -> None:
    assert type_text(int | None) == "whole number or none"
    assert type_text(tuple[str, ...]) == "list of text"
    assert type_text(bool) == "true or false"


def samples() -> list[int]:
    """A function that text can name."""
    return [1]


class _Data:
    """Something that only Python can give."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("an option is not compared by asking the object: an array answers with an array")

    __hash__ = None  # type: ignore[assignment]  # as an array has none


def test_a_function_of_a_module_prints_as_its_name_and_comes_back() -> None:
    instance = FineTune(data=samples, loss=("mse", samples))
    text = f"fine-tune{{data=\"{__name__}:samples\", loss=[mse, \"{__name__}:samples\"]}}"
    assert str(instance) == text
    (again,) = parse_pipeline(text)
    assert str(again) == text


def test_an_object_prints_as_what_it_is_and_is_refused_when_it_is_read() -> None:
    text = str(FineTune(data=_Data(), optimizer=lambda groups: None))  # type: ignore[arg-type]  # any object will do
    assert text.startswith('fine-tune{data="<object _Data>", optimizer="<object ')
    with pytest.raises(OptionError, match="'<object _Data>' stands for an object that Python gave; text cannot: name"):
        parse_pipeline(text)
    assert str(FineTune(data=[np.zeros(2), np.zeros(2)])) == 'fine-tune{data="<object list>"}'


def test_objects_in_words() -> None:
    hints = typing.get_type_hints(FineTune)
    assert type_text(hints["data"]) == "text or Python object or none"
    assert type_text(hints["loss"]) == "list of text or Python object"


def test_one_alone_is_a_list_of_one() -> None:
    assert FineTune(loss="mse") == FineTune(loss=("mse",)) == parse_pipeline("fine-tune{loss=mse}")[0]  # type: ignore[arg-type]  # as text has it
