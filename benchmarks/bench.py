"""irc's C backend against the runtimes, end to end, batch 1: PYTHONPATH=examples python benchmarks/bench.py

    bench.py [--models resnet18 minilm] [--peers ort-u8s8 ov-int8 irc] [--threads 1 2] [--turns 10] [--markdown FILE]

Every peer starts from the same float file and the same 32 calibration samples, and runs in a process of its own that
idles while others have their turn. Printed of each, and nothing is left out that is slow or wrong:

    min ms, median, CPU ms   of a run; CPU is of all threads
    x best peer              how many times faster than the fastest peer (irc left out): the middle over the turns
    GOP/s, of limit          two operations a multiply-accumulate of the float model, over the fastest run; its share of
                             what that many cores do at most in int8, from registers, without Winograd's savings
    crops, photos, agree     SQNR in dB against the float32 torch module, on crops of the calibration's photographs and
                             on photographs from other sources; share of equal classes
    tokens, cosine           the same for text: SQNR of hidden states, mean cosine of the embeddings
    MB                       of the file(s) that are deployed, the runtime not counted
    import, load, 1st ms     in a fresh process: importing the runtime, loading the model, the first run
    MiB                      the largest resident memory of that process, up to there

The files are kept in `.cache/bench` (or `$IRC_CACHE/bench`) under a key of what made them. With irc among the peers the
bars are judged too; the exit code is 1 if one is missed, or if a peer failed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench_accuracy import score
from bench_models import NAMES, BenchModel, bench_model
from bench_peers import PEERS, Prepared, left_out, prepared
from bench_run import OURS, Plan, Result, best_peer, measure, speedup
from bench_table import FLOAT_PEERS, markdown, rows, summary, terminal
from measure import machine, verdict
from peer_base import Peer
from peer_irc import ISA

from irc.backends.c.isa import host_isas
from irc.backends.c.machine import peak_gops

# how many times faster than the best peer, with one thread; with more threads: faster
BARS = {"effnet_lite0": 1.5, "mobilenet_v2": 1.5, "resnet18": 1.2, "resnet50": 1.2, "minilm": 1.2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and the verdicts."""
    options = _options(arguments)
    forced = {ISA: options.isa, "ONEDNN_MAX_CPU_ISA": options.max_isa}
    environment = {variable: value for variable, value in forced.items() if value}
    plan = Plan(options.turns, options.runs, options.starts, environment)
    print(f"{machine()}, {os.cpu_count()} cores")
    print(f"OpenVINO may use {options.max_isa or 'what there is'}, irc {options.isa or 'what there is'}")
    limit = peak_gops(options.isa or host_isas()[-1].name)
    print(f"at most {limit:.0f} GOP/s of int8 a core")
    passed, sections, totals = True, [], []
    for name in options.models:
        model = bench_model(name)
        files, failed = _prepare([PEERS[peer] for peer in options.peers], model)
        passed &= not failed
        for threads in options.threads if files else ():
            results = measure(model, files, threads, plan)
            title = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
            table = rows(model, results, limit * min(threads, os.cpu_count() or 1))
            print(f"\n{title}; load of the machine {os.getloadavg()[0]:.1f}\n{terminal(table)}", flush=True)
            sections.append(markdown(table, title))
            totals.append(summary(model, results, threads))
            passed &= _judge(name, results, threads)
    if totals:
        print(f"\n{terminal(totals)}")
    if options.markdown:
        options.markdown.write_text("\n\n".join([markdown(totals, "model, batch 1"), *sections]) + "\n")
    return 0 if passed else 1


def _prepare(peers: Iterable[Peer], model: BenchModel) -> tuple[dict[str, Prepared], bool]:
    """The files of the peers that can run the model, and whether one failed or is not installed; says which and why."""
    files, failed = {}, False
    print(f"\n{model.name}: {model.macs / 1e9:.2f} GMAC")
    for peer in peers:
        if reason := left_out(peer, model):
            print(f"  {peer.name}: left out: {reason}")
            failed |= "not installed" in reason
            continue
        try:
            files[peer.name] = file = prepared(peer, model)
        except RuntimeError as error:
            print(f"  {peer.name}: FAILED: {error}")
            failed = True
        else:
            print(f"  {peer.name}: made in {file.seconds:.1f} s with {file.peak_bytes / 2**20:.0f} MiB", flush=True)
    return files, failed


def _judge(model: str, results: Mapping[str, Result], threads: int) -> bool:
    """Print how irc stands to the bars; True if it is not among the results, or there is nobody to compare with."""
    best, name = best_peer(results), next((name for name in OURS if name in results), "")
    if not name or not best:
        return True
    ours = results[name]
    bar = BARS[model] if threads == 1 else 1.0
    ratio = speedup(ours.timed, results[best].timed)
    fast = ratio >= bar if bar > 1 else ratio > bar
    verdicts = [(f"{name} {ratio:.2f} times as fast as {best}, the best peer; bar {bar:g}", fast)]
    if int8 := [name for name in results if name not in (*OURS, *FLOAT_PEERS)]:
        exact = max(int8, key=lambda name: score(results[name].accuracy))
        own, wanted = score(ours.accuracy), score(results[exact].accuracy)
        verdicts.append((f"{name} {own:.1f} dB; {exact}, the most exact int8 peer, {wanted:.1f}", own >= wanted))
    for text, passed in verdicts:
        print(f"{verdict(passed)}  {text}")
    return all(passed for _, passed in verdicts)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--models", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--threads", nargs="+", type=_positive, default=[1, 2])
    parser.add_argument("--turns", type=_positive, default=10, help="turns of each peer")
    parser.add_argument("--runs", type=_positive, default=15, help="timed runs in a turn")
    parser.add_argument("--starts", type=_positive, default=3, help="fresh processes that time loading")
    parser.add_argument("--max-isa", default="", help="ONEDNN_MAX_CPU_ISA, for OpenVINO: e.g. AVX512_CORE_VNNI")
    parser.add_argument("--isa", default="", help="the instruction set that irc must use")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there in Markdown too")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
