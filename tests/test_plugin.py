"""A package that only announces entry points adds its pass and its target to irc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parent / "plugin"

PROBE = """
import json, sys
import numpy as np
from irc.backends.registry import find_target
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.activation import Relu
from irc.passes.context import plain_context
from irc.passes.pipeline import Pipeline, format_pipeline, parse_pipeline
from irc.passes.registry import all_passes, find_pass
from irc.types import DType, TensorType

graph = Graph()
x = graph.add_input("x", TensorType(DType.F32, (4,)))
graph.add_output(graph.insert(Relu(), [x], name="act").output, "y")

passes = parse_pipeline("bound-relu{maximum=2.5}")
target = find_target("example-npu")
Pipeline(passes, check="numerics").run(graph, plain_context(graph, target=target))
y = Executable(graph).run_numpy({"x": np.array([-1, 1, 2.5, 7], np.float32)})["y"]
json.dump({
    "listed": "bound-relu" in all_passes(),
    "module": find_pass("bound-relu").__module__,
    "text": format_pipeline(passes),
    "ops": [node.op.name for node in graph],
    "origin": list(graph.node(next(iter(graph)).name).origin.passes),
    "y": y.tolist(),
    "target": [target.name, target.kind, target.policy.per_channel],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the plugin is installed, from a copy so that no build folder is left in the checkout."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-build-isolation", "--no-deps", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run_python(code: str, site: Path | None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds what is installed in `site`."""
    environment = {**os.environ, "PYTHONPATH": str(site)} if site else None
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def probe(site: Path) -> dict[str, Any]:
    """What irc says and does with the plugin installed."""
    done = run_python(PROBE, site)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_registry_lists_the_pass(probe: dict[str, Any]) -> None:
    assert probe["listed"]
    assert probe["module"] == "irc_plugin_example.bound_relu"


@pytest.mark.slow
def test_pipeline_text_runs_the_pass(probe: dict[str, Any]) -> None:
    assert probe["text"] == "bound-relu{maximum=2.5}"
    assert probe["ops"] == ["Clip"]
    assert probe["origin"] == ["bound-relu"]
    assert probe["y"] == [0, 1, 2.5, 2.5]


@pytest.mark.slow
def test_target_is_found(probe: dict[str, Any]) -> None:
    assert probe["target"] == ["example-npu", "onnx", False]


@pytest.mark.slow
def test_without_the_package_the_pass_is_unknown() -> None:
    done = run_python("from irc.passes.registry import find_pass; find_pass('bound-relu')", None)
    assert done.returncode != 0
    assert "OptionError: there is no pass 'bound-relu'" in done.stderr
