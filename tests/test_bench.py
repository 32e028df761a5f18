"""The benchmark measures what it says: accuracy of real outputs alone, ratios turn by turn, files kept by content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bench
import numpy as np
import pytest
import torch
from bench_accuracy import image_accuracy, score, text_accuracy
from bench_models import BenchModel, content_key
from bench_nets import mobilenet_v2, settle
from bench_peers import PEERS, Prepared, left_out
from bench_run import Result, best_peer, speedup
from bench_table import markdown, summary, terminal
from bench_worker import Worker
from latency import Timed


def result(*turns: list[float], db: float = 20.0) -> Result:
    timed = Timed([list(turn) for turn in turns], [list(turn) for turn in turns])
    return Result(Prepared(Path("m.onnx"), 0, 0.0, 0), timed, {}, {"crops": 0.0, "photos": db, "agree": 1.0}, {})


def test_accuracy_of_images() -> None:
    """A tenth of the signal is 20 dB; crops and photographs are apart."""
    reference = np.array([[3.0, 4.0], [3.0, 4.0], [4.0, 3.0]], np.float32)
    found = image_accuracy(reference, reference * np.array([[1.1], [1.1], [1.01]], np.float32), crops=2)
    assert found == {"crops": pytest.approx(20, abs=1e-3), "photos": pytest.approx(40, abs=1e-3), "agree": 1.0}
    assert score(found) == found["photos"]
    assert image_accuracy(reference, reference[:, ::-1], crops=2)["agree"] == 0


def test_accuracy_of_texts_leaves_padding_out() -> None:
    """Whatever stands at padded positions changes nothing; what stands at real ones does."""
    reference = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    padded = np.where(mask[..., None] == 1, reference, 1e6)
    assert text_accuracy(reference, padded, mask)["cosine"] == 1
    assert np.isinf(score(text_accuracy(reference, padded, mask)))
    wrong = np.where(mask[..., None] == 1, -reference, reference)
    assert text_accuracy(reference, wrong, mask)["cosine"] == pytest.approx(-1)


def test_speedup_is_of_each_turn() -> None:
    """A turn in which the machine was slow for both counts as any other; the peer's own fastest run does not."""
    ours, peer = Timed([[2.0, 3.0], [20.0, 30.0], [2.0, 9.0]]), Timed([[4.0, 5.0], [40.0, 41.0], [2.0, 9.0]])
    assert speedup(ours, peer) == 2


def test_the_best_peer_is_not_irc() -> None:
    """irc is compared with the fastest of the others."""
    results = {"irc": result([1.0]), "slow": result([3.0]), "fast": result([2.0])}
    assert best_peer(results) == "fast"
    assert best_peer({"irc": result([1.0])}) == ""


@pytest.mark.parametrize(
    ("ours", "threads", "passed"),
    [
        (result([1.9], [1.9]), 1, True),
        (result([2.1], [2.1]), 1, False),  # not 1.5 times as fast
        (result([2.1], [2.1]), 2, True),
        (result([3.0], [3.0]), 2, False),  # as fast is not ahead
        (result([1.9], [1.9], db=14.9), 1, False),  # less exact than the best int8 peer
    ],
)
def test_verdicts(ours: Result, threads: int, passed: bool) -> None:
    """Speed is judged against the best peer, accuracy against the most exact int8 one: not against float."""
    results = {
        "ort-fp32": result([9.0], [9.0], db=100.0),
        "ort-u8s8": result([3.0], [3.0], db=10.0),
        "ov-int8": result([4.0], [4.0], db=15.0),
        "irc": ours,
    }
    assert bench._judge("effnet_lite0", results, threads) is passed


