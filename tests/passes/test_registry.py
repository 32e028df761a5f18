"""Passes are found by name; a package that announces something else is told off by name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import irc.passes
from irc.errors import OptionError
from irc.passes import registry
from irc.passes.base import Pass, Rewrite
from irc.passes.registry import all_passes, find_pass
from irc.passes.simplify import Simplify


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pretend that a package announces an entry point."""

    def make(value: str) -> None:
        found = [EntryPoint("thing", value, "irc.passes")]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)
        all_passes.cache_clear()

    yield make
    all_passes.cache_clear()


def test_every_name_is_that_of_its_class_and_file() -> None:
    for name, cls in all_passes().items():
        assert cls.pass_name() == name
        if cls.__module__.startswith("irc.passes."):
            assert cls.__module__ == f"irc.passes.{name.replace('-', '_')}"
            assert cls.summary().endswith(".")


def test_the_documented_passes_are_there() -> None:
    wanted = ["fold-constants", "fold-batch-norm", "eliminate-dead", "common-subexpressions", "dedup-weights"]
    wanted += ["simplify", "insert-fake-quant", "calibrate", "correct-bias", "quantize"]
    assert set(wanted) <= set(all_passes())
    assert all(issubclass(c, Pass) and c not in (Pass, Rewrite) for c in all_passes().values())
    assert find_pass("simplify") is Simplify


def test_order_names_passes_that_exist() -> None:
    for cls in all_passes().values():
        assert {*cls.after, *cls.before} <= set(all_passes()), cls


def test_an_entry_point_that_cannot_be_loaded(announce: Any) -> None:
    announce("no_such_module:Thing")
    with pytest.raises(OptionError, match=r"pass 'thing' of entry point 'no_such_module:Thing' cannot be loaded"):
        all_passes()


@pytest.mark.parametrize("value", ["json:dumps", "pathlib:Path"])
def test_an_entry_point_that_is_no_pass(value: str, announce: Any) -> None:
    announce(value)
    with pytest.raises(OptionError, match=f"'{value}' of group irc.passes is not a subclass"):
        find_pass("simplify")


def test_a_package_does_not_replace_a_built_in_pass(announce: Any) -> None:
    before = all_passes()["simplify"]
    announce("irc.passes.eliminate_dead:EliminateDead")
    assert all_passes()["simplify"] is before
    assert all_passes()["eliminate-dead"] is irc.passes.EliminateDead
