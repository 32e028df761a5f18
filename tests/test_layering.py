"""Imports run one way, from the types up to the command line, and none of them makes a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import from its own layer and from those above it in this list.
LAYERS = (
    ("bit_codes", "encoding", "errors", "loaded", "model_info", "names", "order", "types", "user_code"),
    ("op",),
    ("graph",),
    ("ops",),
    (
        "analysis",
        "arrays",
        "atomic",
        "execution",
        "frontends",
        "inputs",
        "proto",
        "report",
        "signature",
        "target",
        "text",
        "unused",
        "verify",
    ),
    ("passes",),
    ("backends",),
    ("api", "artifact", "evaluation", "opening", "reading", "recipe"),
    ("searching",),
    ("", "cli", "__main__"),  # "" is irc/__init__.py, which offers the api
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

# Imports inside a function that look up on purpose, each with its reason.
DEFERRED = {
    ("irc.op", "irc.ops.schema"),  # an op that states no `infer` of its own asks onnx, through the ops package
}


def modules() -> dict[str, Path]:
    """Every module of the project by its import name."""
    found = {}
    for prefix, folder in (("irc", "irc"), ("irc.passes", "passes"), ("irc.backends", "backends")):
        for path in sorted((ROOT / folder).rglob("*.py")):  # rglob does not follow the links in irc/
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "irc" and parts[0] in ("passes", "backends"):
                continue
            found[".".join((prefix, *(part for part in parts if part != "__init__")))] = path
    return found


MODULES = modules()


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of the project that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def at_import_time(tree: ast.Module) -> ast.Module:
    """The tree without functions and `if TYPE_CHECKING:` blocks: what runs when the module is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    stripped = Strip().visit(tree)
    assert isinstance(stripped, ast.Module)
    return stripped


def part_of(module: str) -> str:
    """The part that a module belongs to: `passes` for `irc.passes.base`."""
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_a_layer() -> None:
    parts = {part_of(module) for module in MODULES}
    assert {"op", "graph", "ops", "passes", "backends"} <= parts
    assert parts <= set(RANK), "say in LAYERS where the new part stands"


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_below(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    upward = [
        imported
        for imported in imports(tree)
        if RANK[part_of(imported)] > RANK[part_of(module)] and (module, imported) not in DEFERRED
    ]
    assert upward == []


def test_layering_check_sees_an_upward_import() -> None:
    found = list(imports(ast.parse("def f():\n    from irc.passes import base\n    import irc.graph")))
    assert found == ["irc.passes.base", "irc.graph"]


def test_no_circle_of_imports() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, path in MODULES.items():
        tree = at_import_time(ast.parse(path.read_text()))
        # a package may import what stands in it: Python has then already begun to import the package
        graph.add_edges_from((module, imported) for imported in imports(tree) if not module.startswith(f"{imported}."))
    assert graph.has_edge("irc.graph", "irc.op")
    circles = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    assert circles == []


def modules_loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after it ran a statement."""
    code = f"import sys\n{statement}\nsys.stderr.write('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stderr.splitlines())


def test_import_irc_does_not_import_torch() -> None:
    loaded = modules_loaded_by("import irc")
    assert "irc" in loaded
    assert "torch" not in loaded


def test_help_does_not_import_torch() -> None:
    loaded = modules_loaded_by(
        "sys.argv = ['irc', '--help']\n"
        "from irc.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code"
    )
    assert "irc.cli" in loaded
    assert "torch" not in loaded
