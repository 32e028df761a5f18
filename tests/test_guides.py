"""What the guides and concepts show is what happens: their Python and their commands run, and print what they say.

In a Markdown file under docs/ the fenced blocks run in order, in an empty folder:

    python    in one namespace; one whose first line is `# name.py` is that file too
    console   each line `$ irc …`, `$ cmake …`, `$ qemu-aarch64 …` or a program that these made; the lines below it are
              what the command prints. The folder has the checkout's `examples`. A block whose program is not installed
              is left out, and the test says so; not where IRC_CI is set
    text      behind a python block: what that prints
    others    are not run

Numbers and x86's instruction sets differ between machines, so they are not compared; `…` stands for any lines.
`python tests/test_guides.py docs/guides/first-model.md` writes anew what the blocks print, numbers and all.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
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
_X86 = re.compile(r"\b(portable|avx2|avxvnni|avx512vnni|amx)(?=,)")
_MISSING = "not installed: "
TOOLS = ("cmake", "qemu-aarch64", "aarch64-linux-gnu-gcc")  # what documents use besides irc


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
    missing: list[str] = field(default_factory=list)

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
                came = self.console(body)
                if came is not None:
                    yield Shown(block.start(2), block.end(2), body, came)

    def python(self, body: str) -> str:
        """Run the code; what it prints."""
        name = re.match(r"# (\w+\.py)\n", body)
        if name is not None:
            Path(name[1]).write_text(body, encoding="utf-8")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(body, name[1] if name else "<guide>", "exec"), self.module.__dict__)
        return output.getvalue()

    def console(self, body: str) -> str | None:
        """Run the commands; they and what they print. None if one needs a tool that is not here."""
        lines = [line for line in body.splitlines() if line.startswith("$ ")]
        wanted = {word.rpartition("=")[2] for line in lines for word in shlex.split(line[2:])}
        absent = [tool for tool in TOOLS if tool in wanted and shutil.which(tool) is None]
        made = [name for line in lines if "/" in (name := shlex.split(line[2:])[0])]
        if absent or (self.missing and not all(Path(name).exists() for name in made)):
            self.missing += absent
            return None
        return "".join(f"{line}\n{command(*shlex.split(line[2:]))}" for line in lines)


def command(program: str, *arguments: str) -> str:
    """What a command of a document prints; AssertionError if it fails."""
    if program == "irc":
        return irc_command(*arguments)
    assert program in TOOLS or Path(program).is_file(), program
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"{shlex.join([program, *arguments])} ended with {done.returncode}\n{done.stderr}"
    return done.stdout


def irc_command(*arguments: str) -> str:
    """What `irc` prints, in this process, which knows what the document has defined."""
    from irc.cli import main

    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            main(list(arguments))
    except SystemExit as done:
        if done.code != 0:
            raise AssertionError(f"irc {shlex.join(arguments)} ended with {done.code}") from None
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
            words = map(masked, line.split())
            parts.append(" ".join(map(re.escape, words)) + r"\n")
    return re.compile("".join(parts))


def plain(came: str) -> str:
    """What came, in the form that `pattern` matches."""
    return "".join(" ".join(map(masked, line.split())) + "\n" for line in tidy(came).splitlines())


def masked(word: str) -> str:
    """Without what differs between machines."""
    return _NUMBER.sub("#", _X86.sub("#", word))


def in_empty_folder(path: Path) -> tuple[list[Shown], list[str]]:
    """Run a document in a folder of its own; what it shows, and the tools that are not here."""
    reader = Reader(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("examples").symlink_to(ROOT / "examples")
        sys.path.insert(0, folder)
        return list(reader.run()), reader.missing


def check(path: Path) -> None:
    """AssertionError where a document shows something that did not come; prints the tools that are not here."""
    blocks, missing = in_empty_folder(path)
    for each in blocks:
        if not pattern(each.shown).fullmatch(plain(each.came)):
            raise AssertionError(f"{path.name} shows\n{each.shown}\nand there came\n{each.came}")
    if missing:
        sys.stdout.write(_MISSING + " ".join(missing))


def rewrite(path: Path) -> None:
    """Put what came where the document shows something, except where it leaves lines out."""
    text = path.read_text(encoding="utf-8")
    for each in reversed(in_empty_folder(path.resolve())[0]):
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
    missing = done.stdout.partition(_MISSING)[2]
    if missing:
        assert "IRC_CI" not in os.environ, f"not installed: {missing}"
        pytest.skip(f"not installed: {missing}; the blocks that need it were left out, the others are right")


def test_guides_are_there() -> None:
    assert {Path(guide).name for guide in GUIDES} >= {
        "first-model.md",
        "add-a-pass.md",
        "add-an-op.md",
        "quantization.md",
        "deploy-c.md",
        "add-a-kernel.md",
        "int8-arithmetic.md",
    }


def test_a_wrong_line_is_seen() -> None:
    assert pattern("size  1,234\n…\nend\n").fullmatch(plain("size 5\nmore\nend\n"))
    assert not pattern("size  1,234\n…\nend\n").fullmatch(plain("bytes 5\nmore\nend\n"))
    assert not pattern("size 1\n").fullmatch(plain("size 1\nmore\n"))
    assert pattern("avx2, 1 thread\n").fullmatch(plain("amx, 2 thread\n"))
    assert not pattern("neon, 1 thread\n").fullmatch(plain("dotprod, 1 thread\n"))


def test_a_missing_tool_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("```console\n$ cmake --version\nanything\n```\n```console\n$ build/made\nanything\n```\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert in_empty_folder(document) == ([], ["cmake"])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        rewrite(Path(argument))
