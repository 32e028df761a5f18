"""The manifest of a saved model comes back as it was written, and what is none is an error that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import irc
from irc.backends.c.artifact import CArtifact
from irc.backends.c.emit.names import identifier
from irc.backends.c.manifest import MANIFEST_FILE, Manifest, Tuning
from irc.errors import ModelError
from tests.backends.c.conftest import Compile

FILE = Path("net", MANIFEST_FILE)
WHOLE = Manifest("c:host", "net", ("portable", "avx2"), {"N": 3}, Tuning("avx2", (0, 2)), 64, 128)
TEXT = """{
 "target": "c:host",
 "name": "net",
 "isas": [
  "portable",
  "avx2"
 ],
 "dims": {
  "N": 3
 },
 "tuning": {
  "isa": "avx2",
  "choices": [
   0,
   2
  ]
 },
 "arena_bytes": 64,
 "constant_bytes": 128
}
"""


def test_text() -> None:
    assert WHOLE.to_json() == TEXT
    assert Manifest.from_json(TEXT.encode(), FILE) == WHOLE


def test_what_was_compiled(saved: Path, compile_small: Compile) -> None:
    compiled = compile_small("c:portable", name="small")
    manifest = Manifest.from_json((saved / MANIFEST_FILE).read_bytes(), saved)
    plan, constants = compiled.sources.plan, compiled.sources.constants
    assert manifest == Manifest("c:portable", "small", ("portable",), {}, None, plan.arena, constants.bytes)


@pytest.mark.parametrize("change", [{"tuning": None}, {"of a later version": [{}]}])
def test_what_may_differ(change: dict[str, Any]) -> None:
    held = {**json.loads(TEXT), **change}
    assert Manifest.from_json(json.dumps(held).encode(), FILE).name == "net"
    del held["tuning"]
    assert Manifest.from_json(json.dumps(held).encode(), FILE).tuning is None


DAMAGED = {
    "": "it is no JSON",
    "[" * 100_000: "it is no JSON",
    "\xff": "it is no JSON",
    "1" * 5000: "it is no JSON",
    "[1]": "it must be an object",
    "{}": "'target' must be a text",
}


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_text_that_is_no_manifest(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        Manifest.from_json(text.encode("latin-1"), FILE)
    assert str(caught.value).startswith(f"'{FILE}' is no manifest of a compiled model: {DAMAGED[text]}; save the model")


@pytest.mark.parametrize(
    ("key", "held", "said"),
    [
        ("target", None, "'target' must be a text"),
        ("name", 3, "'name' must be a text"),
        ("name", "a b", "'name' must be one for C"),
        ("name", "../../x", "'name' must be one for C"),
        ("name", "int", "'name' must be one for C"),
        ("name", "", "'name' must be one for C"),
        ("isas", "avx2", "'isas' must be a list"),
        ("isas", ["avx2", 2], "each of 'isas' must be a text"),
        ("dims", [], "'dims' must be an object"),
        ("dims", {"N": "3"}, "each of 'dims' must be a whole number"),
        ("tuning", 3, "'tuning' must be an object"),
        ("tuning", {"isa": [], "choices": []}, "'isa' must be a text"),
        ("tuning", {"isa": "avx2"}, "'choices' must be a list"),
        ("tuning", {"isa": "avx2", "choices": [True]}, "each of 'choices' must be a whole number"),
        ("tuning", {"isa": "avx2", "choices": [-1]}, "each of 'choices' must be a whole number"),
        ("arena_bytes", 1.5, "'arena_bytes' must be a whole number"),
    ],
)
def test_a_key_that_is_none(key: str, held: object, said: str) -> None:
    content = json.dumps({**json.loads(TEXT), key: held}).encode()
    with pytest.raises(ModelError, match=said):
        Manifest.from_json(content, FILE)


def test_opening_says_which_file_and_the_way_out(saved: Path) -> None:
    file = saved / MANIFEST_FILE
    file.write_text("{}")
    with pytest.raises(ModelError, match=f"'{file}' is no manifest .*delete the file to open it"):
        irc.open(saved)
    file.unlink()
    assert named(saved) == "model"
    file.mkdir()
    with pytest.raises(ModelError, match=f"'{file}' cannot be read: Is a directory"):
        irc.open(saved)


def test_tuning_of_another_program_is_left(saved: Path) -> None:
    """A folder may be of another version, whose steps were others."""
    file = saved / MANIFEST_FILE
    for tuning in ({"isa": "portable", "choices": [0]}, {"isa": "mmx", "choices": []}):
        file.write_text(json.dumps({**json.loads(file.read_text()), "tuning": tuning}))
        artifact = irc.open(saved)
        assert isinstance(artifact, CArtifact)
        assert artifact.tuning is None


@pytest.mark.parametrize("name", ["Small Net!", "3" * 60, "int", "_" * 60, "a" * 47 + " b", "?"])
def test_every_name_comes_back(name: str) -> None:
    """What is written is what is read: a name that was made for C stays as it is."""
    made = identifier(name, "model")
    assert identifier(made, "model") == made


def named(folder: Path) -> str:
    artifact = irc.open(folder)
    assert isinstance(artifact, CArtifact)
    return artifact.name
