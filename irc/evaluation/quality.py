"""What the outputs of models are worth: against labels, and against the outputs of the first model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irc.analysis.error import SqnrMeter
from irc.errors import DataError
from irc.evaluation.inputs import refusal, renamed
from irc.evaluation.subject import Outputs, Subject
from irc.execution.samples import Sample
from irc.graph import Graph
from irc.types import Array


@dataclass(frozen=True)
class Quality:
    """Of one model over all samples; None where there is nothing to say.

    accuracy : the part of the rows whose label has the highest score (top-1)
    agreement : the part of the rows whose highest score is of the same class as the first model's
    sqnr_db : of all float outputs against the first model's, dB; inf if they are equal
    max_abs_error : the largest difference from the first model's outputs
    """

    accuracy: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    max_abs_error: float | None = None
    notes: tuple[str, ...] = ()


def measure(
    subjects: Sequence[Subject], samples: Iterable[Sample], taken_by: Graph, labels: Iterable[Any] | None
) -> list[Quality]:
    """The quality of each subject, the first of which the others are held against.

    samples : of the graph `taken_by`
    labels : of each sample the class, or one for each row of scores

    Raises
    ------
    DataError : the first subject does not take the samples; there are more samples than labels or fewer, or they do not
        fit the scores.
    """
    first, *others = [_Meter(each, refusal(each.graph, taken_by)) for each in subjects]
    if first.refused:
        raise DataError(f"'{first.subject.name}' does not take the data: {first.refused}")
    for number, (sample, label) in enumerate(_labelled(samples, labels)):
        wanted = first.subject.run(renamed(sample, first.subject.graph, taken_by))
        first.score(wanted, label, number)
        for meter in others:
            if not meter.refused:
                got = meter.subject.run(renamed(sample, meter.subject.graph, taken_by))
                meter.score(got, label, number)
                meter.compare(wanted, got)
    return [meter.quality() for meter in (first, *others)]


def _labelled(samples: Iterable[Sample], labels: Iterable[Any] | None) -> Iterator[tuple[Sample, Array | None]]:
    if labels is None:
        yield from ((sample, None) for sample in samples)
        return
    given = iter(labels)
    count = 0
    for sample in samples:
        try:
            label = next(given)
        except StopIteration:
            raise DataError(f"there are {count} labels and more samples; give one for each sample") from None
        yield sample, np.asarray(label).reshape(-1)
        count += 1
    if next(given, None) is not None:
        raise DataError(f"there are {count} samples and more labels; give one for each sample")


class _Meter:
    """Counts for one subject.

    refused : why it is not run
    """

    def __init__(self, subject: Subject, refused: str) -> None:
        self.subject = subject
        self.refused = refused
        self.errors = SqnrMeter()
        self.right = self.labelled = self.agreed = self.rows = 0
        self.notes: dict[str, None] = {f"it is not run on the data: {refused}": None} if refused else {}

    def score(self, outputs: Outputs, label: Array | None, number: int) -> None:
        """Hold the scores against the labels of a sample."""
        if label is None:
            return
        scores = class_scores(outputs)
        where = f"sample {number}, '{self.subject.name}'"
        if scores is None:
            raise DataError(
                f"{where}: its first output is not (rows, classes), so that labels say nothing of it; give evaluate"
            )
        if label.dtype.kind not in "iu" or len(label) != len(scores):
            raise DataError(
                f"{where}: {len(label)} labels ({label.dtype}) for {len(scores)} rows; give an integer each"
            )
        if label.size and not 0 <= label.min() <= label.max() < scores.shape[1]:
            raise DataError(f"{where}: label {label.max()} is none of the {scores.shape[1]} classes, 0 and up")
        self.right += int((_classes(scores) == label).sum())
        self.labelled += len(label)

    def compare(self, wanted: Outputs, got: Outputs) -> None:
        """Hold outputs against the first model's."""
        for (name, left), right in zip(wanted.items(), _in_order(wanted, got), strict=False):
            if not isinstance(left, np.ndarray) or not isinstance(right, np.ndarray) or left.dtype.kind in "OUS":
                self.notes[f"output '{name}' is no tensor of numbers, and is not compared"] = None
            elif left.shape != right.shape:
                shapes = f"{list(right.shape)}, and {list(left.shape)} in the first model"
                self.notes[f"output '{name}' is {shapes}; they are not compared"] = None
            elif left.dtype.kind not in "biu":
                self.errors.update(left, right)
        if len(wanted) != len(got):
            self.notes[f"it has {len(got)} outputs, the first model {len(wanted)}"] = None
        scores = class_scores(wanted), class_scores(dict(zip(wanted, _in_order(wanted, got), strict=False)))
        if scores[0] is not None and scores[1] is not None and scores[0].shape == scores[1].shape:
            self.agreed += int(((_classes(scores[0]) == _classes(scores[1])) & (_classes(scores[0]) >= 0)).sum())
            self.rows += len(scores[0])

    def quality(self) -> Quality:
        """What was counted."""
        measured = self.errors.value is not None
        return Quality(
            accuracy=self.right / self.labelled if self.labelled else None,
            agreement=self.agreed / self.rows if self.rows else None,
            sqnr_db=self.errors.value,
            max_abs_error=self.errors.max_abs_error if measured else None,
            notes=tuple(self.notes),
        )


def _in_order(wanted: Outputs, got: Outputs) -> list[Any]:
    """Outputs in the order of the first model's: by name if the names are the same, else by place."""
    return [got[name] for name in wanted] if set(wanted) == set(got) else list(got.values())


def class_scores(outputs: Outputs) -> Array | None:
    """The first output if it can be scores of classes, float (rows, classes); else None."""
    scores = np.asarray(next(iter(outputs.values())))
    is_float = scores.dtype.kind == "f" or scores.dtype.name == "bfloat16"
    return scores if is_float and scores.ndim == 2 and scores.shape[1] > 1 else None


def _classes(scores: Array) -> Array:
    """The class with the highest score of each row; -1 where one is NaN."""
    wide = scores.astype(np.float64)
    found: Array = np.where(np.isnan(wide).any(-1), -1, wide.argmax(-1))
    return found
