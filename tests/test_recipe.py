"""A recipe is one file that makes the same model again; what is wrong in one is said with its key and its file."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

import irc
from irc.errors import BudgetError, DataError, IrcError, OptionError, TextError
from irc.evaluation.budget import QUANTITIES
from irc.passes import Distill, FineTune, FoldConstants, LowRank, PruneChannels, Quantize
from irc.recipe import Recipe
from irc.recipe.limits import measure
from tests.cli.conftest import network

METRIC = """
calls = 0

def score(run):
    global calls
    calls += 1
    import numpy as np
    return float(run(np.ones((1, 3, 8, 8), np.float32)).argmax())

def broken(run):
    raise ValueError("no labels")

def nothing(run):
    return float("nan")

def words(run):
    return {"top1": 1.0}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a model, samples and a module of metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "recipe_metric", raising=False)
    onnx.save(network(), tmp_path / "net.onnx")
    np.savez(tmp_path / "samples.npz", x=np.random.default_rng(1).normal(size=(6, 1, 3, 8, 8)).astype(np.float32))
    (tmp_path / "recipe_metric.py").write_text(METRIC)
    return tmp_path


FULL = Recipe(
    model="net.onnx",
    passes=(FoldConstants(), PruneChannels(macs=0.5, skip=("head*",), multiple=4), Quantize(layer_bits=("stem=4",))),
    calibration="samples.npz",
    evaluate="recipe_metric:score",
    target="c:portable",
    opset=22,
    seed=7,
    name="tiny",
    threads=2,
    torch_threads=3,
    dims={"N": 4},
    budget={"bytes": 150000, "latency": 0.25},
    floor=0.5,
    lower_is_better=True,
    output="small",
    sha256="00",
)
RECIPES = [
    Recipe(),
    FULL,
    Recipe(passes=()),
    Recipe(space="quantize{weight_bits=4|8}", objectives=("metric", "bytes")),
    Recipe(passes=(Quantize(method="mse", percentile=99.0, correct=False), Distill(loss=("kl", "mse:y")))),
    Recipe(passes=(FineTune(data="m:f", lr=1e-300, log='a "quoted"\\path\n\x7f\u00e9.json'),)),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_text_reads_back(recipe: Recipe, tmp_path: Path) -> None:
    assert Recipe.parse(str(recipe)) == recipe
    recipe.write(tmp_path / "r.toml")
    assert Recipe.read(tmp_path / "r.toml").moved(Path()) == recipe


@given(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**62))
def test_any_value_reads_back(text: str, number: float, whole: int) -> None:
    training = FineTune(data=text, lr=number, freeze=(text, text), steps=whole)
    recipe = Recipe(passes=(training,), floor=number, seed=whole)
    try:
        again = Recipe.parse(str(recipe))
    except OptionError:
        assert text.startswith("<object ")
        assert text.endswith(">")
    else:
        assert again == recipe


def test_defaults_are_not_written() -> None:
    assert str(Recipe()) == ""
    text = 'model = "net.onnx"\n\n[[passes]]\npass = "quantize"\n'
    assert str(Recipe(model="net.onnx", passes=(Quantize(),))) == text


def test_passes_may_be_text() -> None:
    assert Recipe.parse('passes = "fold-constants, quantize{layer_bits=[a=4]}"'.replace("a=4", '\\"a=4\\"')) == Recipe(
        passes=(FoldConstants(), Quantize(layer_bits=("a=4",)))
    )


def test_none_that_is_no_default_is_written_as_text() -> None:
    recipe = Recipe(passes=(PruneChannels(ratio=None, macs=0.5), LowRank(macs=0.5)))
    assert Recipe.parse(str(recipe)) == recipe


def test_functions_are_written_by_name_and_objects_refused() -> None:
    assert 'data = "tests.cli.conftest:network"' in str(Recipe(passes=(FineTune(data=network),)))
    unnamed: Any = object()
    with pytest.raises(OptionError, match=r"pass 'fine-tune', option 'data'.*package\.module:function"):
        str(Recipe(passes=(FineTune(data=unnamed),)))


def test_nothing_is_written_of_a_recipe_that_cannot_be(tmp_path: Path) -> None:
    unnamed: Any = object()
    with pytest.raises(OptionError):
        Recipe(passes=(FineTune(data=unnamed),)).write(tmp_path / "r.toml")
    assert list(tmp_path.iterdir()) == []


