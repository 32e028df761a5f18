"""The command line as a process: quick to help, quiet when nobody reads, clean when it is stopped."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import listing

IRC = [sys.executable, "-c", "from irc.cli import main; main()"]


def test_help_is_quick() -> None:
    seconds = []
    for arguments in (["--help"], ["passes", "--help"], ["compile", "--help"]):
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([*IRC, *arguments], capture_output=True, text=True, check=True, timeout=60)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert "Usage: irc" in done.stdout
            seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.4  # of the processor: other work on the machine does not count


@pytest.mark.parametrize("command", ["", "compile", "show", "run", "bench", "diff", "passes", "targets"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = "import sys\nfrom irc.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *filter(None, [command]), "--help"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "irc.cli.app" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "numpy", "rich.console"}


@pytest.mark.slow
def test_nobody_reads_the_output(model: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*IRC, "show", str(model), "--layers"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.slow
def test_output_does_not_fit() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*IRC, "targets"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert done.returncode == 2
    assert done.stderr == "irc: error: cannot write the output: No space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [0, 1])
def test_closed_streams(model: Path, closed: int) -> None:
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", code, *IRC[1:], "show", str(model)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("parameters" in done.stdout) == (closed != 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "irc: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_stopped_in_the_middle(tmp_path: Path, model: Path, number: signal.Signals, code: int, said: str) -> None:
    (tmp_path / "forever.py").write_text(
        "import itertools, numpy as np, pathlib, time\n"
        "def data():\n"
        "    for number in itertools.count():\n"
        "        if number > 8: pathlib.Path('running').touch(); time.sleep(0.01)\n"
        "        yield np.ones((1, 3, 8, 8), np.float32)\n"
    )
    (tmp_path / "out.onnx").write_text("what was there before")
    before = listing(tmp_path)
    command = [*IRC, "compile", "net.onnx", "--passes", "quantize", "--calibration", "forever:data", "-o", "out.onnx"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "running").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == said
    assert process.returncode == code
    (tmp_path / "running").unlink()
    assert listing(tmp_path) == before
