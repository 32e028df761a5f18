"""On every architecture, pruned equals the original with those channels masked: read from the torch module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pruning.architectures import from_torch
from tests.pruning.claims import Claims, each_architecture, each_dynamic

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the model libraries' own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
CLAIMS = Claims(from_torch)


@each_architecture
def test_groups_are_found(name: str) -> None:
    CLAIMS.groups_are_found(name)


@each_architecture
def test_pruned_equals_masked(name: str) -> None:
    CLAIMS.pruned_equals_masked(name)


@each_architecture
def test_a_unit_that_stays_is_seen(name: str) -> None:
    CLAIMS.a_unit_that_stays_is_seen(name)


@each_architecture
def test_prunes_again(name: str) -> None:
    CLAIMS.prunes_again(name)


@each_architecture
def test_file_gives_the_same(name: str, tmp_path: Path) -> None:
    CLAIMS.file_gives_the_same(name, tmp_path / "pruned.onnx")


@each_dynamic
def test_other_batches_run(name: str) -> None:
    CLAIMS.other_batches_run(name)