BAD: dict[str, tuple[str, type[IrcError], str]] = {
    "no TOML": ("model = ", TextError, "is not TOML: Invalid value (at "),
    "deep": ("a=" + "[" * 20000, TextError, "is not TOML"),
    "unknown key": ("modle = 'x'", OptionError, "key 'modle' is not known; did you mean 'model'?"),
    "wrong type": ("seed = 'x'", OptionError, "key 'seed': 'x' is not a whole number"),
    "a date": ("seed = 2020-01-01", OptionError, "key 'seed'"),
    "unknown pass": ("[[passes]]\npass = 'quantise'", OptionError, "no pass 'quantise'; did you mean 'quantize'?"),
    "unknown option": (
        "[[passes]]\npass = 'quantize'\nmethd = 'mse'",
        OptionError,
        "pass 'quantize' has no option 'methd'; did you mean 'method'?",
    ),
    "wrong option": ("[[passes]]\npass = 'quantize'\nweight_bits = 4.5", OptionError, "4.5 is not a whole number"),
    "wrong choice": ("[[passes]]\npass = 'quantize'\nmethod = 'x'", OptionError, "'x' is not one of"),
    "no pass": ("[[passes]]\nmacs = 0.5", OptionError, "table 1 of [[passes]] does not say which pass"),
    "passes of numbers": ("passes = [1]", OptionError, "passes is a text such as"),
    "budget of what": ("[budget]\nbites = 3", OptionError, "did you mean 'bytes'?"),
    "budget of nothing": ("[budget]\nbytes = 0", OptionError, "budget: bytes=0 must be a number above 0"),
    "budget of no number": ("[budget]\nbytes = nan", OptionError, "bytes=nan must be a number above 0"),
    "budget that is huge": ("[budget]\nbytes = 1" + "0" * 400, OptionError, "larger than any model"),
    "budget of text": ("[budget]\nbytes = '1MB'", OptionError, "bytes='1MB' must be a number"),
    "floor that is huge": ("floor = 1" + "0" * 400, OptionError, "key 'floor'"),
    "floor of no number": ("floor = nan", OptionError, "floor=nan is no number"),
    "no size": ("[dims]\nN = 0", OptionError, "dimension 'N' cannot be 0"),
    "no thread": ("threads = 0", OptionError, "threads=0 is not in 1 to"),
    "threads that are too many": ("torch_threads = 1" + "0" * 30, OptionError, "is not in 1 to"),
    "budget without a table": ("budget = 3", OptionError, "key 'budget' is no table"),
    "target": ("target = 'onix'", OptionError, "onix"),
    "both": ("passes = 'quantize'\nspace = 'quantize?'", OptionError, "passes or a space of them, not both"),
    "objectives": ("objectives = ['size']", OptionError, "there is no measure 'size'"),
    "threads": ("torch_threads = 0", OptionError, "torch_threads=0 is not in 1 to"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_the_file(name: str, tmp_path: Path) -> None:
    text, kind, said = BAD[name]
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(kind) as raised:
        Recipe.read(tmp_path / "r.toml")
    assert f"recipe '{tmp_path / 'r.toml'}'" in str(raised.value)
    assert said in str(raised.value)


def test_no_such_file_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"recipe '.*absent\.toml' cannot be read: No such file"):
        Recipe.read(tmp_path / "absent.toml")
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TextError, match="it is not UTF-8"):
        Recipe.read(tmp_path / "r.toml")


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    (folder / "deep").mkdir()
    Recipe(model="net.onnx", calibration="samples.npz", passes=(Quantize(),)).write("deep/r.toml")
    assert 'model = "../net.onnx"' in (folder / "deep" / "r.toml").read_text()
    recipe = Recipe.read("deep/r.toml")
    assert recipe.compile().report.rows[-1].name == "quantize"
    with pytest.raises(IrcError, match=r"deep/absent\.onnx"):
        Recipe(model="absent.onnx", folder=Path("deep")).compile()


def test_compile_is_irc_compile(folder: Path) -> None:
    recipe = Recipe(model="net.onnx", passes=(FoldConstants(), Quantize()), calibration="samples.npz", opset=22)
    recipe.compile().save("one.onnx")
    samples = [{"x": x} for x in np.load("samples.npz")["x"]]
    irc.compile("net.onnx", "fold-constants, quantize", calibration=samples, opset=22).save("two.onnx")
    assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()


def test_overrides_hold(folder: Path) -> None:
    recipe = Recipe(model="absent.onnx", passes=(Quantize(),))
    made = recipe.compile(model="net.onnx", passes="fold-constants")
    assert [row.name for row in made.report.rows] == ["original", "fold-constants"]


