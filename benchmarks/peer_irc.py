"""irc's C backend, as two more of those that are compared.

`irc` is the Python artifact, as `irc.open` brings it back: without torch, as preparing has built the library.
`irc-lib` is the shared library alone, called through ctypes as a C program would: neither irc nor torch is in its
process, so its load time and memory are the deployed product's.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from bench_models import HERE, Array, BenchModel, Inputs
from peer_base import Loaded, Peer

TARGET = "c:host"
ISA = "IRC_BENCH_ISA"  # variable of the process: the instruction set to use, the best one if empty
SOURCES = tuple(HERE.parent / folder for folder in ("irc", "passes", "backends"))
PASSES = {"minilm": "smooth-quant, quantize"}  # after the default passes; of the others `quantize`


def compile_c(model: BenchModel, folder: Path) -> Path:
    """Quantize with the calibration samples that the peers get, compile to C, build the library."""
    import irc
    from irc.api import DEFAULT_PASSES

    passes = f"{DEFAULT_PASSES}, {PASSES.get(model.name, 'quantize')}"
    made: Any = irc.compile(str(model.float_path), passes, target=TARGET, calibration=model.calibration())
    made.save(folder / "model")
    shutil.copy(made.library, folder / "model.so")
    outputs = [(port.view.shape, np.dtype(port.view.dtype.numpy).str) for port in made.program.outputs]
    ports = {"name": made.name, "inputs": [port.name for port in made.program.inputs], "outputs": outputs}
    (folder / "model.json").write_text(json.dumps(ports))
    return folder / "model"


def load(path: Path, threads: int) -> Loaded:
    """Open what was saved, and load its library."""
    import irc

    artifact: Any = irc.open(path)
    artifact.threads, artifact.isa = threads, os.environ.get(ISA, "")
    facts = {"isa": artifact.runner.isa}

    def run(inputs: Inputs) -> list[Array]:
        outputs = artifact(inputs)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    return Loaded(run, facts)


def load_library(path: Path, threads: int) -> Loaded:
    """Load the shared library alone and give it its memory; the outputs are overwritten by the next run."""
    ports = json.loads(path.with_suffix(".json").read_text())
    library = ctypes.CDLL(str(path.with_suffix(".so")))
    size, init, run_array, isa = (
        getattr(library, f"irc_{ports['name']}_{what}") for what in ("size", "init", "run_array", "isa")
    )
    size.restype, isa.restype = ctypes.c_size_t, ctypes.c_char_p
    needed = size(threads)
    memory, context = np.empty(needed + 64, np.uint8), ctypes.c_void_p()
    aligned = ctypes.c_void_p(memory.ctypes.data + -memory.ctypes.data % 64)
    forced = os.environ.get(ISA, "").encode() or None
    if code := init(aligned, ctypes.c_size_t(needed), threads, forced, ctypes.byref(context)):
        raise RuntimeError(f"the library's init returned {code}")
    outputs = [np.empty(shape, dtype) for shape, dtype in ports["outputs"]]
    written = (ctypes.c_void_p * len(outputs))(*(array.ctypes.data for array in outputs))

    def run(inputs: Inputs, _alive: Array = memory) -> list[Array]:
        read = (ctypes.c_void_p * len(inputs))(*(inputs[name].ctypes.data for name in ports["inputs"]))
        if code := run_array(context, read, written):
            raise RuntimeError(f"the library's run returned {code}")
        return outputs

    return Loaded(run, {"isa": isa(context).decode()})


def no_target(model: BenchModel) -> str:
    """The target is looked up, so that the other peers can be measured without it."""
    import irc.ops  # noqa: F401  # before the registry of targets, whose tables are keyed by op
    from irc.backends.registry import find_target
    from irc.errors import OptionError

    try:
        find_target(TARGET)
    except OptionError as error:
        return str(error)
    return ""


MADE_BY = (*SOURCES, Path(__file__))
PEERS = (
    Peer("irc", "irc", compile_c, MADE_BY, "irc", load, no_target),
    Peer("irc-lib", "irc", compile_c, MADE_BY, "ctypes", load_library, no_target),
)
