"""Same model, samples and options: the same bytes, in one process and in another."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import irc
from irc.api import DEFAULT_PASSES
from irc.graph import Graph
from irc.text import save_text

PROGRAM = """
import hashlib, sys
import numpy as np
import irc.api
rng = np.random.default_rng(0)
samples = [rng.standard_normal((2, 4, 8, 8)).astype(np.float32) for _ in range(4)]
passes = f"{irc.api.DEFAULT_PASSES}, quantize{{method=entropy}}"
irc.compile(sys.argv[1], passes, calibration=samples).save(sys.argv[2])
print(hashlib.sha256(open(sys.argv[2], "rb").read()).hexdigest())
"""


@pytest.mark.parametrize("name", ["residual", "concat", "attention", "branches"])
def test_twice_in_one_process(name: str, net: Callable[..., Graph], typical: Any, tmp_path: Path) -> None:
    graph = net(name)
    made = []
    for number in (1, 2):
        path = tmp_path / f"{number}.onnx"
        passes = f"{DEFAULT_PASSES}, quantize{{method=mse}}"
        irc.compile(graph, passes, calibration=typical(graph)).save(path)
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_in_two_processes_that_hash_differently(net: Callable[..., Graph], tmp_path: Path) -> None:
    model = tmp_path / "m.irc"
    save_text(net("concat"), model)
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PROGRAM, str(model), str(tmp_path / f"{seed}.onnx")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
        found.add(done.stdout.strip())
    assert found == {hashlib.sha256((tmp_path / "1.onnx").read_bytes()).hexdigest()}
