"""Insert fake quantization where the target will compute in integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from irc.analysis.integer_plan import (
    IntegerPlan,
    data_inputs,
    embeddings,
    matches,
    plan_integer,
    producer,
    source_of,
    weight_input,
)
from irc.errors import OptionError
from irc.graph import Graph, Node, Origin, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.passes.base import EXACT, Pass, option
from irc.passes.context import Context
from irc.passes.edit import per_channel, same_known_shape
from irc.target import QuantPolicy
from irc.types import DType


@dataclass(frozen=True)
class InsertFakeQuant(Pass):
    """Insert a FakeQuant, not yet calibrated, at every value that the target holds as integers.

    The target's `QuantPolicy` says which operators run as integer; `irc.analysis.integer_plan` decides which nodes.
    Each data input and each output of such a node gets one FakeQuant, behind the activation that the node absorbs; each
    weight gets one on its own. All readers of a contraction's result read it quantized, so that the runtime sees its
    output feed one QuantizeLinear and nothing else. A body quantizes for itself what it reads of the graphs around it,
    since runtimes fuse within one graph. Embedding tables get one too where the policy wants that. Until `calibrate`
    gives them scales the FakeQuants are identities: exact.
    """

    numerics = EXACT
    before = ("calibrate", "correct-bias")

    skip: tuple[str, ...] = option((), help="patterns of node names or layers that stay float")
    weight_bits: int | None = option(None, help="bits of the weights, 2 to 16; the target's own if none", range=(2, 8))
    layer_bits: tuple[str, ...] = option((), help="pattern=bits of nodes or layers with others; the last that fits")

    def run(self, graph: Graph, context: Context) -> None:
        policy = context.target.policy
        if self.weight_bits is not None:
            policy = with_weight_bits(policy, self.weight_bits, f"{self.pass_name()}: weight_bits={self.weight_bits}")
        bits = [self._layer_bits(entry, policy) for entry in self.layer_bits]

        def policy_of(node: Node) -> QuantPolicy:
            return next((changed for pattern, changed in reversed(bits) if matches(node, pattern)), policy)

        plan = plan_integer(graph, policy, self.skip)
        for node, reason in plan.declined.items():
            context.decline(node, reason)
        for name, patterns in (("skip", self.skip), ("layer_bits", [pattern for pattern, _ in bits])):
            for pattern in patterns:
                if not any(matches(node, pattern) for node in graph.walk()):
                    context.note(f"{name}: no node or layer is called '{pattern}'")
        _Inserter(policy, plan, policy_of).run()
        for node in embeddings(graph, policy, self.skip):
            _quantize_table(node, policy_of(node))

    def _layer_bits(self, entry: str, policy: QuantPolicy) -> tuple[str, QuantPolicy]:
        """The pattern of an entry, and the policy of the nodes that it means."""
        pattern, found, bits = entry.rpartition("=")
        said = f"{self.pass_name()}: layer_bits has '{entry}', which"
        if not found or not bits.strip().isdecimal():
            raise OptionError(f'{said} is not pattern=bits; write "conv1=4", say')
        return pattern, with_weight_bits(policy, int(bits), said)


def with_weight_bits(policy: QuantPolicy, bits: int, said: str) -> QuantPolicy:
    """The policy with weights of so many bits; OptionError, which begins with `said`, if there is no such format."""
    if not 2 <= bits <= 16:
        raise OptionError(f"{said} is not in [2, 16]")
    return replace(policy, weight=replace(policy.weight, bits=bits))


class _Inserter:
    def __init__(self, policy: QuantPolicy, plan: IntegerPlan, policy_of: Callable[[Node], QuantPolicy]) -> None:
        self.policy = policy
        self.policy_of = policy_of
        self.plan = plan
        self.made: dict[tuple[Value, Graph], Value] = {}
        self.symmetric = right_operands(plan) if policy.matmul_right_symmetric else frozenset[Value]()

    def run(self) -> None:
        for node in self.plan.integer:
            if node.op.quant.kind is QuantKind.ACTIVATION:
                continue  # stands inside its producer's requantization, which is done below
            for index in self._quantized_inputs(node):
                node.set_input(index, self._activation(_required(node, index), node))
            weight = weight_input(node)
            if node.op.quant.kind is QuantKind.CONTRACTION and weight is not None:
                node.set_input(weight, self._weight(_required(node, weight), node))
            for value in node.outputs:
                self._output(node, value)

    def _quantized_inputs(self, node: Node) -> list[int]:
        """The data inputs to quantize: all, but not the branch of a residual Add that is computed with a contraction.

        None of an Add that is a contraction's bias.
        """
        indices = data_inputs(node)
        if self._bias_of(node) is not None:
            return []
        if not (self.policy.residual_skip_only and node.op.name == "Add" and len(indices) == 2):
            return indices
        first, second = (_required(node, i) for i in indices)
        for index, value in ((indices[1], second), (indices[0], first)):
            if same_known_shape(first, second) and self._ends_contraction(value):
                return [i for i in indices if i != index]
        return indices

    def _ends_contraction(self, value: Value) -> bool:
        """Whether a contraction with a constant weight, its bias included, makes the value for one reader only."""
        maker = producer(value)
        maker = (self._bias_of(maker) if maker is not None else None) or maker
        if maker not in self.plan.integer or maker.op.quant.kind is not QuantKind.CONTRACTION:
            return False
        return weight_input(maker) is not None and len(value.uses) == 1

    def _bias_of(self, node: Node) -> Node | None:
        """The contraction with a constant weight whose bias the node adds, if the target takes an Add for that."""
        if not self.policy.bias_add_fused or node.op.name != "Add" or node not in self.plan.integer:
            return None
        for index in (0, 1):
            value, other = _required(node, index), source_of(_required(node, 1 - index)).data
            maker = producer(value)
            if maker not in self.plan.integer or maker.op.quant.kind is not QuantKind.CONTRACTION or other is None:
                continue
            one_each = other.shape[-1:] == other.shape  # along the last axis
            if maker.op.name == "Conv":
                one_each = per_channel(other, value) is not None
            if weight_input(maker) is not None and maker.output.use_count == 1 and (one_each or other.size == 1):
                return maker
        return None

    def _output(self, node: Node, value: Value) -> None:
        type = value.tensor_type
        if not value.uses or type is None or type.dtype is not DType.F32:
            return  # such as the indices of a MaxPool
        readers = value.users
        if len(readers) == 1 and readers[0].op.quant.kind is QuantKind.ACTIVATION and readers[0] in self.plan.integer:
            node, value = readers[0], readers[0].output
            readers = value.users
        maker = self._bias_of(node) or node
        may_be_float = self.policy.gemm_output_float and maker.op.name in ("Gemm", "MatMul")
        if may_be_float and not any(r in self.plan.integer for r in readers):
            return
        if self._stays_inside(value, readers):
            return
        quantized = self._activation(value, node)
        value.replace_uses(quantized, keep=[n for n in value.users if n.output is quantized])

    def _stays_inside(self, value: Value, readers: list[Node]) -> bool:
        """Whether the value goes, unquantized, only into an Add that the target computes with the value's producer."""
        if len(readers) != 1 or len(value.uses) != 1:
            return False
        (reader,) = readers
        if reader.op.name != "Add" or reader not in self.plan.integer:
            return False
        return value.uses[0].index not in self._quantized_inputs(reader)

    def _activation(self, value: Value, reader: Node) -> Value:
        """What a FakeQuant in the graph of `reader` makes of a data value."""
        graph = reader.graph
        if value.graph is graph and _is_quantized(value):
            return value
        if value.graph is graph and not value.is_constant:  # a constant may be a weight elsewhere
            for user in value.users:
                if isinstance(user.op, FakeQuant) and user.graph is graph:
                    return user.output
        if (value, graph) not in self.made:
            format = self.policy.activation
            if value in self.symmetric:
                format = replace(format, signed=True, symmetric=True)
            op = FakeQuant(qmin=format.qmin, qmax=format.qmax)
            self.made[value, graph] = _insert(value, reader, op).output
        return self.made[value, graph]

    def _weight(self, value: Value, node: Node) -> Value:
        """A FakeQuant of its own for each use of a weight, so that sharing a weight does not tie anything else."""
        if value.producer is not None and isinstance(value.producer.op, FakeQuant):
            return value
        axis = node.op.quant.weight_axis if self.policy.per_channel else None
        type = value.tensor_type
        assert type is not None
        assert type.rank is not None  # it is a constant
        if axis is not None:  # onnxruntime's integer MatMul takes one scale for a stack of matrices
            axis = axis % type.rank if type.rank == 2 or node.op.name != "MatMul" else None
        format = self.policy_of(node).weight
        op = FakeQuant(axis=axis, qmin=format.narrow_qmin, qmax=format.qmax)
        made = node.graph.insert(op, [value], before=node, name=f"{value.name}.quantized", types=[value.type])
        return made.output


