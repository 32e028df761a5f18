"""Measure the peers on one model with so many threads: each in a process of its own, timed in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench_accuracy import Accuracy, accuracy
from bench_models import BenchModel
from bench_peers import Prepared
from bench_worker import Worker
from latency import DROPPED, Timed

OURS = ("irc", "irc-lib")  # through Python, and the library alone
PAUSE = 0.1  # seconds between turns: a runtime's threads spin for a while after its last run, on the next one's core


@dataclass(frozen=True)
class Result:
    """What was measured of one peer.

    timed : of each run, in turns
    start : of fresh processes the least import_ms, load_ms, first_ms (the first run); the largest peak_bytes,
        base_bytes (what Python, numpy and the input took before)
    accuracy : against the float32 torch module
    facts : what the runtime says of itself
    """

    prepared: Prepared
    timed: Timed
    start: dict[str, float]
    accuracy: Accuracy
    facts: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """How to measure.

    turns : how often each peer gets its turn
    runs : that are timed in a turn, after three that are dropped
    starts : fresh processes of each peer, for the times of loading
    environment : variables of the peers' processes
    """

    turns: int
    runs: int
    starts: int
    environment: Mapping[str, str]


def measure(model: BenchModel, files: Mapping[str, Prepared], threads: int, plan: Plan) -> dict[str, Result]:
    """Measure all peers of `files` together."""
    with ExitStack() as stack:
        workers, starts = {}, {}
        for name, file in files.items():
            started = [_start(name, model, threads, file, plan) for _ in range(plan.starts)]
            for worker, _ in started:
                stack.callback(worker.close)
            workers[name] = started[-1][0]
            starts[name] = [answer for _, answer in started]
            for worker, _ in started[:-1]:
                worker.close()
        accuracies = {name: _accuracy(model, worker) for name, worker in workers.items()}
        timed = take_turns(workers, plan)
    return {
        name: Result(file, timed[name], _summary(starts[name]), accuracies[name], starts[name][0]["facts"])
        for name, file in files.items()
    }


def take_turns(workers: Mapping[str, Worker], plan: Plan) -> dict[str, Timed]:
    """`turns` times each worker in its turn, every other turn in the opposite order."""
    timed = {name: Timed() for name in workers}
    for turn in range(plan.turns):
        for name in list(workers)[:: -1 if turn % 2 else 1]:
            time.sleep(PAUSE)
            answer = workers[name].ask("time", runs=DROPPED + plan.runs)
            timed[name].wall.append(answer["wall"][DROPPED:])
            timed[name].cpu.append(answer["cpu"][DROPPED:])
    return timed


def speedup(of: Timed, over: Timed) -> float:
    """How many times faster: of each turn the fastest runs' ratio, of the turns the middle."""
    return median(min(b) / min(a) for a, b in zip(of.wall, over.wall, strict=True))


def best_peer(results: Mapping[str, Result]) -> str:
    """The peer with the fastest run, irc's own left out; empty if there is none."""
    others = [name for name in results if name not in OURS]
    return min(others, key=lambda name: results[name].timed.least, default="")


def _start(name: str, model: BenchModel, threads: int, file: Prepared, plan: Plan) -> tuple[Worker, dict[str, Any]]:
    worker = Worker(name, model.name, threads, file.path, dict(plan.environment))
    try:
        return worker, worker.ask("start")
    except BaseException:
        worker.close()
        raise


def _accuracy(model: BenchModel, worker: Worker) -> Accuracy:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.npy"
        worker.ask("outputs", path=str(path))
        return accuracy(model, np.load(path))


def _summary(starts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    least = {key: min(each[key] for each in starts) for key in ("import_ms", "load_ms", "first_ms")}
    return least | {key: max(each[key] for each in starts) for key in ("peak_bytes", "base_bytes")}
