"""Recipes as TOML: what its keys are, what is wrong with a file, and the writing of one.

    model = "net.onnx"            calibration = "samples.npz"     evaluate = "score:top1"
    [budget]  bytes = 150000      [[passes]]  pass = "prune-channels"  macs = 0.5

A pass is a table of its options under `pass`, or all are one text, as on the command line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from irc.errors import OptionError, TextError, nearest
from irc.evaluation.budget import check_budget
from irc.passes.base import Pass
from irc.passes.options import fit, format_pipeline, is_default, make_pass, name_of_object, parse_pipeline
from irc.passes.registry import find_pass

TYPES: dict[str, Any] = {
    "model": str,
    "calibration": str,
    "preprocess": str,
    "evaluate": str,
    "lower_is_better": bool,
    "target": str,
    "opset": int | None,
    "seed": int,
    "name": str,
    "threads": int,
    "torch_threads": int,
    "output": str,
    "sha256": str,
    "floor": float | None,
    "objectives": tuple[str, ...],
    "space": str,
    "dims": dict,
    "budget": dict,
    "passes": list,
}


def read_keys(text: str, where: str) -> dict[str, Any]:
    """The fields of a Recipe that the text gives, checked.

    where : what to call the text in errors

    Raises
    ------
    TextError : it is not TOML.
    OptionError : a key, a pass or an option is unknown, or a value is not what it takes.
    """
    try:
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise TextError(f"{where} is not TOML: {error}") from None
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key not in TYPES:
            raise OptionError(f"{where}: key '{key}' is not known; {nearest(key, TYPES)}")
        try:
            found[key] = _field(key, value)
        except (OptionError, TextError) as error:
            raise type(error)(f"{where}: {error}") from None
    return found


def _field(key: str, value: Any) -> Any:
    if key == "passes":
        return _passes(value)
    if key == "dims":
        return {name: fit(size, int, f"key 'dims.{name}'") for name, size in _table(key, value).items()}
    if key == "budget":
        return check_budget(_table(key, value))
    return fit(value, TYPES[key], f"key '{key}'")


def _table(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"key '{key}' is no table; write [{key}] and what is in it below")
    return value


def _passes(value: Any) -> tuple[Pass, ...]:
    if isinstance(value, str):
        return tuple(parse_pipeline(value))
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise OptionError('passes is a text such as "fold-constants, quantize", or tables [[passes]]')
    return tuple(_pass(number, each) for number, each in enumerate(value, 1))


def _pass(number: int, table: dict[str, Any]) -> Pass:
    name = table.get("pass")
    if not isinstance(name, str):
        raise OptionError(f'table {number} of [[passes]] does not say which pass; write pass = "quantize", say')
    return make_pass(find_pass(name), {key: value for key, value in table.items() if key != "pass"})


def write_keys(given: Mapping[str, Any]) -> str:
    """TOML of the fields of a Recipe that are to be written.

    Raises
    ------
    OptionError : an option of a pass holds an object that text cannot name.
    """
    import tomli_w

    whole = {key: value for key, value in given.items() if key != "passes"}
    tables: dict[str, Any] = {key: whole.pop(key) for key in ("dims", "budget") if key in whole}
    if "budget" in tables:
        tables["budget"] = {name: int(v) if float(v).is_integer() else v for name, v in tables["budget"].items()}
    passes = [{"pass": each.pass_name(), **options_of(each)} for each in given.get("passes", ())]
    if "passes" in given and (not passes or any(None in table.values() for table in passes)):  # TOML has no none
        whole["passes"], passes = format_pipeline(given["passes"]), []
    parts = [whole, *({key: table} for key, table in tables.items())]
    texts = [*(tomli_w.dumps(part) for part in parts), *(f"[[passes]]\n{tomli_w.dumps(table)}" for table in passes)]
    return "\n".join(filter(None, texts))


def options_of(each: Pass) -> dict[str, Any]:
    """The options that differ from their defaults, functions by name.

    Raises
    ------
    OptionError : one holds an object that text cannot name.
    """
    found = {}
    for f in fields(each):  # type: ignore[arg-type]  # every concrete pass is a dataclass
        value = getattr(each, f.name)
        if not is_default(value, f.default):
            found[f.name] = _plain(value, f"pass '{each.pass_name()}', option '{f.name}'")
    return found


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(each, where) for each in value]
    return fit(name_of_object(value), str, where)
