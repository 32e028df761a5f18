"""Each command does and prints what its help says; outside a terminal all of it is plain text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.conftest import Irc, listing, network

QUANTIZE = ("--passes", "quantize", "--calibration", "samples.npz")


def outputs(path: str) -> np.ndarray:
    """What onnxruntime gives for the samples, shape (6, 1, 10)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with np.load("samples.npz") as data:
        return np.stack([session.run(None, {"x": x})[0] for x in data["x"]])


def columns(text: str, first: str) -> list[str]:
    """The cells of the line that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.split("  ")[0] == first]
    return re.split(r"\s{2,}", line)


def test_compile_quantizes(irc: Irc, model: Path, samples: Path) -> None:
    ran = irc("compile", "net.onnx", *QUANTIZE, "-o", "int8.onnx", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    small = onnx.load("int8.onnx")
    onnx.checker.check_model(small, full_check=True)
    stored = {t.name: t.data_type for t in small.graph.initializer}
    assert stored["stem.weight.int8"] == stored["head.weight.int8"] == TensorProto.INT8
    wanted, got = outputs("net.onnx")[:4], outputs("int8.onnx")[:4]  # as many samples as the report is of
    sqnr = 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())
    assert "1 of 1 Conv" in ran.out
    assert f"wrote int8.onnx: {Path('int8.onnx').stat().st_size:,} bytes, was {model.stat().st_size:,}" in ran.out
    report = json.loads(Path("report.json").read_text())
    assert report["target"] == "onnx"
    assert report["passes"] == "quantize"
    assert [row["name"] for row in report["rows"]] == ["original", "quantize"]
    assert report["rows"][0]["cost"]["parameters"] == 4 * 27 + 4 + 40 + 10
    assert sqnr > 40  # an error of a hundredth
    assert abs(report["rows"][1]["sqnr"] - sqnr) < 0.5  # a code may round the other way in onnxruntime's arithmetic
    assert report["fusion"]["summary"] in ran.out


def test_compile_without_passes_given_is_exact(irc: Irc, model: Path, samples: Path) -> None:
    assert irc("compile", "net.onnx", "-o", "same.onnx").code == 0
    np.testing.assert_array_equal(outputs("same.onnx"), outputs("net.onnx"))


def test_compile_is_deterministic(irc: Irc, model: Path, samples: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        assert irc("compile", "net.onnx", *QUANTIZE, "-o", name).code == 0
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_compile_opset_and_target(irc: Irc, model: Path, samples: Path) -> None:
    assert irc("compile", "net.onnx", *QUANTIZE, "-o", "t.onnx", "--target", "onnx:tensorrt", "--opset", 17).code == 0
    made = onnx.load("t.onnx")
    assert [o.version for o in made.opset_import if o.domain == ""] == [17]
    zeros = [n for n in made.graph.initializer if "zero_point" in n.name]
    assert zeros
    assert all(t.data_type == TensorProto.INT8 and not numpy_helper.to_array(t).any() for t in zeros)


def test_compile_from_a_function(irc: Irc, tmp_path: Path, samples: Path) -> None:
    (tmp_path / "tiny.py").write_text(
        "import numpy as np, torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval(), (torch.zeros(1, 3, 8, 8),)\n"
        "def data():\n"
        "    for _ in range(4):\n"
        "        yield np.ones((1, 3, 8, 8), np.float32)\n"
    )
    ran = irc("compile", "tiny:make", "--passes", "quantize", "--calibration", "tiny:data", "-o", "tiny.onnx")
    assert ran.code == 0, ran.err
    assert "QuantizeLinear" in [n.op_type for n in onnx.load("tiny.onnx").graph.node]


def test_compile_to_text_and_from_it(irc: Irc, model: Path, samples: Path) -> None:
    assert irc("compile", "net.onnx", *QUANTIZE, "-o", "q.irc").code == 0
    assert "irc.FakeQuant" in Path("q.irc").read_text()
    assert irc("compile", "q.irc", "--passes", "", "-o", "from_text.onnx").code == 0
    assert irc("compile", "net.onnx", *QUANTIZE, "-o", "direct.onnx").code == 0
    np.testing.assert_array_equal(outputs("from_text.onnx"), outputs("direct.onnx"))


def test_compile_prints_the_graph(irc: Irc, model: Path) -> None:
    passes = "simplify, eliminate-dead"
    ran = irc("compile", "net.onnx", "--passes", passes, "-o", "o.onnx", "--print-after", "simplify")
    assert ran.code == 0, ran.err
    assert ran.out.count("// after") == 1
    assert re.findall(r"= (\w+)\(", ran.out) == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert irc("compile", "net.onnx", "-o", "o.onnx", "--print-after", "all").out.count("// after") == 7


def test_compile_checks_numerics(irc: Irc, model: Path) -> None:
    ran = irc("compile", "net.onnx", "-o", "o.onnx", "--check", "numerics")
    assert ran.code == 0, ran.err
    assert columns(ran.out, "eliminate-dead")[6] != ""  # the error was measured


def test_crash_leaves_a_reproducer(irc: Irc, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from irc.passes import Simplify

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Simplify, "run", fail)
        ran = irc("compile", "net.onnx", "-o", "o.onnx", "--seed", 3)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "pass 'simplify' failed: ZeroDivisionError: a bug; replay it with: irc compile" in ran.err
    assert not Path("o.onnx").exists()
    (folder,) = Path().glob("irc-reproducer-*")
    assert "ZeroDivisionError" in (folder / "error.txt").read_text()
    replay = (folder / "replay.sh").read_text()
    assert "--seed 3" in replay
    assert irc("show", folder / "graph.irc").code == 0


def test_bug_is_told_from_bad_input(irc: Irc, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("irc.analysis.cost.cost", fail)
    ran = irc("show", "net.onnx")
    assert ran.code == 1
    assert ran.err.startswith("irc: error: irc failed, which is a bug: ZeroDivisionError: a bug;")
    assert ran.err.count("\n") == 1
    ran = irc("show", "net.onnx", "--traceback")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "in fail" in ran.err


def test_show(irc: Irc, model: Path) -> None:
    ran = irc("show", "net.onnx", "--layers")
    assert ran.code == 0, ran.err
    assert columns(ran.out, "inputs")[1] == "x: f32[1, 3, 8, 8]"
    assert columns(ran.out, "outputs")[1] == "y: f32[1, 10]"
    assert columns(ran.out, "opset")[1] == "21"
    assert columns(ran.out, "parameters")[1] == "162"
    assert columns(ran.out, "bytes")[1] == "648"
    assert columns(ran.out, "MACs")[1] == f"{4 * 27 * 36 + 40:,}"
    assert columns(ran.out, "stem") == ["stem", "Conv", "f32[1, 4, 6, 6]", "112", "448", "3,888"]
    assert columns(ran.out, "Gemm") == ["Gemm", "1", "50", "200", "40"]


def test_groups_are_traced_at_the_sizes_that_are_given(irc: Irc) -> None:
    taps = helper.make_node("Conv", ["x", "w"], ["h"], name="taps")
    one = helper.make_node("Conv", ["h", "v"], ["y"], name="one")
    weights = [("w", np.ones((6, 1, 3000), np.float32)), ("v", np.ones((2, 6, 1), np.float32))]
    graph = helper.make_graph(
        [taps, one],
        "signal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, "U"])],
        [numpy_helper.from_array(array, name) for name, array in weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), "signal.onnx")
    ran = irc("show", "signal.onnx", "--groups", "--dims", "T=4000")
    assert ran.code == 0, ran.err
    assert columns(ran.out, "taps") == ["taps", "channel", "6", "w[0], v[1]"]
    ran = irc("show", "signal.onnx", "--groups")
    assert ran.code == 2
    assert "give sizes of its symbolic dimensions: --dims" in ran.err
    assert irc("show", "signal.onnx", "--groups", "--dims", "S=4").code == 2


def test_show_text_parses(irc: Irc, model: Path) -> None:
    text = irc("show", "net.onnx", "--text").out
    assert text.startswith("graph net(opset = 21)")
    assert text.endswith("}\n")


def test_names_cannot_steer_the_terminal(irc: Irc) -> None:
    proto = network()
    proto.graph.node[0].name = "stem\x1b[31m\n[bold]:smile:"
    onnx.save(proto, "odd.onnx")
    ran = irc("show", "odd.onnx", "--layers")
    assert "stem\\x1b[31m\\n[bold]:smile:" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("runtime", ["onnxruntime", "irc"])
def test_run(irc: Irc, model: Path, samples: Path, runtime: str) -> None:
    ran = irc("run", "net.onnx", "--inputs", "samples.npz", "-o", "y.npz", "--runtime", runtime)
    assert ran.code == 0, ran.err
    wanted = outputs("net.onnx")
    with np.load("y.npz") as made:
        assert list(made) == ["y"]
        np.testing.assert_allclose(made["y"], wanted, rtol=1e-5, atol=1e-5)
    row = columns(ran.out, "y")
    assert row[1:3] == ["float32", "[1, 10]"]
    np.testing.assert_allclose([float(c) for c in row[3:6]], [wanted.min(), wanted.mean(), wanted.max()], rtol=1e-4)
    assert f"6 samples in {runtime}: median " in ran.out


def test_run_without_data(irc: Irc, model: Path) -> None:
    ran = irc("run", "net.onnx", "--repeat", 2, "--threads", 1)
    assert ran.code == 0, ran.err
    assert "8 made-up samples in onnxruntime" in ran.out


def test_run_reads_the_text_form(irc: Irc, model: Path, samples: Path) -> None:
    assert irc("compile", "net.onnx", "--passes", "", "-o", "net.irc").code == 0
    assert irc("run", "net.irc", "--inputs", "samples.npz", "-o", "y.npz").code == 0
    with np.load("y.npz") as made:
        np.testing.assert_array_equal(made["y"], outputs("net.onnx"))


def test_passes_lists_every_option(irc: Irc) -> None:
    from dataclasses import fields

    from irc.passes.registry import all_passes

    ran = irc("passes")
    assert ran.code == 0
    blocks = {block.splitlines()[0]: block for block in ran.out.split("\n\n")}
    assert list(blocks) == list(all_passes())
    for name, cls in all_passes().items():
        assert f"numerics: {cls.numerics}" in blocks[name]
        for option in fields(cls):  # type: ignore[arg-type]  # every pass is a dataclass
            assert re.search(
                rf"^  {option.name}[ =].*{re.escape(option.metadata['help'])}$", blocks[name], re.MULTILINE
            )
        for other in (*cls.after, *cls.before):
            assert other in blocks[name]
    quantize = blocks["quantize"]
    assert re.search(r"^  method=min-max +one of min-max, percentile, entropy, mse", quantize, re.MULTILINE)
    assert re.search(r"^  weight_bits=none +whole number or none", quantize, re.MULTILINE)


def test_passes_describes_one(irc: Irc) -> None:
    ran = irc("passes", "calibrate")
    assert ran.out.startswith("calibrate\n")
    assert "The samples are streamed once for min-max and twice" in " ".join(ran.out.split())
    assert "fold-batch-norm" not in ran.out


def test_targets(irc: Irc) -> None:
    listed = irc("targets").out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        "onnx",
        "onnx:arm",
        "onnx:tensorrt",
        "onnx:openvino",
        "onnx:qnn",
        "c:portable",
        "c:x86-64",
        "c:aarch64",
        "c:host",
    ]
    one = irc("targets", "onnx").out
    assert columns(one, "activations")[1] == "uint8, zero point free, codes 0 to 255"
    assert columns(one, "weights")[1].startswith("int8, zero point 0, codes -127 to 127, one scale per channel")


def test_targets_missing(irc: Irc, model: Path) -> None:
    assert "onnx:qnn: 3 of 3 contractions" in irc("targets", "--missing", "net.onnx").out
    proto = network()
    proto.graph.initializer[0].name = "moved"  # the weight is an input now
    proto.graph.input.append(onnx.helper.make_tensor_value_info("stem.weight", TensorProto.FLOAT, [4, 3, 3, 3]))
    onnx.save(proto, "free.onnx")
    ran = irc("targets", "onnx", "--missing", "free.onnx")
    assert columns(ran.out, "Conv") == ["Conv", "1", "its weight is not a constant"]


def test_diff_of_equal_models(irc: Irc, model: Path, samples: Path) -> None:
    ran = irc("diff", "net.onnx", "net.onnx", "--data", "samples.npz")
    assert ran.code == 0, ran.err
    assert "only in A: 0\nonly in B: 0\nchanged: 0\n" in ran.out
    assert columns(ran.out, "y") == ["y", "exact", "0", "0", "1.000000", "1.0000 of 6"]


def test_diff_of_changed_models(irc: Irc, model: Path, samples: Path) -> None:
    proto = network()
    bias = proto.graph.initializer[3]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
    proto.graph.node[1].op_type = "Sigmoid"
    proto.graph.node[3].name = "flatten"
    onnx.save(proto, "changed.onnx")
    ran = irc("diff", "net.onnx", "changed.onnx", "--data", "samples.npz")
    assert ran.code == 0, ran.err
    assert "  Relu 'act': is Sigmoid\n" in ran.out
    assert "  Gemm 'head': weights\n" in ran.out
    assert "only in A: 1\n  Flatten 'flat'\nonly in B: 1\n  Flatten 'flatten'\nchanged: 2\n" in ran.out
    assert columns(ran.out, "Sigmoid") == ["Sigmoid", "0", "1", "+1"]
    a, b = outputs("net.onnx"), outputs("changed.onnx")
    row = columns(ran.out, "y")
    np.testing.assert_allclose(float(row[1]), 10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), atol=0.01)
    np.testing.assert_allclose(float(row[2]), np.abs(a - b).max(), rtol=1e-3)
    assert row[5] == f"{(a.argmax(-1) == b.argmax(-1)).mean():.4f} of 6"


def test_diff_of_models_with_other_inputs(irc: Irc, model: Path) -> None:
    proto = network()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9
    onnx.save(proto, "nine.onnx")
    ran = irc("diff", "net.onnx", "nine.onnx")
    assert ran.code == 0, ran.err
    assert "the outputs are not compared: input 'x' is f32[1, 3, 8, 8] in A, and 'x' is f32[1, 3, 9, 8] in B" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "compile --help",
        "--version",
        "passes",
        "targets",
        "show net.onnx --layers",
        "run net.onnx",
        "diff net.onnx net.onnx",
        "compile net.onnx -o out.onnx",
    ],
)
def test_plain_where_there_is_no_terminal(irc: Irc, model: Path, arguments: str) -> None:
    ran = irc(*arguments.split())
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert ran.out.isascii() or not re.search(r"[─-╿]", ran.out)
    assert "\x1b" not in ran.out


def test_rows_are_not_cut(irc: Irc) -> None:
    proto = network()
    proto.graph.node[0].name = "a/very/long/name/" * 40
    onnx.save(proto, "long.onnx")
    assert "a/very/long/name/" * 40 in irc("show", "long.onnx", "--layers").out


def test_reading_commands_write_nothing(irc: Irc, tmp_path: Path, model: Path, samples: Path) -> None:
    before = listing(tmp_path)
    for arguments in ("show net.onnx", "run net.onnx", "diff net.onnx net.onnx", "targets --missing net.onnx"):
        assert irc(*arguments.split()).code == 0
    assert listing(tmp_path) == before
