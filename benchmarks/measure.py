"""Call a function in a fresh Python process, and say what it took: time, processor time, peak memory.

    measured(function, *arguments)  ->  python measure.py FILE FUNCTION ARGUMENTS  ->  one line of JSON  ->  Measured

Nothing that ran before can then have warmed a cache or left memory behind.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What a process took, all of it, the start of Python and the imports included.

    result : what the function returned
    seconds, cpu_seconds : wall time; processor time of all its threads
    peak_bytes : the most memory that was resident at one time, mapped files included
    """

    result: Any
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measured(function: Callable[..., Any], *arguments: Any) -> Measured:
    """Call a function of a module's top level in a process of its own.

    function : what to call; its file is run first, under another name than `__main__`
    arguments : what JSON can say; so must be the result

    Raises
    ------
    RuntimeError : the process failed; what it wrote to standard error has been shown.
    """
    file = inspect.getsourcefile(function)
    assert file is not None
    command = [sys.executable, __file__, str(Path(file).resolve()), function.__name__, json.dumps(arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function.__name__}{arguments} failed in its process with exit code {done.returncode}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Measured(answer["result"], time.perf_counter() - start, answer["cpu_seconds"], answer["peak_bytes"])


def peak_bytes() -> int:
    """The most memory that this process had resident at one time.

    On Linux from /proc: getrusage hands on what the parent had before exec, so a large parent would hide a small child.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def has_vnni() -> bool:
    """Whether this x86 processor multiplies int8 without saturating in between (AVX-512 VNNI or AVX-VNNI)."""
    return bool({"avx512_vnni", "avx_vnni"} & set(_cpuinfo("flags").split()))


def machine() -> str:
    """The processor, and whether it has VNNI, which decides what int8 files of others are worth on it."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    without = "without VNNI: u8 x s8 kernels add pairs of products in 16 bits, which can saturate"
    return f"{name}, {'with VNNI' if has_vnni() else without}"


def verdict(passed: bool) -> str:
    """`PASS` or `FAIL`."""
    return "PASS" if passed else "FAIL"


def _cpuinfo(key: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, text = line.partition(":")
            if name.strip() == key:
                return text.strip()
    return ""


def _child(file: str, name: str, arguments: str) -> None:
    """Call the function; its result and what the process took, as the last line of standard output."""
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location("measured", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["measured"] = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(sys.stderr):
        spec.loader.exec_module(module)
        result = getattr(module, name)(*json.loads(arguments))
    took = {"result": result, "cpu_seconds": time.process_time(), "peak_bytes": peak_bytes()}
    print(json.dumps(took))


if __name__ == "__main__":
    _child(*sys.argv[1:])
