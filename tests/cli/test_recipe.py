"""`irc compile --recipe` does what the file says, and what the command line says instead of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Irc


def test_compile_by_recipe(tmp_path: Path, model: Path, samples: Path, irc: Irc) -> None:
    (tmp_path / "r.toml").write_text(
        'model = "net.onnx"\ncalibration = "samples.npz"\noutput = "out.onnx"\n[[passes]]\npass = "quantize"\n'
    )
    ran = irc("compile", "--recipe", "r.toml")
    assert ran.code == 0, ran.err
    plain = irc("compile", "net.onnx", "--passes", "quantize", "--calibration", "samples.npz", "-o", "plain.onnx")
    assert plain.code == 0, plain.err
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()


def test_options_hold_instead_of_keys(tmp_path: Path, model: Path, samples: Path, irc: Irc) -> None:
    (tmp_path / "r.toml").write_text('model = "absent.onnx"\noutput = "out.onnx"\nseed = 3\npasses = "quantize"\n')
    ran = irc("compile", "net.onnx", "--recipe", "r.toml", "-o", "other.onnx", "--passes", "simplify", "--seed", "0")
    assert ran.code == 0, ran.err
    assert not (tmp_path / "out.onnx").exists()
    assert (tmp_path / "other.onnx").exists()
    assert "quantize" not in ran.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('model = "net.onnx"', "there is no --output; give it, or a --recipe that names it"),
        ('output = "out.onnx"', "there is no MODEL"),
        ('model = "net.onnx"\noutput = "out.onnx"\n[budget]\nbytes = 10', "the budget is missed: bytes is"),
        ('model = "net.onnx"\noutput = "out.onnx"\nspace = "quantize?"', "this recipe has a space of passes"),
        ('model = "net.onnx"\noutput = "r.toml"', "is what the command reads"),
        ('model = "net.onnx"\noutput = "out.onnx"\nname = "net"', "--name is for the code of c targets"),
    ],
)
def test_refused_with_nothing_written(
    text: str, said: str, tmp_path: Path, model: Path, samples: Path, irc: Irc
) -> None:
    (tmp_path / "r.toml").write_text(text)
    before = {path.name for path in tmp_path.iterdir()}
    ran = irc("compile", "--recipe", "r.toml")
    assert ran.code == 2
    assert said in ran.err
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "r.toml").read_text() == text
