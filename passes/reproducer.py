"""What a crash leaves behind: the graph just before, the passes from there on, the versions, and how to run it again."""

from __future__ import annotations

import platform
import shlex
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np

from irc.errors import IrcError
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context
from irc.passes.options import format_pipeline
from irc.text import save_text

_PACKAGES = ("irc-compiler", "numpy", "onnx", "onnxruntime", "torch")
_SAMPLES = 4


def write_reproducer(folder: Path, graph: Graph, passes: Sequence[Pass], context: Context, error: Exception) -> str:
    """Write the reproducer into a new folder within `folder`; what to tell the user about it."""
    try:
        made = _new_folder(folder, passes[0].pass_name())
        save_text(graph, made / "graph.irc")
        command = ["irc", "compile", str(made / "graph.irc"), "--passes", format_pipeline(passes)]
        command += ["--target", context.target.name, "--seed", str(context.seed), "-o", str(made / "out.onnx")]
        if context.calibration is not None:
            samples = context.calibration.first(_SAMPLES)
            np.savez(made / "calibration.npz", **{n: np.stack([s[n] for s in samples]) for n in samples[0]})
            command += ["--calibration", str(made / "calibration.npz")]
        replay = shlex.join(command)
        lines = [f"{p} {version(p)}" for p in _PACKAGES] + [f"python {platform.python_version()}", platform.platform()]
        (made / "versions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (made / "pipeline.txt").write_text(format_pipeline(passes) + "\n", encoding="utf-8")
        (made / "replay.sh").write_text(replay + "\n", encoding="utf-8")
        trace = "".join(traceback.format_exception(error))
        (made / "error.txt").write_text(trace, encoding="utf-8")
    except (OSError, IrcError, ValueError) as failure:
        return f" (no reproducer could be written: {failure})"
    return f"; replay it with: {replay}"


def _new_folder(folder: Path, name: str) -> Path:
    for number in count():
        made = folder / f"irc-reproducer-{name}{f'-{number}' if number else ''}"
        try:
            made.mkdir(parents=True)
        except FileExistsError:
            continue
        return made
    raise AssertionError("unreachable")
