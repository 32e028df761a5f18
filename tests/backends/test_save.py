"""A file is whole or not there: inline or with external data, whatever goes wrong in the middle."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

import irc
from irc.atomic import atomic_file, atomic_files
from irc.backends.onnx import save as module
from irc.backends.onnx.save import save_graph
from irc.errors import OutputError
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.ops.shape import Identity
from irc.types import tensor

GraphMaker = Callable[..., Graph]

ARRAYS = {
    "f32": np.random.default_rng(0).standard_normal((50, 31)).astype(np.float32),
    "f16": np.arange(4000, dtype=np.float16),
    "bf16": np.arange(3000).astype(ml_dtypes.bfloat16),
    "i4": (np.arange(5001) % 16 - 8).astype(ml_dtypes.int4),
    "u4": (np.arange(3000) % 16).reshape(3, 1000).astype(ml_dtypes.uint4),
    "i64": np.arange(1000, dtype=np.int64),
    "bool": np.arange(2000) % 3 == 0,
    "small": np.arange(5, dtype=np.float32),
    "scalar": np.array(3.5, np.float32),
}


def constants(arrays: dict[str, Any]) -> Graph:
    graph = Graph()
    graph.add_output(graph.insert(Identity(), [graph.add_input("x", tensor("f32", 1))]).output, "y")
    for name, array in arrays.items():
        graph.add_output(graph.insert(Identity(), [graph.add_constant(array, name)]).output, f"{name}.out")
    return graph


def test_external_data_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_graph(constants(ARRAYS), path, external_past=1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    onnx.checker.check_model(str(path), full_check=True)
    back = read_onnx(path)
    for name, array in ARRAYS.items():
        data = back.value(name).data
        assert data is not None
        assert data.dtype == array.dtype
        np.testing.assert_array_equal(data.astype(np.float64), np.asarray(array).astype(np.float64))
    for tensor_ in onnx.load(path, load_external_data=False).graph.initializer:
        external = {e.key: e.value for e in tensor_.external_data}
        assert bool(external) == (tensor_.name not in ("small", "scalar"))
        if external:
            assert external["location"] == "m.onnx.data"  # relative, so that the two can be moved together
            assert int(external["offset"]) % 4096 == 0
    onnx.load(path)  # onnx's own loader finds every tensor too


def test_below_the_limit_all_is_in_one_file(tmp_path: Path) -> None:
    save_graph(constants(ARRAYS), tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_onnxruntime_runs_a_quantized_model_with_external_data(
    net: GraphMaker, typical: Any, tmp_path: Path, in_onnxruntime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INLINE", 100)
    graph = net("concat")
    artifact = irc.compile(graph, "quantize", calibration=typical(graph))
    save_graph(artifact.lowered, tmp_path / "far.onnx", external_past=0)  # type: ignore[attr-defined]
    save_graph(artifact.lowered, tmp_path / "near.onnx")  # type: ignore[attr-defined]
    sample = typical(graph)[0]
    made = [in_onnxruntime(tmp_path / f, sample)["y"] for f in ("far.onnx", "near.onnx")]
    np.testing.assert_array_equal(*made)
    assert (tmp_path / "far.onnx.data").stat().st_size > 0


def test_over_the_file_that_the_weights_are_mapped_from(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_graph(constants(ARRAYS), path, external_past=1000)
    graph = read_onnx(path)
    save_graph(graph, path, external_past=1000)
    back = read_onnx(path)
    for name in ("f32", "i64", "bool"):
        data = back.value(name).data
        assert data is not None
        np.testing.assert_array_equal(data, ARRAYS[name])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(errno.ENOSPC, "No space left")])
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("after", [1, 4])
def test_what_goes_wrong_in_the_middle_leaves_nothing(
    error: BaseException, exists: bool, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    if exists:
        path.write_bytes(b"the model of yesterday")
        (tmp_path / "m.onnx.data").write_bytes(b"its weights")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    calls = []
    packed = module.packed_bytes  # type: ignore[attr-defined]  # where save_graph finds it

    def fail(array: Any) -> Any:
        calls.append(array)
        if len(calls) == after:
            raise error
        return packed(array)

    monkeypatch.setattr(module, "packed_bytes", fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        save_graph(constants(ARRAYS), path, external_past=1000)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_an_interrupt_when_the_model_is_serialized_keeps_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    save_graph(constants(ARRAYS), path, external_past=1000)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_graph(constants({k: v[:1] for k, v in ARRAYS.items() if v.ndim}), path, external_past=0)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written: No such file or directory; choose another output path"):
        save_graph(constants({}), tmp_path / "nowhere" / "m.onnx")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(OutputError, match=r"m\.onnx' cannot be written"):
        save_graph(constants({}), tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "a") as file:
            file.write(b"a")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert (tmp_path / "a").read_bytes() == b"a"


def test_several_files_appear_together(tmp_path: Path) -> None:
    with atomic_files(tmp_path / "a", tmp_path / "b") as (a, b):
        a.write(b"1")
        b.write(b"2")
        assert not (tmp_path / "a").exists()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}
