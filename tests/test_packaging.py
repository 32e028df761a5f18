"""What is installed is the whole project, typed, under the name `irc` and no other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PYPROJECT["tool"]["setuptools"]


def folders_with_code() -> set[str]:
    """The import name of every folder that holds an `__init__.py`."""
    found = set()
    for name, folder in SETUPTOOLS["package-dir"].items():
        for path in (ROOT / folder).rglob("__init__.py"):
            inner = path.parent.relative_to(ROOT / folder).parts
            if not (name == "irc" and inner[:1] in {("passes",), ("backends",)}):  # the links, listed by themselves
                found.add(".".join((name, *inner)))
    return found


def test_package_list_is_complete() -> None:
    assert set(SETUPTOOLS["packages"]) == folders_with_code()
    assert SETUPTOOLS["packages"] == sorted(SETUPTOOLS["packages"])


def test_every_folder_of_modules_is_a_package() -> None:
    bare = {
        str(path.parent.relative_to(ROOT))
        for folder in ("irc", "passes", "backends")
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    }
    assert bare == set(), "a folder without __init__.py is in no package"


def test_links_make_a_checkout_look_like_the_installed_package() -> None:
    assert (ROOT / "irc" / "passes").readlink() == Path("../passes")
    assert (ROOT / "irc" / "backends").readlink() == Path("../backends")


def normalized(requirement: str) -> str:
    """The project's name in a requirement, as PyPI compares it."""
    name = requirement.partition("#")[0]
    for mark in "<>=!~[; ":
        name = name.partition(mark)[0]
    return name.strip().lower().replace("_", "-")


def test_every_direct_dependency_is_pinned() -> None:
    project = PYPROJECT["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    asked += (ROOT / "requirements-models.txt").read_text().splitlines()
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)
    names = {normalized(requirement) for requirement in asked} - {"", project["name"]}
    assert names - {normalized(line) for line in pins} == set()
    assert "torch==2.13.0" in pins  # later default wheels pull several GB of CUDA libraries


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy so that no build folder is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("irc", "passes", "backends"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    """Run pip of this interpreter without looking anything up."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_wheel_holds_all_modules_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    expected = {
        "/".join((*package.split("."), path.name))
        for package in SETUPTOOLS["packages"]
        for path in folder_of(package).glob("*.py")
    }
    assert "irc/passes/base.py" in expected
    assert {name for name in modules if name.endswith(".py")} == expected
    assert "irc/py.typed" in modules
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def folder_of(package: str) -> Path:
    """Where a package's files lie in the checkout."""
    folders: dict[str, str] = SETUPTOOLS["package-dir"]
    mapped = max((name for name in folders if f"{package}.".startswith(f"{name}.")), key=len)
    return ROOT.joinpath(folders[mapped], *package.removeprefix(mapped).split("."))


@pytest.mark.slow
def test_wheel_installs_and_imports(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    code = "import irc, irc.passes, irc.backends; print(irc.__file__, irc.passes.__file__, irc.backends.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(target) for file in done.stdout.split())
    assert {path.name for path in target.iterdir() if not path.name.endswith(".dist-info")} == {"irc", "bin"}