def test_torch_computes_with_the_threads_that_the_recipe_says(folder: Path) -> None:
    import torch

    seen: list[int] = []

    def metric(run: Any) -> float:
        seen.append(torch.get_num_threads())
        return 0.0

    before = torch.get_num_threads()
    for count in (1, 2):
        Recipe(model="net.onnx", torch_threads=count).compile(evaluate=metric, evaluate_each=False)
    assert seen == [1, 2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_budget_is_held(name: str, folder: Path) -> None:
    Recipe(model="net.onnx", budget={name: 1e9}).compile()
    with pytest.raises(BudgetError, match=f"the budget is missed: {name} is .* off the limit of 1e-05"):
        Recipe(model="net.onnx", budget={name: 1e-5}).compile()


def test_how_much_it_is_over(folder: Path) -> None:
    parameters = sum(np.prod(w.dims) for w in network().graph.initializer)
    with pytest.raises(BudgetError, match=rf"parameters is {parameters}, {parameters - 100} \(62.0%\) off the limit"):
        Recipe(model="net.onnx", budget={"parameters": 100, "macs": 1e9}).compile()


def test_a_floor_is_held(folder: Path) -> None:
    recipe = Recipe(model="net.onnx", evaluate="recipe_metric:score")
    value = recipe.compile().report.rows[0].metric
    assert value is not None
    for floor, lower, held in ((value, False, True), (value + 1, False, False), (value - 1, True, False)):
        wanted = Recipe(model="net.onnx", evaluate=recipe.evaluate, floor=floor, lower_is_better=lower)
        if held:
            wanted.compile()
        else:
            with pytest.raises(BudgetError, match="metric is"):
                wanted.compile()
    with pytest.raises(OptionError, match="a floor of the metric, and nothing measures it"):
        Recipe(model="net.onnx", floor=0.5).compile()


@pytest.mark.parametrize("lower", [False, True])
def test_a_metric_that_is_no_number_is_below_every_floor(lower: bool, folder: Path) -> None:
    recipe = Recipe(model="net.onnx", evaluate="recipe_metric:nothing", floor=0.5, lower_is_better=lower)
    with pytest.raises(BudgetError, match="metric is nan, and the limit"):
        recipe.compile()


def test_budgets_and_compare_measure_alike(folder: Path) -> None:
    made = Recipe(model="net.onnx", passes=(Quantize(),), calibration="samples.npz").compile()
    made.save("out.onnx")
    (row,) = irc.compare("out.onnx", latency=False).rows
    wanted = {name: of(row) for name, (_, of) in QUANTITIES.items() if name != "latency"}
    assert measure(made, wanted.keys()).values == wanted
    held = onnx.load("out.onnx").graph.initializer
    assert wanted["weight_bytes"] == sum(numpy_helper.to_array(tensor).nbytes for tensor in held)


def test_a_target_that_cannot_be_timed_has_no_latency(folder: Path) -> None:
    with pytest.raises(OptionError, match="target 'onnx:tensorrt' cannot be timed here; leave latency out"):
        Recipe(model="net.onnx", target="onnx:tensorrt", budget={"latency": 5}).compile()
    with pytest.raises(OptionError, match="target 'onnx:tensorrt' cannot be timed here"):
        irc.select(["net.onnx"], "latency=5", target="onnx:tensorrt")


@pytest.mark.parametrize(("name", "said"), [("broken", "ValueError: no labels"), ("words", "dict")])
def test_a_metric_that_fails_is_the_users(name: str, said: str, folder: Path) -> None:
    with pytest.raises(DataError, match=said):
        Recipe(model="net.onnx", evaluate=f"recipe_metric:{name}").compile()


def test_evaluating_at_the_end_only(folder: Path) -> None:
    recipe = Recipe(model="net.onnx", evaluate="recipe_metric:score", passes="fold-constants, simplify")  # type: ignore[arg-type]
    rows = recipe.compile(evaluate_each=False).report.rows
    assert sys.modules["recipe_metric"].calls == 1
    assert [row.metric is None for row in rows] == [True, True, False]


def test_the_digest_is_compared(folder: Path) -> None:
    recipe = Recipe(model="net.onnx", passes="fold-constants")  # type: ignore[arg-type]
    recipe.compile().save("a.onnx")
    digest = hashlib.sha256(Path("a.onnx").read_bytes()).hexdigest()
    for said, sha256 in (("are those", digest), ("are not those", "0" * 64)):
        made = Recipe(model="net.onnx", passes=recipe.passes, sha256=sha256).compile()
        assert any(f"the bytes {said} that the recipe names" in note for note in made.report.rows[0].notes)
