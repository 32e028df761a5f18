"""The peers of the benchmark, by name, and their prepared files, which are kept by content.

A peer is a `Peer`: a function that prepares, one that loads. To add one, list it in a `peer_*.py` and here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import peer_irc
import peer_onnxruntime
import peer_openvino
from bench_models import BenchModel, bench_model, cache_folder, content_key
from measure import measured
from peer_base import Peer, deployed_bytes

PEERS: dict[str, Peer] = {peer.name: peer for peer in (*peer_onnxruntime.PEERS, *peer_openvino.PEERS, *peer_irc.PEERS)}
SUFFIXES = (".py", ".h", ".c")  # of what counts in a folder of sources


@dataclass(frozen=True)
class Prepared:
    """A peer's file, and what making it took, in a process of its own.

    path : what is deployed
    deployed : its bytes
    seconds, peak_bytes : of the process that made it
    """

    path: Path
    deployed: int
    seconds: float
    peak_bytes: int


def left_out(peer: Peer, model: BenchModel) -> str:
    """Why the peer cannot run the model here; empty if it can."""
    packages = [part for part in peer.made_by if isinstance(part, str)]
    absent = [name for name in (peer.runtime, *packages) if find_spec(name) is None]
    return f"{absent[0]} is not installed: pip install -e '.[bench]'" if absent else peer.missing(model)


def prepared(peer: Peer, model: BenchModel) -> Prepared:
    """The peer's file for the model, from the cache or made now.

    It is kept under a key of the float model, the calibration samples, and what the peer says that it is made by.

    Raises
    ------
    RuntimeError : it could not be made; why has been written to standard error.
    """
    key = content_key(model.float_path, model.folder / "calibration.npz", *_made_by(peer))
    folder = cache_folder() / f"{model.name}-{peer.recipe}-{key}"
    record = folder / "prepared.json"  # written last: its presence says that all is there
    if not record.exists():
        folder.mkdir(parents=True, exist_ok=True)
        took = measured(prepare, peer.name, model.name, str(folder))
        record.write_text(json.dumps({"path": took.result, "seconds": took.seconds, "peak_bytes": took.peak_bytes}))
    known = json.loads(record.read_text())
    path = folder / known["path"]
    return Prepared(path, deployed_bytes(path), known["seconds"], known["peak_bytes"])


def prepare(peer: str, model: str, folder: str) -> str:
    """Prepare in this process; the path below `folder`."""
    return str(PEERS[peer].prepare(bench_model(model), Path(folder)).relative_to(folder))


def _made_by(peer: Peer) -> Iterator[str | Path]:
    """Versions of packages; source files; of folders each source file and its name."""
    for part in peer.made_by:
        if isinstance(part, str):
            yield f"{part} {version(part)}"
        elif part.is_dir():
            for file in sorted(file for file in part.rglob("*") if file.suffix in SUFFIXES):
                yield str(file.relative_to(part))
                yield file
        else:
            yield part
