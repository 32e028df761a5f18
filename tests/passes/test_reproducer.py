"""A crash leaves a folder whose command makes it happen again, in a fresh process."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irc.errors import PassError
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context, plain_context
from irc.passes.pipeline import Pipeline
from irc.passes.reproducer import write_reproducer
from irc.passes.simplify import Simplify
from irc.text import load_text, print_graph, save_text

GraphMaker = Callable[..., Graph]

PLUGIN = '''
from dataclasses import dataclass
import numpy as np
from irc.passes.base import EXACT, Pass, option

@dataclass(frozen=True)
class Stumble(Pass):
    """Fails at the node of that name, in the middle of its work."""
    at: str = option(help="name of a node")
    def run(self, graph, context):
        next(iter(context.samples("stumble")))
        for node in graph:
            node.name and graph.touch()
            if node.name == self.at:
                raise RuntimeError(f"stumbled over {node.name}, seed {context.seed}")

@dataclass(frozen=True)
class Nudge(Pass):
    """Claims to be exact and is not."""
    numerics = EXACT
    def run(self, graph, context):
        value = graph.value("b1")
        value.data = value.data + np.float32(0.5)
'''
ENTRY_POINTS = "[irc.passes]\nstumble = stumble_plugin:Stumble\nnudge = stumble_plugin:Nudge\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes in which a package with two bad passes is installed."""
    site = tmp_path / "site"
    info = site / "stumble_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "stumble_plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stumble-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return {**os.environ, "PYTHONPATH": str(site)}


def irc_command(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from irc.cli import main; main()", *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("passes", "more", "said"),
    [
        ("simplify, stumble{at=conv2}, eliminate-dead", [], "RuntimeError: stumbled over conv2, seed 7"),
        ("nudge", ["--check", "numerics"], "'nudge' is declared exact"),
    ],
)
def test_the_replay_fails_in_the_same_way(
    passes: str, more: list[str], said: str, environment: dict[str, str], net: GraphMaker, typical: Any, tmp_path: Path
) -> None:
    graph = net("residual")
    save_text(graph, tmp_path / "m.irc")
    np.savez(tmp_path / "data.npz", x=np.stack([s["x"] for s in typical(graph)]))
    command = ["compile", str(tmp_path / "m.irc"), "--passes", passes, "--seed", "7"]
    command += ["--reproducer", str(tmp_path / "bad"), "--calibration", str(tmp_path / "data.npz")]
    command += ["-o", str(tmp_path / "out.onnx"), *more]
    first = irc_command(command, environment)
    assert first.returncode == 2
    assert said in first.stderr
    assert not (tmp_path / "out.onnx").exists()
    (folder,) = (tmp_path / "bad").iterdir()
    replay = (folder / "replay.sh").read_text().strip()
    assert replay in first.stderr
    program, *arguments = shlex.split(replay)
    assert program == "irc"
    second = irc_command([*arguments, "--reproducer", str(tmp_path / "again")], environment)
    assert second.returncode == 2
    assert said in second.stderr
    assert "eliminate-dead" in (folder / "pipeline.txt").read_text() or "nudge" in passes
    assert "simplify" not in (folder / "pipeline.txt").read_text()  # it had been done already
    assert said.split(":")[-1].strip() in (folder / "error.txt").read_text()
    versions = (folder / "versions.txt").read_text()
    assert f"torch {torch.__version__}" in versions


@dataclass(frozen=True)
class Destroy(Pass):
    """Damages the graph and then crashes."""

    def run(self, graph: Graph, context: Context) -> None:
        value = graph.value("b1")
        assert value.data is not None
        value.data = value.data * 0
        raise ValueError("too late")


def test_the_graph_is_that_of_before_the_pass(net: GraphMaker, tmp_path: Path) -> None:
    graph = net("residual")
    before = print_graph(graph)
    with pytest.raises(PassError, match="replay it with: irc compile"):
        Pipeline([Simplify(), Destroy()], reproducer=tmp_path).run(graph, plain_context(graph))
    assert print_graph(load_text(tmp_path / "irc-reproducer-destroy" / "graph.irc")) == before


def test_each_crash_has_a_folder_of_its_own(net: GraphMaker, tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(PassError):
            Pipeline([Destroy()], reproducer=tmp_path / "deep").run(net("residual"), plain_context(net("residual")))
    made = sorted(p.name for p in (tmp_path / "deep").iterdir())
    assert made == ["irc-reproducer-destroy", "irc-reproducer-destroy-1", "irc-reproducer-destroy-2"]


def test_without_a_folder_only_the_error_is_told(net: GraphMaker) -> None:
    graph = net("residual")
    with pytest.raises(PassError, match=r"^pass 'destroy' failed: ValueError: too late$"):
        Pipeline([Destroy()]).run(graph, plain_context(graph))


def test_a_folder_that_cannot_be_made_does_not_hide_the_error(net: GraphMaker, tmp_path: Path) -> None:
    """A file stands where the folder should be: as good as read-only, for root too."""
    (tmp_path / "file").write_text("")
    graph = net("residual")
    with pytest.raises(PassError, match=r"ValueError: too late \(no reproducer could be written: .*file"):
        Pipeline([Destroy()], reproducer=tmp_path / "file" / "x").run(graph, plain_context(graph))


def test_samples_of_several_shapes(net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("branches")
    samples = [*typical(graph, 2), *typical(graph, 1, batch=5)]
    context = plain_context(graph, calibration=samples)
    said = write_reproducer(tmp_path, graph, [Simplify()], context, ValueError("x"))
    assert "--calibration" in said
    with np.load(tmp_path / "irc-reproducer-simplify" / "calibration.npz") as held:
        assert {n: a.shape for n, a in held.items()} == {"c": (2,), "x": (2, 2, 4, 8, 8)}
