"""A model that cannot be read is refused with one ModelError, which names the file, the thing and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from irc.errors import ModelError
from irc.frontends.onnx import read_onnx

WEIGHT = np.arange(3000, dtype=np.float32)


def model(
    *nodes: onnx.NodeProto, output: str = "y", initializers: tuple[onnx.TensorProto, ...] = ()
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, [3000]), value("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "main", inputs, [value(output, TensorProto.FLOAT, [3000])], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def pick(then: onnx.NodeProto) -> onnx.NodeProto:
    def branch(inner: onnx.NodeProto) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(inner.output[0], TensorProto.FLOAT, [3000])
        return helper.make_graph([inner], "branch", [], [output])

    return node("If", "c", "y", then_branch=branch(then), else_branch=branch(node("Neg", "x", "else_out")))


def tensor(name: str = "w", array: Any = WEIGHT) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def changed(proto: onnx.TensorProto, **fields: Any) -> onnx.TensorProto:
    for field, value in fields.items():
        setattr(proto, field, value)
    return proto


SHORT = changed(tensor(), raw_data=b"\0" * 100)
UNKNOWN = changed(tensor(), data_type=99)
SPARSE = helper.make_sparse_tensor(tensor("w", WEIGHT[:1]), tensor("i", np.array([5000])), [3000])
ADD = node("Add", "x w", "y")

BROKEN: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a missing initializer": (lambda: model(ADD), "Add 'y': input 'w' is neither a graph input, an initializer nor"),
    "one missing in a body": (
        lambda: model(pick(node("Add", "x w", "t"))),
        "If 'y': input 'w' is neither a graph input",
    ),
    "a cycle": (
        lambda: model(node("Relu", "b", "y"), node("Add", "x b", "a"), node("Relu", "a", "b")),
        "'[ab]' is part of a cycle",
    ),
    "a node that reads itself": (lambda: model(node("Add", "x y", "y")), "Add 'y' is part of a cycle"),
    "a name made twice": (lambda: model(node("Relu", "x", "y"), node("Neg", "x", "y")), "the name 'y' is given to two"),
    "a node named as an input": (lambda: model(node("Relu", "x", "x"), node("Neg", "x", "y")), "'x'"),
    "two initializers of a name": (
        lambda: model(ADD, initializers=(tensor(), tensor())),
        "two initializers are named 'w'",
    ),
    "two small ones": (
        lambda: model(ADD, initializers=(tensor(array=WEIGHT[:1]),) * 2),
        "w initializer name is not unique",
    ),
    "an output that nothing makes": (lambda: model(node("Relu", "x", "z")), "'y' is not an output of any node"),
    "an unknown operator": (lambda: model(node("Rely", "x", "y")), "No Op registered for Rely"),
    "a domain without version": (lambda: model(node("F", "x", "y", domain="odd")), "No opset import for domain 'odd'"),
    "too little data": (lambda: model(ADD, initializers=(SHORT,)), r"tensor 'w' of shape \[3000\]"),
    "an unknown element type": (lambda: model(ADD, initializers=(UNKNOWN,)), "tensor 'w': unknown element type 99"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_graph(name: str, tmp_path: Path) -> None:
    make, text = BROKEN[name]
    with pytest.raises(ModelError, match=f"^the ModelProto: .*{text}"):
        read_onnx(make())
    path = tmp_path / "m.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(ModelError, match=f"^'{path}': .*{text}"):
        read_onnx(path)


def test_two_inputs_of_a_name() -> None:
    broken = model(node("Relu", "x", "y"))
    broken.graph.input.append(broken.graph.input[0])
    with pytest.raises(ModelError, match="'x' is given to two values"):
        read_onnx(broken)


def test_a_negative_dimension() -> None:
    broken = model(ADD, initializers=(tensor(),))
    broken.graph.initializer[0].dims[0] = -3000
    with pytest.raises(ModelError, match="initializer 'w' has a negative dimension"):
        read_onnx(broken)


def test_a_sparse_initializer_that_points_outside() -> None:
    broken = model(ADD)
    broken.graph.sparse_initializer.append(SPARSE)
    with pytest.raises(ModelError, match="out of range"):
        read_onnx(broken)


# ---- files


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"PK\x03\x04 no model", b"\x08\x0a", "ä".encode() * 50])
def test_what_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"'{path}' (is not an ONNX model|holds no graph)"):
        read_onnx(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file(share: float, tmp_path: Path) -> None:
    content = model(ADD, initializers=(tensor(),)).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match="is not an ONNX model, or a truncated one"):
        read_onnx(str(path))


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"there is no file '{tmp_path}/none.onnx'"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=f"'{tmp_path}' cannot be read: Is a directory"):
        read_onnx(tmp_path)


# ---- external data


def external(location: str, **entries: object) -> onnx.TensorProto:
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3000], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        made.external_data.add(key=key, value=str(value))
    return made


def saved(tmp_path: Path, weight: onnx.TensorProto) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(model(ADD, initializers=(weight,)).SerializeToString())
    (folder / "w.bin").write_bytes(b"\0" * 5 + WEIGHT.tobytes())
    return folder / "m.onnx"


@pytest.mark.parametrize("given", ["relative", "absolute"])
def test_external_data_is_mapped_and_not_read(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, external("w.bin", offset=5, length=12000))
    monkeypatch.chdir(path.parent)
    data = read_onnx("m.onnx" if given == "relative" else path).value("w").data
    assert isinstance(data, np.memmap)
    assert not data.flags.writeable
    np.testing.assert_array_equal(data, WEIGHT)


def test_external_data_may_be_of_a_type_below_a_byte(tmp_path: Path) -> None:
    weight = external("w.bin", offset=5)
    weight.data_type = TensorProto.INT4
    cast = helper.make_node("Cast", ["w"], ["wf"], to=TensorProto.FLOAT)
    path = saved(tmp_path, weight)
    path.write_bytes(model(cast, node("Add", "x wf", "y"), initializers=(weight,)).SerializeToString())
    data = read_onnx(path).value("w").data
    packed = WEIGHT.view(np.uint8)[:1500]
    nibbles = np.stack([packed & 15, packed >> 4], 1).reshape(-1).astype(np.int8)
    assert data is not None
    np.testing.assert_array_equal(data.astype(np.int8), np.where(nibbles > 7, nibbles - 16, nibbles))


def test_external_data_that_lies_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    path = saved(tmp_path, external("w.bin"))
    (path.parent / "link.bin").symlink_to(tmp_path / "secret.bin")
    (path.parent / "linked").symlink_to(tmp_path)
    absolute = str(tmp_path / "secret.bin")
    for location in ("../secret.bin", "sub/../../secret.bin", absolute, "link.bin", "linked/secret.bin"):
        path.write_bytes(model(ADD, initializers=(external(location),)).SerializeToString())
        with pytest.raises(ModelError, match=f"external data '{location}' lies outside the model's folder"):
            read_onnx(path)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"offset": 6}, "12000 bytes wanted at 6, the file has 12005; "),
        ({"offset": 5, "length": 11000}, "12000 bytes wanted"),
        ({"offset": -5}, "12000 bytes wanted at -5"),
        ({"offset": "five"}, "offset and length must be numbers"),
        ({"location": "other.bin"}, "does not exist in"),
        ({"location": ""}, "tensor 'w': external data ''"),
    ],
)
def test_external_data_that_is_not_there(entries: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = saved(tmp_path, external(**{"location": "w.bin", **entries}))
    with pytest.raises(ModelError) as caught:
        read_onnx(path)
    assert text in str(caught.value)


def test_a_proto_has_no_folder_for_external_data() -> None:
    with pytest.raises(ModelError, match="a model given as a ModelProto has no folder; give the path of its file"):
        read_onnx(model(ADD, initializers=(external("w.bin"),)))


def test_external_strings(tmp_path: Path) -> None:
    weight = external("w.bin")
    weight.data_type = TensorProto.STRING
    with pytest.raises(ModelError, match="external"):
        read_onnx(saved(tmp_path, weight))