def _quantize_table(node: Node, policy: QuantPolicy) -> None:
    """Put a FakeQuant with a scale for each row between an embedding table and the Gather that reads it."""
    table = _required(node, 0)
    op = FakeQuant(axis=0, qmin=policy.weight.narrow_qmin, qmax=policy.weight.qmax)
    made = node.graph.insert(op, [table], before=node, name=f"{table.name}.quantized", types=[table.type])
    node.set_input(0, made.output)


def right_operands(plan: IntegerPlan) -> frozenset[Value]:
    """The values that an integer MatMul of two data takes as its second, and all that share a scale with these."""
    pending = [_required(n, 1) for n in plan.integer if n.op.name == "MatMul" and weight_input(n) is None]
    found: set[Value] = set()
    while pending:
        value = source_of(pending.pop())
        if value in found:
            continue
        found.add(value)
        maker = value.producer
        if maker is not None and maker.op.quant.kind is QuantKind.MOVEMENT:
            pending.append(_required(maker, 0))
        readers = [r for user in value.users for r in (user.output.users if isinstance(user.op, FakeQuant) else [user])]
        for reader in readers:
            if reader.op.quant.kind is QuantKind.MOVEMENT and source_of(_required(reader, 0)) is value:
                pending.extend(reader.outputs)
    return frozenset(found)


def _is_quantized(value: Value) -> bool:
    return value.producer is not None and isinstance(value.producer.op, FakeQuant)


def _insert(value: Value, reader: Node, op: FakeQuant) -> Node:
    """A FakeQuant right behind what makes the value, or first in the reader's graph where that is outside it."""
    graph, name = reader.graph, f"{value.name}.quantized"
    if value.producer is not None and value.graph is graph:
        return graph.insert(op, [value], after=value.producer, name=name, types=[value.type])
    first = next(iter(graph))
    return graph.insert(op, [value], before=first, name=name, types=[value.type], origin=Origin())


def _required(node: Node, index: int) -> Value:
    value = node.input(index)
    assert value is not None
    return value
