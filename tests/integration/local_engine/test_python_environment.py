"""No run meets Fyre's own Python environment, and one that installs gets an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from fyre.engines.local import LocalEngine, python_environment
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from tests.conftest import git
from tests.contract.engine import await_end, make_run
from tests.support.ci_marks import long_case

SHOW = 'import os, sys; print(sys.prefix, os.environ.get("VIRTUAL_ENV"))'


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The virtual environment that these tests run in, activated; so would ``fyre up`` be."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests run in no virtual environment")
    programs = Path(sys.prefix, "bin")
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.setenv("FYRE_ROOT", "/nowhere")
    return programs


def go(repo: Path, tmp_path: Path, command: str, **spec: object) -> tuple[RunRecord, str]:
    """Run a command on the newest commit: its record and its log."""
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    run = make_run(git("rev-parse", "HEAD", cwd=repo), command, **spec)
    engine.launch(run)
    record = await_end(engine, run.key)
    log = b"".join(engine.read_log(run.key)).decode()
    engine.close()
    return record, log


def test_9_31_a_command_sees_nothing_of_fyres_environment(
    repo: Path, tmp_path: Path, own_environment: Path
) -> None:
    names = "VIRTUAL_ENV PYTHONPATH FYRE_ROOT"
    show = f"for name in {names}; do printenv $name; done; echo $PATH; command -v fyre"
    _, log = go(repo, tmp_path, show)
    path, *found = log.splitlines()
    assert os.path.realpath(own_environment) not in map(os.path.realpath, path.split(os.pathsep))
    assert found == [] or os.path.realpath(found[0]) != str(own_environment / "fyre")


def test_9_31_another_environment_of_the_users_stays(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    venv.create(other)
    monkeypatch.setenv("VIRTUAL_ENV", str(other))
    monkeypatch.setenv("PATH", f"{other}/bin{os.pathsep}{os.environ['PATH']}")
    _, log = go(repo, tmp_path, f"python -c '{SHOW}'")
    assert log == f"{other} {other}\n"


@long_case
def test_9_31_setup_installs_into_the_checkout_and_the_command_finds_it(
    repo: Path, tmp_path: Path, own_environment: Path
) -> None:
    package = repo / "package"
    package.mkdir()
    # A wheel takes no network and no build: it is a zip file of a known form.
    write_wheel = (
        "import zipfile; z = zipfile.ZipFile('lab-1-py3-none-any.whl', 'w'); "
        "z.writestr('lab.py', 'word = 7'); "
        "z.writestr('lab-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: lab\\nVersion: 1'); "
        "z.writestr('lab-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any'); "
        "z.writestr('lab-1.dist-info/RECORD', '')"
    )
    subprocess.run([sys.executable, "-c", write_wheel], cwd=repo, check=True)
    git("add", "-A", cwd=repo)
    git("commit", "-q", "-m", "A package", cwd=repo)
    setup = ("pip install -q --no-index ./lab-1-py3-none-any.whl", ". .venv/bin/activate")
    record, log = go(
        repo, tmp_path, "python -c 'import lab, sys; print(lab.word, sys.prefix)'", setup=setup
    )
    assert record.state == RunState.SUCCEEDED, log
    word, prefix = log.split()
    assert (word, prefix.endswith("/.venv")) == ("7", True)
    lost = subprocess.run([sys.executable, "-c", "import lab"], capture_output=True, check=False)
    assert b"No module named 'lab'" in lost.stderr


@pytest.mark.parametrize(
    ("setup", "files", "made"),
    [
        (["pip install x"], [], "pip"),
        (["cd a && python3 -m pip install x"], [], "pip"),
        (["(pip3 install x)"], [], "pip"),
        (["uv sync"], [], "bare"),
        ([], ["uv.lock"], "bare"),
        (["make deps", "echo pipe python-like"], [], ""),
        (["pip install x"], [".venv"], ""),
        ([], [], ""),
    ],
)
def test_9_31_what_asks_for_an_environment(
    tmp_path: Path, setup: list[str], files: list[str], made: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    command = python_environment.creation_command(setup, str(tmp_path))
    assert command is None if not made else command is not None
    if command is not None:
        assert ("--without-pip" in command) == (made == "bare")


def test_9_15_all_of_the_setup_has_one_timeout(repo: Path, tmp_path: Path) -> None:
    record, _ = go(repo, tmp_path, "echo never", setup=("sleep 0.7",) * 3, timeout=1)
    assert (record.state, record.reason) == (
        RunState.ERROR,
        "setup failed: `sleep 0.7` timed out after 1s",
    )
