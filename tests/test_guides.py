"""What the guides and concepts show is what happens: their Python and their commands run, and print what they say.

In a Markdown file under docs/ the fenced blocks run in order, in an empty folder:

    python    in one namespace; one whose first line is `# name.py` is that file too
    console   each line `$ irc …`; the lines below it are what the command prints
    text      behind a python block: what that prints
    others    are not run

Numbers differ between machines, so digits are not compared; a line `…` stands for any lines.
`python tests/test_guides.py docs/guides/first-model.md` writes anew what the blocks print, numbers and all.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted(
    p.relative_to(ROOT).as_posix() for folder in ("guides", "concepts") for p in (ROOT / "docs" / folder).glob("*.md")
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,.]*(e-?\d+)?")


@dataclass
class Shown:
    """Lines that the document shows, and those that really came."""

    start: int
    end: int
    shown: str
    came: str


@dataclass
class Reader:
    """Runs the blocks of one document in the current folder."""

    text: str
    module: ModuleType = field(default_factory=lambda: ModuleType("guide"))
    printed: str = ""

    def run(self) -> Iterator[Shown]:
        """Run all blocks; what is shown of their output beside what it is."""
        sys.modules["guide"] = self.module  # dataclasses look the module of a class up
        for block in _FENCE.finditer(self.text):
            language, body = block[1], block[2]
            if language == "python":
                self.printed = self.python(body)
            elif language == "text" and self.printed:
                yield Shown(block.start(2), block.end(2), body, self.printed)
                self.printed = ""
            elif language == "console":
                yield Shown(block.start(2), block.end(2), body, self.console(body))

    def python(self, body: str) -> str:
        """Run the code; what it prints."""
        name = re.match(r"# (\w+\.py)\n", body)
        if name is not None:
            Path(name[1]).write_text(body, encoding="utf-8")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(body, name[1] if name else "<guide>", "exec"), self.module.__dict__)
        return output.getvalue()

    def console(self, body: str) -> str:
        """Run the commands; they and what they print."""
        from irc.cli import main

        output = io.StringIO()
        for line in body.splitlines():
            if not line.startswith("$ "):
                continue
            output.write(f"{line}\n")
            program, *arguments = shlex.split(line[2:])
            assert program == "irc", line
            try:
                with contextlib.redirect_stdout(output):
                    main(arguments)
            except SystemExit as done:
                if done.code != 0:
                    raise AssertionError(f"{line} ended with {done.code}") from None
        return output.getvalue()


def tidy(text: str) -> str:
    """Without spaces at the ends of lines and empty lines at the end."""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


def pattern(shown: str) -> re.Pattern[str]:
    """What matches the lines that are shown, whatever the digits and the widths of columns."""
    parts = []
    for line in tidy(shown).splitlines():
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            words = (_NUMBER.sub("#", word) for word in line.split())
            parts.append(" ".join(map(re.escape, words)) + r"\n")
    return re.compile("".join(parts))


def plain(came: str) -> str:
    """What came, in the form that `pattern` matches."""
    return "".join(" ".join(_NUMBER.sub("#", w) for w in line.split()) + "\n" for line in tidy(came).splitlines())


def in_empty_folder(path: Path) -> list[Shown]:
    """Run a document in a folder of its own."""
    reader = Reader(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        sys.path.insert(0, folder)
        return list(reader.run())


def check(path: Path) -> None:
    """AssertionError where a document shows something that did not come."""
    for each in in_empty_folder(path):
        if not pattern(each.shown).fullmatch(plain(each.came)):
            raise AssertionError(f"{path.name} shows\n{each.shown}\nand there came\n{each.came}")


def rewrite(path: Path) -> None:
    """Put what came where the document shows something, except where it leaves lines out."""
    text = path.read_text(encoding="utf-8")
    for each in reversed(in_empty_folder(path.resolve())):
        if "\n…\n" not in each.shown:
            text = text[: each.start] + tidy(each.came) + text[each.end :]
    path.write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_guide(guide: str) -> None:
    code = f"import runpy, pathlib; runpy.run_path({__file__!r})['check'](pathlib.Path({str(ROOT / guide)!r}))"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(  # a process of its own: a guide may register ops and passes
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_guides_are_there() -> None:
    assert {Path(guide).name for guide in GUIDES} >= {
        "first-model.md",
        "add-a-pass.md",
        "add-an-op.md",
        "quantization.md",
    }


def test_a_wrong_line_is_seen() -> None:
    assert pattern("size  1,234\n…\nend\n").fullmatch(plain("size 5\nmore\nend\n"))
    assert not pattern("size  1,234\n…\nend\n").fullmatch(plain("bytes 5\nmore\nend\n"))
    assert not pattern("size 1\n").fullmatch(plain("size 1\nmore\n"))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        rewrite(Path(argument))
