"""What is claimed of every architecture, whichever way its graph came in; `test_architectures*` say which way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from irc.graph import Graph
from irc.passes.prune_channels import PruneChannels
from irc.types import Array
from tests.pruning.architectures import ARCHITECTURES, DYNAMIC, GROUPS
from tests.pruning.removal import (
    JUMP,
    TOLERANCE,
    Traced,
    check_equal,
    check_file,
    check_pass,
    draw,
    error,
    jump,
    run,
    traced,
)

FAST = {"lenet", "vgg", "squeezenet", "densenet", "unet", "tcn", "option_a", "pixel_shuffle", "glu", "mixer", "lstm"}
each_architecture = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ARCHITECTURES], ids=str
)
each_dynamic = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in sorted(DYNAMIC)], ids=str
)


@cache
def model(load: Callable[[str], Graph], name: str) -> Traced:
    """An architecture from one source, traced once."""
    return traced(load(name))


@cache
def pruned(load: Callable[[str], Graph], name: str) -> tuple[Graph, dict[str, Array]]:
    """The same without some of its units, and what that gives."""
    made = model(load, name)
    return check_equal(made, draw(made.channels, seed=1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the model libraries' own
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
class Claims:
    """The tests; a subclass says where the graphs come from."""

    @staticmethod
    def load(name: str) -> Graph:
        """The graph of an architecture."""
        raise NotImplementedError

    def model(self, name: str) -> Traced:
        return model(self.load, name)

    def pruned(self, name: str) -> tuple[Graph, dict[str, Array]]:
        return pruned(self.load, name)

    @each_architecture
    def test_groups_are_found(self, name: str) -> None:
        """As many groups as the definition has, or more, and none of them twice."""
        groups = self.model(name).channels.groups
        found = Counter("dim" if group.kind == "dim" else "whole" for group in groups)
        assert (found["whole"] >= GROUPS[name][0], found["dim"] >= GROUPS[name][1]) == (True, True), dict(found)
        units = Counter(unit.labels for group in groups for unit in group.units)
        assert not [labels for labels, times in units.items() if times > 1]

    @each_architecture
    def test_pruned_equals_masked(self, name: str) -> None:
        """Some of everything, all but one of everything, only heads, only dimensions within heads."""
        model = self.model(name)
        self.pruned(name)
        for units in (
            draw(model.channels, seed=2),
            draw(model.channels, seed=0),
            draw(model.channels, seed=3, kinds={"head"}),
            draw(model.channels, seed=4, kinds={"dim"}),
        ):
            if units:
                check_equal(model, units)

    @each_architecture
    def test_pruned_by_criteria_equals_masked(self, name: str) -> None:
        """Weights, and what outputs lose; in a ranking of all units, and of each group's own."""
        for criterion, scope in (("l1", "global"), ("fpgm", "local"), ("lamp", "global"), ("hessian", "local")):
            check_pass(self.model(name), PruneChannels(ratio=0.4, criterion=criterion, scope=scope, multiple=1))

    @each_architecture
    def test_a_unit_that_stays_is_seen(self, name: str) -> None:
        """Else equality would say nothing: a network that fades to nothing is equal to everything."""
        model, (_, made) = self.model(name), self.pruned(name)
        assert jump(model, draw(model.channels, seed=1), made) > JUMP

    @each_architecture
    def test_prunes_again(self, name: str) -> None:
        """What is left is a model like any other."""
        left = traced(self.pruned(name)[0])
        check_equal(left, draw(left.channels, seed=5))

    @each_architecture
    def test_file_gives_the_same(self, name: str, tmp_path: Path) -> None:
        """One ordinary ONNX file, for onnxruntime and for irc."""
        graph, made = self.pruned(name)
        check_file(graph, self.model(name).inputs, made, tmp_path / "pruned.onnx")

    @each_dynamic
    def test_other_batches_run(self, name: str) -> None:
        """A batch that was open stays open: of five samples, the first two give what they gave alone."""
        graph, made = self.pruned(name)
        assert set(self.model(name).channels.dims.values()) == {2}
        more = {key: np.concatenate([data, data, data[:1]]) for key, data in self.model(name).inputs.items()}
        given = run(graph, more)
        assert error({key: data[: len(made[key])] for key, data in given.items()}, made) < TOLERANCE
        assert all(len(data) == len(made[key]) * 5 // 2 for key, data in given.items())
