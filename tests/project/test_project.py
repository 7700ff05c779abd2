"""The project keeps its own rules: lint, types, layers, and documents that tell the truth."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.message import request
from tests.support import quick_start
from tests.support.ci_marks import long_case

ROOT = Path(__file__).parents[2]


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_ruff() -> None:
    check("ruff", "check", "--no-cache", ".")


@pytest.mark.timeout(900)
def test_ruff_format() -> None:
    check("ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.timeout(900)  # with a cold cache, on a machine that does other things as well
@long_case
def test_mypy_strict() -> None:
    check(
        "mypy"
    )  # its cache, too, is the one that people have: what has not changed is not judged anew


def test_every_request_goes_through_a_session_without_logins_of_netrc() -> None:
    call = re.compile(r"\brequests\.(get|post|put|patch|delete|head|options|request|[Ss]ession)\b")
    modules = [path for path in (ROOT / "fyre").rglob("*.py") if call.search(path.read_text())]
    assert [path.name for path in modules] == ["http_session.py"]


@long_case
def test_what_is_imported_is_a_dependency_and_what_is_a_dependency_is_imported() -> None:
    check("deptry", "fyre")
    check("deptry", "fyre", "tests", "benchmarks", "--exclude", r"\.venv", "--ignore", "DEP004")


def test_every_dependency_has_its_line_in_the_architecture() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", one)[0].lower() for one in project["dependencies"]]  # type: ignore[index]
    text = (
        (ROOT / "ARCHITECTURE.md")
        .read_text()
        .partition("## Dependencies")[2]
        .partition("\n## ")[0]
        .lower()
    )
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


FIRST_SOUND = {"jinja2": "3.1.6", "requests": "2.32.4", "starlette": "0.49.1", "urllib3": "2.6.3"}
"""Versions that mend a published flaw which what Fyre serves or asks can meet."""


def test_no_version_with_a_published_flaw_is_admitted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = dict(
        re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(project["dependencies"]), re.MULTILINE)
    )
    flawed = {
        name: floors[name]
        for name, sound in FIRST_SOUND.items()
        if [int(part) for part in floors[name].split(".")] < [int(p) for p in sound.split(".")]
    }
    assert flawed == {}


@long_case
def test_the_installed_packages_go_together() -> None:
    check("pip", "check")


@pytest.mark.timeout(900)
def test_import_layers() -> None:
    lint_imports = (
        shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or "lint-imports"
    )
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_quick_start_is_two_commands() -> None:
    first, second = quick_start.commands()
    assert first.endswith("fyre demo")
    assert "pytest" in second


def test_every_verb_and_every_trailer_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [
        verb
        for verb in main.VERBS
        if verb != "version" and f"`{verb}`" not in readme and f"fyre {verb}" not in readme
    ] == []
    assert [key for key in request.TRAILER_KEYS if f"`{key}" not in readme] == []


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_links_and_files_named_in_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    links = [
        link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link
    ]
    named = re.findall(r"`((?:fyre|tests|benchmarks|hooks|deploy)/[\w./-]+\.\w+)`", text)
    assert [name for name in [*links, *named] if name and not (ROOT / name).exists()] == []


def test_no_file_outgrows_a_reader() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in (ROOT / "fyre").rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
