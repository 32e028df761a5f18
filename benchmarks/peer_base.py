"""What a peer is to the benchmark: it prepares a file from the float model once, then loads and runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_models import Array, BenchModel, Inputs


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to run in this process.

    run : from inputs by name to the outputs; the outputs may be overwritten by the next run
    facts : what the runtime says of itself, such as the precision it computes in
    """

    run: Callable[[Inputs], list[Array]]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """One way to run a model.

    recipe : names what `prepare` writes; peers that run the same file share it
    prepare : from the model and an empty folder to the file or folder that is deployed; writes nothing elsewhere
    made_by : what that depends on: names of distributions, source files and folders
    runtime : the module that `load` imports, so that the import is timed apart
    load : from that path and the number of threads to what runs it; imports its runtime inside
    missing : why it cannot run the model here, empty if it can
    """

    name: str
    recipe: str
    prepare: Callable[[BenchModel, Path], Path]
    made_by: tuple[str | Path, ...]
    runtime: str
    load: Callable[[Path, int], Loaded]
    missing: Callable[[BenchModel], str] = lambda model: ""


def deployed_bytes(path: Path) -> int:
    """Bytes of what is deployed: the file, OpenVINO's weights beside it; of a folder of C the library beside it."""
    if path.is_dir():
        return path.with_suffix(".so").stat().st_size
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


def quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a tool that prints its steps and logs its warnings, without both."""
    import contextlib
    import io
    import logging

    logging.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return function(*arguments, **options)
    finally:
        logging.disable(logging.NOTSET)
