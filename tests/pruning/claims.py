"""What is claimed of every architecture, whichever way its graph came in; `test_architectures*` hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from irc.graph import Graph
from irc.types import Array
from tests.pruning.architectures import ARCHITECTURES, DYNAMIC, GROUPS
from tests.pruning.removal import JUMP, TOLERANCE, Traced, check_equal, check_file, draw, error, jump, run, traced

FAST = {"lenet", "vgg", "squeezenet", "densenet", "unet", "tcn", "option_a", "pixel_shuffle", "glu", "mixer", "lstm"}
each_architecture = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ARCHITECTURES], ids=str
)
each_dynamic = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in sorted(DYNAMIC)], ids=str
)


class Claims:
    """The claims about graphs from one source, each architecture traced once.

    load : the graph of an architecture, by name
    """

    def __init__(self, load: Callable[[str], Graph]) -> None:
        self.model: Callable[[str], Traced] = cache(lambda name: traced(load(name)))
        self.pruned: Callable[[str], tuple[Graph, dict[str, Array]]] = cache(self._pruned)

    def _pruned(self, name: str) -> tuple[Graph, dict[str, Array]]:
        model = self.model(name)
        return check_equal(model, draw(model.channels, seed=1))

    def groups_are_found(self, name: str) -> None:
        """As many groups as the definition has, or more, and none of them twice."""
        groups = self.model(name).channels.groups
        found = Counter("dim" if group.kind == "dim" else "whole" for group in groups)
        assert (found["whole"] >= GROUPS[name][0], found["dim"] >= GROUPS[name][1]) == (True, True), dict(found)
        units = Counter(unit.labels for group in groups for unit in group.units)
        assert not [labels for labels, times in units.items() if times > 1]

    def pruned_equals_masked(self, name: str) -> None:
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

    def a_unit_that_stays_is_seen(self, name: str) -> None:
        """Else equality would say nothing: a network that fades to nothing is equal to everything."""
        model, (_, made) = self.model(name), self.pruned(name)
        assert jump(model, draw(model.channels, seed=1), made) > JUMP

    def prunes_again(self, name: str) -> None:
        """What is left is a model like any other."""
        left = traced(self.pruned(name)[0])
        check_equal(left, draw(left.channels, seed=5))

    def file_gives_the_same(self, name: str, path: Path) -> None:
        """One ordinary ONNX file, for onnxruntime and for irc."""
        graph, made = self.pruned(name)
        check_file(graph, self.model(name).inputs, made, path)

    def other_batches_run(self, name: str) -> None:
        """A batch that was open stays open: of five samples, the first two give what they gave alone."""
        graph, made = self.pruned(name)
        assert set(self.model(name).channels.dims.values()) == {2}
        more = {key: np.concatenate([data, data, data[:1]]) for key, data in self.model(name).inputs.items()}
        given = run(graph, more)
        assert error({key: data[: len(made[key])] for key, data in given.items()}, made) < TOLERANCE
        assert all(len(data) == len(made[key]) * 5 // 2 for key, data in given.items())
