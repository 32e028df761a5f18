"""Two processes under torchrun train as one with the same batch does: one loss curve, and equal weights in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from irc.types import Array
from tests.training import worker

ROOT = Path(__file__).resolve().parents[2]
# those that draw no random numbers per row
JOBS = ("fine-tune", "metric", "quantized", "features", "branches", "structure")


def losses(path: Path) -> Array:
    return np.array([line["loss"] for line in map(json.loads, path.read_text().splitlines()) if "loss" in line])


def run(folder: Path, *command: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_loss_curve_and_weights(job: str, tmp_path: Path) -> None:
    worker.prepare(tmp_path)
    run(tmp_path, worker.__file__, job, "one")
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    run(tmp_path, *launch, worker.__file__, job, "two", "checkpoint")
    one, two = losses(tmp_path / "one.log"), losses(tmp_path / "two.log")
    assert len(one) == len(two) >= 10
    assert np.abs(one - two).max() < 1e-4
    assert np.abs(one - one[0]).max() > 1e-2, "a loss that stays the same says nothing"
    alone, first, second = (load_file(tmp_path / name) for name in ("one.0", "two.0", "two.1"))
    assert all((first[name] == second[name]).all() for name in first)
    for name, array in alone.items():
        np.testing.assert_allclose(first[name], array, atol=1e-4, err_msg=name)
    if job == "structure":
        kernel = next(array for array in first.values() if array.ndim == 4)
        assert np.unique(kernel).size <= 9
        assert (kernel == 0).mean() >= 0.5
    assert "on 2 processes" in (tmp_path / "two.1.notes").read_text()
    if job == "fine-tune":
        run(tmp_path, *launch, worker.__file__, job, "again", "checkpoint")
        again = load_file(tmp_path / "again.1")
        assert all((again[name] == first[name]).all() for name in first)
