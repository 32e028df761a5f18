"""Measure what passes do to the outputs: against the model as it came in, and against what each pass may do."""

from __future__ import annotations

from typing import Any

from irc.analysis.error import SqnrMeter, relative_error
from irc.errors import DataError, PassError
from irc.execution import Executable
from irc.execution.samples import Sample, check_sample, input_signature, random_sample
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context
from irc.types import Array

_SAMPLES = 4  # enough to tell a broken pass from a sound one; accuracy is what `evaluate` is for
_ULPS = 64.0  # sums in another order differ by some units in the last place, whatever the pass


class Yardstick:
    """Runs a few samples through the model as it came in and through the graph as it is."""

    def __init__(self, context: Context, *, always: bool) -> None:
        self.context = context
        self.samples = self._choose(always)
        self.reference = self._outputs(context.teacher) if self.samples else []
        self._latest: tuple[int, float | None] = (-1, None)

    def _choose(self, always: bool) -> list[Sample]:
        if self.context.calibration is not None:
            return self.context.calibration.first(_SAMPLES)
        if not always:
            return []
        try:
            return [random_sample(self.context.teacher, self.context.seed)]
        except DataError as error:
            raise DataError(f"the numerics cannot be checked: {error}") from None

    def _outputs(self, graph: Graph) -> list[list[Array]]:
        run = Executable(graph)
        return [list(run.run_numpy(sample).values()) for sample in self.samples]

    def sqnr(self, graph: Graph) -> float | None:
        """dB of the graph's float outputs against the original's; None without samples."""
        if not self.samples:
            return None
        if self._latest[0] != graph.version:
            meter = SqnrMeter()
            for wanted, got in zip(self.reference, self._outputs(graph), strict=True):
                for a, b in zip(wanted, got, strict=True):
                    if _is_float(a) and a.shape == b.shape:
                        meter.update(a, b)
            self._latest = (graph.version, meter.value)
        return self._latest[1]

    def metric(self, graph: Graph) -> float | None:
        """What the user's `evaluate` says of the graph; None without one."""
        if self.context.evaluate is None:
            return None
        run = Executable(graph)
        signature = input_signature(self.context.teacher)  # whose data it is, whatever `cast-float` made of the inputs

        def call(item: Any) -> Any:
            return unwrap(run.run_numpy(check_sample(item, signature)))

        return float(self.context.evaluate(call))

    def hold(self, each: Pass, before: Graph, after: Graph) -> None:
        """PassError if the pass moved an output by more than its numerics allow."""
        allowed = each.numerics.tolerance
        if allowed is None:
            return
        for wanted, got in zip(self._outputs(before), self._outputs(after), strict=True):
            for name, a, b in zip(after.output_names, wanted, got, strict=True):
                if a.shape != b.shape or a.dtype != b.dtype:
                    raise PassError(
                        f"output '{name}' was {a.dtype}{list(a.shape)} and is {b.dtype}{list(b.shape)} now"
                    )
                error, bound = relative_error(a, b), allowed + noise(a)
                if error > bound:
                    raise PassError(
                        f"output '{name}' moved by {error:.3g} of its largest value; '{each.pass_name()}' is declared "
                        f"{each.numerics} (with rounding: {bound:.3g})"
                    )


def unwrap(outputs: dict[str, Any]) -> Any:
    """One output alone, several as a tuple in order."""
    values = tuple(outputs.values())
    return values[0] if len(values) == 1 else values


def noise(array: Array) -> float:
    """What sums in another order may move a value by, relative to the largest: some units in the last place."""
    if not _is_float(array):
        return 0.0
    bits = {"bfloat16": 8, "float16": 10, "float32": 23, "float64": 52}.get(array.dtype.name, 3)
    return _ULPS * 2.0**-bits


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))
