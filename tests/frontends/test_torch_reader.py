"""`read_torch` keeps the user's names, memory, modes and symbols, and says clearly what it cannot read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irc.errors import ModelError
from irc.frontends.torch import is_torch_model, read_torch
from irc.ops.conv import Conv
from irc.types import DType, tensor

Check = Callable[..., Any]


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)) + x)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(_Block(), _Block())
        self.head = nn.Linear(4, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(self.stem(image))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net() -> _Net:
    torch.manual_seed(0)
    return _Net().eval()


# ---- names


def test_nodes_are_called_after_layers(net: _Net) -> None:
    graph = read_torch(net, (IMAGE,))
    assert [node.name for node in graph] == [
        "stem",
        "blocks.0.conv",
        "blocks.0.norm",
        "blocks.0.add",
        "blocks.0.relu",
        "blocks.1.conv",
        "blocks.1.norm",
        "blocks.1.add",
        "blocks.1.relu",
        "adaptive_avg_pool2d",
        "flatten",
        "head",
    ]
    assert [node.origin.layer for node in graph][:5] == [
        "stem",
        "blocks.0.conv",
        "blocks.0.norm",
        "blocks.0",
        "blocks.0",
    ]
    assert all(node.output.name == node.name for node in graph)


def test_ends_and_weights_keep_their_names(net: _Net) -> None:
    graph = read_torch(net, (IMAGE,))
    assert [v.name for v in graph.inputs] == ["image"]
    assert graph.output_names == ("output",)
    unused = {name for name in net.state_dict() if name.endswith("num_batches_tracked")}
    assert {v.name for v in graph.constants} == set(net.state_dict()) - unused


def test_weights_share_the_memory_of_the_model(net: _Net) -> None:
    graph = read_torch(net, (IMAGE,))
    for name, parameter in net.named_parameters():
        data = graph.value(name).data
        assert data is not None
        assert data.ctypes.data == parameter.data_ptr()


def test_weight_of_a_linear_layer_that_is_no_gemm_is_a_transposed_view() -> None:
    model = nn.Linear(3, 5)
    graph = read_torch(model, (torch.randn(2, 4, 3),))
    data = graph.value("weight.T").data
    assert data is not None
    assert data.shape == (3, 5)
    assert data.ctypes.data == model.weight.data_ptr()
    assert [node.op.name for node in graph] == ["MatMul", "Add"]


def test_tied_parameters_are_one_constant() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.second = nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))  # type: ignore[no-any-return]

    graph = read_torch(Tied(), (torch.randn(2, 3),))
    assert {v.name for v in graph.constants} == {"first.weight", "first.bias", "second.bias"}
    assert graph.node("first").inputs[1] is graph.node("second").inputs[1]


def test_a_module_called_twice_names_both_nodes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.head(x))  # type: ignore[no-any-return]

    graph = read_torch(Twice(), (torch.randn(2, 3),))
    assert [(node.name, node.origin.layer) for node in graph] == [("head", "head"), ("head_1", "head")]


@dataclass
class _Result:
    scores: Tensor
    states: tuple[Tensor, Tensor]


torch.export.register_dataclass(_Result, serialized_type_name="irc.tests._Result")


@pytest.mark.parametrize(
    ("give", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: (x + 1, x + 2), ["output_0", "output_1"]),
        (lambda x: {"a": x + 1, "b": [x + 2, x + 3]}, ["a", "b_0", "b_1"]),
        (lambda x: _Result(x + 1, (x + 2, x + 3)), ["scores", "states_0", "states_1"]),
        (lambda x: (x + 1, None), ["output_0"]),
        (lambda x: (x, x), ["output_0", "output_1"]),
        (lambda x: {"x": x + 1}, ["x_1"]),
    ],
    ids=["one", "tuple", "dict", "dataclass", "none", "input", "name of the input"],
)
def test_outputs_are_called_after_keys(give: Callable[[Tensor], Any], names: list[str]) -> None:
    class Gives(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return give(x)

    assert list(read_torch(Gives(), (torch.randn(3),)).output_names) == names


class _Nested(nn.Module):
    def forward(self, batch: dict[str, Tensor], scale: float, pair: tuple[Tensor, Tensor]) -> Tensor:
        return batch["a"] * scale + batch["b"] + pair[0] * pair[1]


def test_nested_inputs_are_flattened(check: Check) -> None:
    inputs = ({"a": torch.randn(3), "b": torch.randn(3)}, 2.0, (torch.randn(3), torch.randn(3)))
    graph = check(_Nested(), inputs)
    assert [v.name for v in graph.inputs] == ["batch_a", "batch_b", "pair_0", "pair_1"]
    named = dict(zip(("batch", "scale", "pair"), inputs, strict=True))
    assert [v.name for v in read_torch(_Nested(), named).inputs] == ["batch_a", "batch_b", "pair_0", "pair_1"]
    renamed = read_torch(_Nested(), inputs, input_names=["p", "q", "r", "s"])
    assert [v.name for v in renamed.inputs] == ["p", "q", "r", "s"]


# ---- what is read, and what stays as it was


def test_exported_program_and_graph_module_are_read(net: _Net, check: Check) -> None:
    program = torch.export.export(net, (IMAGE,))
    of_module, of_program = read_torch(net, IMAGE), read_torch(program)
    assert [n.name for n in of_program] == [n.name for n in of_module]
    traced = torch.fx.symbolic_trace(net)
    assert [n.name for n in check(traced, (IMAGE,)) if isinstance(n.op, Conv)] == [
        "stem",
        "blocks.0.conv",
        "blocks.1.conv",
    ]
    assert all(map(is_torch_model, (net, program, traced)))
    assert not is_torch_model("model.onnx")


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own
def test_decomposed_program_is_read(net: _Net) -> None:
    program = torch.export.export(net, (IMAGE,)).run_decompositions()
    graph = read_torch(program)
    assert graph.info.notes == ()
    assert {"Conv", "BatchNormalization", "Gemm"} <= {n.op.name for n in graph}


def test_model_is_exported_in_evaluation_mode_and_stays_as_it_was(check: Check) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    model.train()
    model[2].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    graph = read_torch(model, (IMAGE,))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [n.op.name for n in graph] == ["Conv", "BatchNormalization"]


def test_encoder_layer_is_not_fused_into_a_private_operator(check: Check) -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model.requires_grad_(False)
    enabled = torch.backends.mha.get_fastpath_enabled()
    check(model, (torch.randn(2, 5, 8),), (torch.randn(3, 5, 8),), dynamic_shapes={"src": {0: "batch"}})
    assert torch.backends.mha.get_fastpath_enabled() is enabled


def test_bfloat16_weights_share_memory() -> None:
    model = nn.Linear(3, 5).bfloat16()
    graph = read_torch(model, (torch.randn(2, 3).bfloat16(),))
    data = graph.value("weight").data
    assert data is not None
    assert data.dtype == ml_dtypes.bfloat16
    assert data.ctypes.data == model.weight.data_ptr()
    np.testing.assert_array_equal(data.astype(np.float32), model.weight.detach().float().numpy())
    assert graph.outputs[0].type == tensor(DType.BF16, 2, 5)


def test_a_region_without_gradients_is_part_of_the_graph(check: Check) -> None:
    class Region(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = x * 2
            return y + x

    check(Region(), (torch.randn(3, requires_grad=True).detach(),))


def test_what_forward_writes_into_buffers_is_noted() -> None:
    class Counts(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            return x * self.calls

    graph = read_torch(Counts(), (torch.randn(3),))
    assert graph.info.notes == ("forward also writes into calls; what it writes is not kept",)
    assert len(graph.outputs) == 1


# ---- symbols


def test_batch_is_a_symbol_in_every_type(net: _Net, check: Check) -> None:
    for given in ({"image": {0: "batch"}}, ({0: torch.export.Dim("batch")},), {"image": ("batch", None, None, None)}):
        graph = check(net, (IMAGE,), (IMAGE[:1],), (torch.cat([IMAGE] * 3),), dynamic_shapes=given)
        for node in graph:
            for value in node.outputs:
                assert value.tensor_type is not None
                assert value.tensor_type.shape is not None
                assert value.tensor_type.shape[0] == "batch", value


def test_an_example_with_one_sample_may_have_a_dynamic_batch(net: _Net, check: Check) -> None:
    check(net, (IMAGE[:1],), (IMAGE,), dynamic_shapes={"image": {0: "batch"}})


def test_sizes_are_products_and_expressions_of_symbols(check: Check) -> None:
    class Sizes(nn.Module):
        def forward(self, x: Tensor) -> Any:
            n, m = x.shape[0], x.shape[1]
            rows = x.reshape(n * m, 4)
            return rows, torch.arange(m // 2) + n, torch.zeros(n, m + 1), x.reshape(n, m * 2, 2), x.flatten()

    shapes = {"x": {0: "n", 1: "m"}}
    graph = check(Sizes(), (torch.randn(2, 7, 4),), (torch.randn(5, 4, 4),), dynamic_shapes=shapes)
    found = [v.tensor_type.shape for v in graph.outputs]
    assert found == [("m*n", 4), ("(m//2)",), ("n", "m+1"), ("n", "2*m", 2), ("4*m*n",)]


def test_image_size_may_be_a_symbol(check: Check) -> None:
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.context = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.down(x)
            y = y * torch.sigmoid(self.context(F.adaptive_avg_pool2d(y, 1)))
            return (
                F.interpolate(y, size=x.shape[2:], mode="bilinear") + F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)[:, :1]
            )

    shapes = {"x": {0: "n", 2: "h", 3: "w"}}
    torch.manual_seed(0)
    images = [torch.randn(2, 3, 9, 12), torch.randn(1, 3, 16, 7)]
    graph = check(Segments(), (images[0],), (images[1],), dynamic_shapes=shapes)
    assert graph.outputs[0].type == tensor("f32", "n", 4, "h", "w")


def test_reshape_needs_no_shape_arithmetic_for_one_symbol(check: Check) -> None:
    class Heads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            heads = x.view(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)
            return heads.reshape(x.shape[0], 2, -1)

    shapes = {"x": {0: "n", 1: "m"}}
    graph = check(Heads(), (torch.randn(2, 7, 8),), (torch.randn(5, 4, 8),), dynamic_shapes=shapes)
    assert [n.op.name for n in graph] == ["Reshape", "Transpose", "Reshape"]


# ---- the other way, and no way


def test_unknown_operator_sends_the_model_by_way_of_onnx(check: Check) -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.atan2(x, x + 1)

    graph = read_torch(Unknown(), (torch.randn(3, 4),))
    (note,) = graph.info.notes
    assert "aten.atan2.default (x1)" in note
    assert "torch.onnx.export" in note
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.output_names == ("output",)


def test_unknown_arguments_send_the_model_by_way_of_onnx() -> None:
    graph = read_torch(nn.AvgPool2d(2, divisor_override=3), (IMAGE,))
    (note,) = graph.info.notes
    assert "average pooling with a divisor of its own" in note


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


@pytest.mark.parametrize(
    ("model", "inputs", "more", "message"),
    [
        (_Branches(), (IMAGE,), {}, "torch.export cannot trace _Branches.*data-dependent control flow"),
        (nn.Linear(3, 4), None, {}, "Linear is a module: give example_inputs"),
        (
            nn.Linear(3, 4),
            (torch.randn(2, 3),),
            {"input_names": ["a", "b"]},
            "gives 2 names; the model has 1 inputs: input",
        ),
        (nn.Linear(3, 4), (torch.randn(2, 3),), {"dynamic_shapes": ({0: "a b"},)}, "'a b' is no name for a dimension"),
        (nn.Linear(3, 4), (torch.randn(2, 3),), {"dynamic_shapes": ({1: "n"},)}, "leave that dimension out"),
        (nn.Linear(3, 4, device="meta"), (torch.randn(2, 3, device="meta"),), {}, "meta device"),
        ("model.pt", (IMAGE,), {}, "takes a module or an exported program, not a str"),
    ],
    ids=["branches", "no example", "names", "name of a dimension", "fixed dimension", "no data", "no model"],
)
def test_what_cannot_be_read_is_said(model: Any, inputs: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_torch(model, inputs, **more)


def test_program_in_training_mode_is_refused() -> None:
    program = torch.export.export(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train(), (torch.randn(2, 3),))
    with pytest.raises(ModelError, match=r"'1' is a dropout in training mode; export the model after model.eval\(\)"):
        read_torch(program)
