"""What a crash leaves behind: the graph just before, the passes from there on, the versions, and how to replay it."""

from __future__ import annotations

import platform
import shlex
import traceback
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path

import numpy as np

from irc.errors import IrcError
from irc.execution.samples import Sample
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context
from irc.passes.options import format_pipeline
from irc.text import save_text

_PACKAGES = ("irc-compiler", "numpy", "onnx", "onnxruntime", "torch")
_SAMPLES = 4


def write_reproducer(
    folder: Path, graph: Graph, passes: Sequence[Pass], context: Context, error: Exception, check: str = ""
) -> str:
    """Write the reproducer into a new folder within `folder`; what to tell the user about it."""
    try:
        made = _new_folder(folder, passes[0].pass_name())
        save_text(graph, made / "graph.irc")
        command = ["irc", "compile", str(made / "graph.irc"), "--passes", format_pipeline(passes)]
        output = made / ("out" if context.target.kind == "c" else "out.onnx")  # C is a folder
        command += ["--target", context.target.name, "--seed", str(context.seed), "-o", str(output)]
        if check:
            command += ["--check", check]
        if context.calibration is not None:
            _write_samples(context.calibration.first(_SAMPLES), made / "calibration.npz")
            command += ["--calibration", str(made / "calibration.npz")]
        replay = shlex.join(command)
        lines = [f"{p} {_version(p)}" for p in _PACKAGES] + [f"python {platform.python_version()}", platform.platform()]
        (made / "versions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (made / "pipeline.txt").write_text(format_pipeline(passes) + "\n", encoding="utf-8")
        (made / "replay.sh").write_text(replay + "\n", encoding="utf-8")
        trace = "".join(traceback.format_exception(error))
        (made / "error.txt").write_text(trace, encoding="utf-8")
    except (OSError, IrcError, ValueError) as failure:
        return f" (no reproducer could be written: {failure})"
    return f"; replay it with: {replay}"


def _write_samples(samples: Sequence[Sample], path: Path) -> None:
    """The samples that are alike in shape to the first, stacked, by input name."""
    first = samples[0]
    alike = [s for s in samples if s.keys() == first.keys() and all(s[n].shape == first[n].shape for n in first)]
    with zipfile.ZipFile(path, "w") as archive:
        for name in first:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.stack([s[name] for s in alike]), allow_pickle=False)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"


def _new_folder(folder: Path, name: str) -> Path:
    for number in count():
        made = folder / f"irc-reproducer-{name}{f'-{number}' if number else ''}"
        try:
            made.mkdir(parents=True)
        except FileExistsError:
            continue
        return made
    raise AssertionError("unreachable")