def test_keys_change_with_the_content(tmp_path: Path) -> None:
    """The name of a cached file says what it was made of, not where from."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a")
    two.write_bytes(b"a")
    assert content_key(one, "1.0") == content_key(two, "1.0")
    assert content_key(one, "1.0") != content_key(one, "1.1")
    two.write_bytes(b"b")
    assert content_key(one, "1.0") != content_key(two, "1.0")
    assert content_key("ab", "c") != content_key("a", "bc")


def test_a_peer_that_is_not_installed_is_left_out() -> None:
    """The reason names the package and the way to get it."""
    peer = replace(PEERS["ov-int8"], made_by=("no_such_package",), runtime="json")
    model = BenchModel("resnet18", Path())
    assert left_out(peer, model) == "no_such_package is not installed: pip install -e '.[bench]'"


def test_a_worker_that_dies_is_named(tmp_path: Path) -> None:
    """A request to a process that ended says of what it was the process."""
    worker = Worker("no-such-peer", "resnet18", 1, tmp_path, {"IRC_CACHE": str(tmp_path)})
    with pytest.raises(RuntimeError, match="no-such-peer on resnet18 with 1 threads ended with exit code 1 at 'start'"):
        worker.ask("start")
    worker.close()


def test_tables() -> None:
    """The same rows, for the terminal and in Markdown."""
    table = [{"": "a", "ms": "1.0", "says": "f32"}, {"": "long", "ms": "10.0", "says": ""}]
    assert terminal(table) == "        ms  says\na      1.0  f32\nlong  10.0"
    assert markdown(table, "net") == "| net | ms | says |\n| --- | ---: | --- |\n| a | 1.0 | f32 |\n| long | 10.0 |  |"


def test_a_summary_names_the_fastest_of_each_family(tmp_path: Path) -> None:
    model = BenchModel("resnet18", tmp_path)
    results = {
        "ort-u8s8": result([4.0]),
        "ort-u8s7": result([3.0], db=25.0),
        "ov-int8": result([2.5]),
        "irc": result([2.0], db=30.0),
    }
    row = summary(model, results, 2)
    assert row[""] == "resnet18, 2 threads"
    assert (row["onnxruntime int8, ms"], row["OpenVINO int8, ms"], row["OpenVINO default, ms"]) == ("3.00", "2.50", "")
    assert (row["irc, ms"], row["times as fast as the best"]) == ("2.00", "1.25")
    assert (row["dB, best int8 peer"], row["dB, irc"]) == ("25.0", "30.0")


def test_a_settled_network_tells_images_apart() -> None:
    """Its logits are mostly what differs between images, and another draw of the same seed gives the same network."""
    torch.manual_seed(0)
    images = torch.randn(8, 3, 64, 64) * torch.linspace(0.2, 1.8, 8)[:, None, None, None]
    networks = [settle(mobilenet_v2(), images) for _ in range(2)]
    with torch.no_grad():
        logits, again = (network(images) for network in networks)
    assert torch.equal(logits, again)
    assert float(logits.mean(0).abs().max()) < 1e-3 * float(logits.std())  # centred on these images
    assert len(set(logits.argmax(1).tolist())) > 1


@pytest.mark.slow
def test_a_model_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program makes the files, times two peers in turns, and finds float exact and int8 less so."""
    monkeypatch.setenv("IRC_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "examples"))
    file = tmp_path / "table.md"
    quick = ["--threads", "1", "--turns", "2", "--runs", "2", "--starts", "1", "--markdown", str(file)]
    assert bench.main(["--models", "resnet18", "--peers", "ort-fp32", "ort-u8s8", *quick]) == 0
    totals, details = file.read_text().split("\n\n")
    assert totals.splitlines()[2].startswith("| resnet18, 1 thread | ")
    heading, _, *lines = [line.strip("| ").split(" | ") for line in details.splitlines()]
    rows = {line[0]: dict(zip(heading[1:], line[1:], strict=False)) for line in lines}
    assert list(rows) == ["ort-fp32", "ort-u8s8"]
    assert float(rows["ort-fp32"]["photos"]) > 90  # the export is the torch module, to float32's rounding
    assert 5 < float(rows["ort-u8s8"]["photos"]) < 40
    assert float(rows["ort-u8s8"]["MB"]) < 0.3 * float(rows["ort-fp32"]["MB"])
    assert "resnet18, 1 thread" in capsys.readouterr().out
