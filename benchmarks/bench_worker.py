"""One peer with one model in a process of its own, idle until told to run.

    python bench_worker.py PEER MODEL THREADS FILE

So that the peers can take turns, each keeps its own memory, threads and environment, and none of them runs beside
another. Requests and answers are lines of JSON: what a request names is called with its arguments.

    start                     -> import_ms, load_ms, first_ms, peak_bytes, base_bytes, facts
    time {"runs": n}          -> wall, cpu: ms of each run
    outputs {"path": p}       -> writes the outputs on all validation samples into a .npy, stacked
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Worker:
    """The caller's side: starts the process and talks to it.

    Parameters
    ----------
    environment : what to set beside the caller's own variables
    """

    def __init__(self, peer: str, model: str, threads: int, file: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, peer, model, str(threads), str(file)]
        # the number of threads is the peer's own option; a variable of the shell must not cap it
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
        self.title = f"{peer} on {model} with {threads} threads"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=inherited | environment
        )

    def ask(self, request: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        RuntimeError : the process has ended; what it wrote to standard error has been shown.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([request, arguments]) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.title} ended with exit code {self.process.wait()} at '{request}'")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process and wait for it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


class Session:
    """The worker's side."""

    def __init__(self, peer: str, model: str, threads: str, file: str) -> None:
        from bench_models import bench_model
        from bench_peers import PEERS

        self.peer, self.model, self.threads, self.file = PEERS[peer], bench_model(model), int(threads), Path(file)
        self.example = self.model.example()

    def start(self) -> dict[str, Any]:
        """Import the runtime, load the model, run it once."""
        from measure import peak_bytes

        base = peak_bytes()
        with _stopwatch() as import_ms:
            importlib.import_module(self.peer.runtime)
        with _stopwatch() as load_ms:
            self.loaded = self.peer.load(self.file, self.threads)
        with _stopwatch() as first_ms:
            self.loaded.run(self.example)
        times = {"import_ms": import_ms[0], "load_ms": load_ms[0], "first_ms": first_ms[0]}
        memory = {"peak_bytes": peak_bytes(), "base_bytes": base}
        return {**times, **memory, "facts": dict(self.loaded.facts)}

    def time(self, runs: int) -> dict[str, list[float]]:
        """Run the example; wall and processor milliseconds of each run."""
        run, example = self.loaded.run, self.example
        wall, cpu = [], []
        for _ in range(runs):
            processor, start = time.process_time(), time.perf_counter()
            run(example)
            wall.append((time.perf_counter() - start) * 1e3)
            cpu.append((time.process_time() - processor) * 1e3)
        return {"wall": wall, "cpu": cpu}

    def outputs(self, path: str) -> dict[str, Any]:
        """Run all validation samples; the first output of each, stacked, goes into a .npy."""
        import numpy as np

        np.save(path, np.stack([np.array(self.loaded.run(sample)[0]) for sample in self.model.validation()]))
        return {}


@contextlib.contextmanager
def _stopwatch() -> Iterator[list[float]]:
    """Milliseconds of the block, in a list once it has ended."""
    taken: list[float] = []
    start = time.perf_counter()
    yield taken
    taken.append((time.perf_counter() - start) * 1e3)


def _serve(arguments: list[str]) -> None:
    """Answer requests until standard input closes; what runtimes print must not get into the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    session = Session(*arguments)
    for line in sys.stdin:
        request, options = json.loads(line)
        answers.write(json.dumps(getattr(session, request)(**options)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1:])
