"""Networks with a few large channels, as transformers have them, for the tests of `smooth-quant`."""

from __future__ import annotations

import numpy as np

from irc.backends.registry import find_target
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.op import Op
from irc.ops import Add, Gelu, LayerNormalization, MatMul, Mul, Softmax, Transpose
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.types import Array, tensor
from irc.verify import verify

K, LENGTH = 12, 10
TARGET = find_target("onnx")
INTEGER = Target("integer", "c", "", INTEGER_POLICY)


class Net:
    """A graph grown value by value, with seeded random constants; some of its channels are far larger than others."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph()
        self.x = self.graph.add_input("x", tensor("f32", 1, LENGTH, K))

    def constant(self, *shape: int, name: str = "c") -> Value:
        return self.graph.add_constant(self.random.standard_normal(shape).astype(np.float32), name)

    def add(self, op: Op, *inputs: Value | None, name: str = "") -> Value:
        return self.graph.insert(op, list(inputs), name=name or op.name.lower()).output

    def linear(self, x: Value, outputs: int = K, name: str = "linear") -> Value:
        inputs = x.tensor_type.static_shape[-1] if x.tensor_type else K
        weight = self.random.standard_normal((inputs, outputs)) / np.sqrt(inputs)
        held = self.graph.add_constant(weight.astype(np.float32), f"{name}.weight")
        product = self.add(MatMul(), x, held, name=name)
        return self.add(Add(), product, self.constant(outputs, name=f"{name}.bias"), name=f"{name}.add")

    def norm(self, x: Value, name: str = "norm") -> Value:
        gain = np.exp(2 * self.random.standard_normal(K)).astype(np.float32)
        scale, bias = self.graph.add_constant(gain, f"{name}.scale"), self.constant(K, name=f"{name}.bias")
        return self.add(LayerNormalization(), x, scale, bias, name=name)

    def done(self, *outputs: Value) -> Graph:
        for index, value in enumerate(outputs):
            self.graph.add_output(value, f"y{index}")
        verify(self.graph)
        return self.graph


def samples(count: int = 8, seed: int = 1) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.standard_normal((1, LENGTH, K)).astype(np.float32) for _ in range(count)]


def outputs(graph: Graph, x: Array) -> list[Array]:
    return list(Executable(graph).run_numpy({"x": x}).values())


def count(graph: Graph, name: str) -> int:
    return sum(node.op.name == name for node in graph.walk())


def encoder(seed: int = 0) -> Graph:
    """Attention without heads and a feed-forward, post-norm, with outlier channels in the normalizations."""
    net = Net(seed)
    x = net.norm(net.x, "before")
    key = net.add(Transpose(perm=(0, 2, 1)), net.linear(x, name="k"), name="turned")
    scores = net.add(MatMul(), net.linear(x, name="q"), key, name="scores")
    size = net.graph.add_constant(np.asarray(0.01, np.float32), "size")
    chances = net.add(Softmax(), net.add(Mul(), scores, size, name="scaled"))
    mixed = net.add(MatMul(), chances, net.linear(x, name="v"), name="mixed")
    x = net.norm(net.add(Add(), net.linear(mixed, name="out"), x), "middle")
    hidden = net.add(Gelu(), net.linear(x, 4 * K, "up"), name="gelu")
    return net.done(net.norm(net.add(Add(), net.linear(hidden, name="down"), x), "after"))


def feed_forward(seed: int) -> Graph:
    """Two feed-forward blocks of a transformer; as in trained ones, the weights make little of the large channels."""
    net = Net(seed)
    x = net.x
    for block in ("first", "second"):
        normed = net.norm(x, f"{block}.norm")
        inner = net.linear(normed, 4 * K, f"{block}.up")
        weight, gain = net.graph.value(f"{block}.up.weight"), net.graph.value(f"{block}.norm.scale").data
        assert weight.data is not None
        assert gain is not None
        weight.data = weight.data / gain[:, None]
        x = net.add(Add(), net.linear(net.add(Gelu(), inner), name=f"{block}.down"), x)
    return net.done(x)
