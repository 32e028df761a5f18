"""Text into a graph, by recursive descent.

    Graph     ::= graph Name ( Header ) { Statement* return [Read [as String], ...] }
    Header    ::= [opset = Int | {Name = Int, ...}], [ir_version | model_version = Int],
                  [producer | producer_version | domain | doc = String], [metadata = {String = String, ...}],
                  [functions | notes = [String, ...]]
    Statement ::= input Typed [default Data] | weight Typed [= Literal] | Node
    Node      ::= (Typed, ... | ()) = Op [: opset] ( [Read | _, ...] ) [{Entry, ...}] [Place]
    Place     ::= [@ Name] [from String] [by Name, ...]
    Entry     ::= Name = Attribute | Name = [Name] { Statement* return ... }
    Typed     ::= %Name : Type;   Type ::= dtype [ dims ] | opaque<bytes> | ?;   Name ::= Word | String

Without `@` a node has the name of its first output. `// ...` is a comment.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from onnx import FunctionProto, TypeProto

from irc.graph import Graph, ModelInfo, Origin
from irc.op import Op
from irc.text.attributes import AttributeValue, onnx_op, typed_op
from irc.text.build import build
from irc.text.cursor import Cursor, T
from irc.text.lexer import Token
from irc.text.literals import Element, bytes_array, elements_array, splat_array
from irc.text.syntax import Definition, GraphSyntax, InputSyntax, NodeSyntax, Reference, WeightSyntax
from irc.types import Array, Dim, DType, OpaqueType, TensorType, Type, type_of_array

_DTYPES = {dtype.text: dtype for dtype in DType}
_INT64 = 1 << 63
_WORDS: dict[str, AttributeValue] = {
    "true": True,
    "false": False,
    "none": None,
    "nan": float("nan"),
    "inf": float("inf"),
}


def parse_graph(text: str, weights: Mapping[str, Array] | None = None) -> Graph:
    """The graph that `print_graph` wrote.

    weights : the data of the constants that the text only names, by value name

    Raises
    ------
    TextError : the text is no graph; names line and column and what was expected.
    """
    return _Parser(text, weights or {}).graph()


class _Parser(Cursor):
    def __init__(self, text: str, weights: Mapping[str, Array]) -> None:
        super().__init__(text)
        self.weights = weights

    # ---- graphs

    def graph(self) -> Graph:
        self.expect("word", "'graph'", "graph")
        syntax = GraphSyntax(self.name("the graph's name"))
        if self.accept("("):
            syntax.info = self.header()
        self.expect("{")
        self.statements(syntax)
        if not self.sees("end"):
            self.expected("the end")
        return build(syntax, self.fail)

    def header(self) -> ModelInfo:
        info = ModelInfo()
        readers: dict[str, Callable[[], Any]] = {
            "opset": self.opsets,
            "ir_version": lambda: self.integer("a version"),
            "model_version": lambda: self.integer("a version"),
            "producer": self.string,
            "producer_version": self.string,
            "domain": self.string,
            "doc": self.string,
            "metadata": lambda: self.table(self.string),
            "functions": lambda: tuple(self.bracketed(self.function)),
            "notes": lambda: tuple(self.bracketed(self.string)),
        }

        def entry() -> None:
            nonlocal info
            token = self.expect("word", f"one of {', '.join(readers)}")
            if token.text not in readers:
                self.fail(token.offset, f"one of {', '.join(readers)} was expected, found {token.text}")
            self.expect("=")
            field = "opsets" if token.text == "opset" else token.text
            info = replace(info, **{field: readers[token.text]()})

        self.listed(")", entry)
        return info

    def opsets(self) -> dict[str, int]:
        if self.sees("{"):
            return self.table(lambda: self.integer("an opset"))
        return {"": self.integer("an opset")}

    def table(self, item: Callable[[], T]) -> dict[str, T]:
        def entry() -> tuple[str, T]:
            key = self.name("a name")
            self.expect("=")
            return key, item()

        self.expect("{")
        return dict(self.listed("}", entry))

    def bracketed(self, item: Callable[[], T]) -> list[T]:
        self.expect("[")
        return self.listed("]", item)

    def function(self) -> bytes:
        token = self.expect("string", "a function in base64")
        try:
            data = base64.b64decode(self.content(token), validate=True)
        except (binascii.Error, ValueError):
            self.fail(token.offset, "the function is not base64")
        self.check_proto(FunctionProto, data, token)
        return data

    def check_proto(self, kind: type[FunctionProto] | type[TypeProto], data: bytes, token: Token) -> None:
        try:
            kind.FromString(data)
        except Exception:  # protobuf's own class of error, which differs between its implementations
            self.fail(token.offset, f"the bytes are no {kind.__name__}")

    def statements(self, syntax: GraphSyntax) -> None:
        """All up to the closing brace."""
        while not self.accept("word", "return"):
            if self.accept("word", "input"):
                value = self.typed()
                default = self.data(value, self.type()) if self.accept("word", "default") else None
                syntax.statements.append(InputSyntax(value, default))
            elif self.accept("word", "weight"):
                value = self.typed()
                syntax.statements.append(WeightSyntax(value, self.data(value, value.type)))
            elif self.sees("value") or self.sees("("):
                syntax.statements.append(self.node())
            else:
                self.expected("a statement: input, weight, return, or a node's outputs")
        syntax.outputs = self.listed("}", self.output)

    def output(self) -> tuple[Reference, str]:
        value = self.read()
        return value, self.string() if self.accept("word", "as") else value.name

    def read(self) -> Reference:
        token = self.expect("value", "a value")
        name = self.content(token) if token.text[1] == '"' else token.text[1:]
        if not name:
            self.fail(token.offset, "a value needs a name")
        return Reference(name, token.offset)

    def typed(self) -> Definition:
        name, offset = self.read()
        self.expect(":", "':' and the value's type")
        return Definition(name, self.type(), offset)

    # ---- types

    def type(self) -> Type | None:
        if self.accept("?"):
            return None
        token = self.expect("word", "a type")
        if token.text == "opaque":
            self.expect("<")
            data = self.expect("bytes", "the type's bytes")
            self.expect(">")
            proto = bytes.fromhex(data.text[2:])
            self.check_proto(TypeProto, proto, data)
            return OpaqueType(proto)
        if token.text not in _DTYPES:
            self.fail(token.offset, f"'{token.text}' is no element type; there are {', '.join(_DTYPES)}")
        self.expect("[")
        if self.accept("*"):
            self.expect("]")
            return TensorType(_DTYPES[token.text])
        return TensorType(_DTYPES[token.text], tuple(self.listed("]", self.dim)))

    def dim(self) -> Dim:
        if self.accept("?"):
            return None
        if self.sees("string"):
            return self.string()
        token = self.token
        if self.accept("number"):
            if not self.sees("*"):
                size = self.number(token)
                if not isinstance(size, int) or not 0 <= size < _INT64:
                    self.fail(token.offset, f"a dimension cannot be {token.text}")
                return size
        else:
            self.expect("word", "a dimension: a number, a symbol or ?")
        symbol = token.text
        while self.accept("*"):
            symbol += "*" + self.expect("word", "a symbol").text
        return symbol

    # ---- data

    def data(self, value: Definition, type: Type | None) -> Array:
        """The literal behind `=`, else what the weights hold under the value's name."""
        name, offset = value.name, value.offset
        if not isinstance(type, TensorType) or not type.is_static:
            self.fail(offset, f"value '%{name}' has data, so its type must be a tensor's of known shape")
        if self.accept("="):
            try:
                return self.literal(type)
            except (ValueError, OverflowError, MemoryError) as problem:
                self.fail(offset, f"value '%{name}', {type}, {problem}")
        try:
            array = self.weights[name]
        except KeyError:
            self.fail(offset, f"value '%{name}' has no data here and none in the weights")
        try:
            found: Type | None = type_of_array(array)
        except KeyError:
            found = None
        if found != type:
            self.fail(offset, f"value '%{name}' is {type}, but its weights are {array.dtype}{list(array.shape)}")
        return array

    def literal(self, type: TensorType) -> Array:
        if self.sees("bytes") and type.dtype is not DType.STRING:
            return bytes_array(bytes.fromhex(self.expect("bytes").text[2:]), type)
        if self.accept("word", "splat"):
            self.expect("(")
            element = self.element()
            self.expect(")")
            return splat_array(element, type)
        elements = self.listed("]", self.element) if self.accept("[") else [self.element()]
        return elements_array(elements, type)

    def element(self) -> Element:
        if self.accept("("):
            parts = [float(p) for p in self.listed(")", self.element) if isinstance(p, int | float)]
            if len(parts) != 2:
                self.expected("a complex number (real, imaginary)")
            return complex(*parts)
        value = self.attribute()
        if value is None or isinstance(value, tuple):
            self.fail(self.tokens[self.at - 1].offset, "a number, a string, true or false was expected")
        return value

    # ---- nodes

    def node(self) -> NodeSyntax:
        offset = self.token.offset
        outputs: list[Definition] = []
        if self.accept("("):
            self.expect(")")
            self.expect("=")
        else:
            outputs = self.listed("=", self.typed)
        op_token = self.token
        domain, op_name = self.operator()
        opset = self.integer("an opset") if self.accept(":") else None
        self.expect("(")
        inputs = self.listed(")", lambda: None if self.accept("word", "_") else self.read())
        attributes, bodies = self.entries()
        op = self.op(op_token, domain, op_name, opset, attributes)
        name = outputs[0].name if outputs else ""
        if self.accept("@"):
            offset = self.token.offset
            name = self.name("the node's name")
        if not name:
            self.fail(offset, "a node needs a name: its first output's, or one behind @")
        return NodeSyntax(outputs, op, inputs, bodies, name, self.origin(), offset)

    def operator(self) -> tuple[str, str]:
        if self.sees("string"):
            domain = self.string()
            self.expect(".")
            return domain, self.string("the operator's name")
        domain, _, name = self.expect("word", "an operator").text.rpartition(".")
        return domain, name

    def op(
        self, token: Token, domain: str, name: str, opset: int | None, attributes: Mapping[str, AttributeValue]
    ) -> Op:
        try:
            return typed_op(domain, name, attributes) if opset is None else onnx_op(domain, name, opset, attributes)
        except ValueError as problem:
            self.fail(token.offset, str(problem))

    def entries(self) -> tuple[dict[str, AttributeValue], dict[str, GraphSyntax]]:
        attributes: dict[str, AttributeValue] = {}
        bodies: dict[str, GraphSyntax] = {}

        def entry() -> None:
            offset = self.token.offset
            key = self.name("an attribute's name")
            if key in attributes or key in bodies:
                self.fail(offset, f"attribute '{key}' is given twice")
            self.expect("=")
            behind = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
            if self.sees("{") or (self.token.kind in ("word", "string") and behind.kind == "{"):
                bodies[key] = GraphSyntax("body" if self.sees("{") else self.name("the body's name"))
                self.expect("{")
                self.nested(lambda: self.statements(bodies[key]))
            else:
                attributes[key] = self.attribute()

        if self.accept("{"):
            self.listed("}", entry)
        return attributes, bodies

    def attribute(self) -> AttributeValue:
        token = self.token
        if self.accept("["):
            return tuple(self.nested(lambda: self.listed("]", self.attribute)))
        if self.accept("number"):
            return self.number(token)
        if self.accept("bytes"):
            return bytes.fromhex(token.text[2:])
        if self.sees("string"):
            return self.string()
        if token.kind != "word" or token.text not in _WORDS:
            self.expected("a number, a string, true, false, none or a list")
        self.at += 1
        return _WORDS[token.text]

    def origin(self) -> Origin:
        layer = self.string("the layer's name") if self.accept("word", "from") else ""
        passes: list[str] = []
        if self.accept("word", "by"):
            passes.append(self.name("a pass's name"))
            while self.accept(","):
                passes.append(self.name("a pass's name"))
        return Origin(layer, tuple(passes))
