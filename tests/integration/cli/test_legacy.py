"""Every line of the README of the Fyre before this one, as it stands."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fyre
from fyre import Fyre, FyreLocal
from fyre.cli import main
from fyre.errors import UserError
from fyre.message import request
from tests.support.ci_marks import easier_cases, long_case
from tests.support.fyre_up import up

Git = Callable[..., str]


@pytest.fixture(autouse=True)
def workspace(repo: Path, tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a remote, in which we stand."""
    git("init", "-q", "--bare", "far.git", cwd=tmp_path)
    git("remote", "add", "origin", str(tmp_path / "far.git"), cwd=repo)
    git("push", "-q", "-u", "origin", "main", cwd=repo)
    monkeypatch.chdir(repo)
    return repo


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far.git"


def asked_at(far: Path, git: Git, rev: str = "main") -> list[str]:
    return [
        spec.command
        for spec in request.parse_message(git("log", "-1", "--format=%B", rev, cwd=far)).runs
    ]


def test_batch_on_the_command_line(
    workspace: Path, far: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (workspace / "new").write_text("new\n")
    assert main.main(shlex.split('--batch --autocommit -- echo "hello world"')) == 0
    assert asked_at(far, git) == ["echo 'hello world'"]
    assert git("log", "-1", "--format=%s", cwd=far) == "Run: echo 'hello world'"
    assert git("show", "main:new", cwd=far) == "new"
    assert git("status", "--porcelain", cwd=workspace) == ""
    out, err = capfd.readouterr()
    sha = git("rev-parse", "HEAD", cwd=workspace)
    assert out.splitlines() == [sha, "run: echo 'hello world'"]
    assert f"fyre logs -f {sha[:12]}" in err


def test_batch_without_autocommit_wants_a_clean_tree(
    workspace: Path, far: Path, git: Git, capfd
) -> None:
    (workspace / "README").write_text("changed\n")
    before = git("rev-parse", "HEAD", cwd=workspace)
    for stage in (False, True):
        if stage:
            git("add", "README", cwd=workspace)
        assert main.main(["--batch", "--", "true"]) == 1
        err = capfd.readouterr().err
        assert "uncommitted changes: README" in err
        assert "--autocommit" in err
    assert git("rev-parse", "HEAD", cwd=workspace) == before == git("rev-parse", "main", cwd=far)
    git("commit", "-q", "-m", "Changed", cwd=workspace)
    assert main.main(["--batch", "--", "true"]) == 0
    assert asked_at(far, git) == ["true"]


@pytest.mark.parametrize("local", [*easier_cases([]), ["--local"]])
@pytest.mark.parametrize(
    "root",
    [
        [],
        ["--workspace_root={}"],
        *easier_cases(["--workspace_root", "{}"], ["--workspace-root", "{}"]),
    ],
)
def test_local_at_a_commit(
    workspace: Path, git: Git, monkeypatch, capfd, *, local: list[str], root: list[str]
) -> None:
    sha = git("rev-parse", "HEAD", cwd=workspace)
    (workspace / "README").write_text("changed\n")
    if root:
        monkeypatch.chdir("/")
    words = [*local, f"--commit={sha}", *(word.format(workspace) for word in root)]
    assert main.main([*words, "--", "cat", "README"]) == 0
    assert main.main([*words, "--", 'echo "hello world"; exit 3']) == 3
    assert capfd.readouterr().out == "hello\nhello world\n"
    assert (workspace / "README").read_text() == "changed\n"


@pytest.mark.parametrize("rev", ["deadbeef", "f" * 40, "", "--all", "HEAD^{tree}"])
def test_a_commit_that_is_not_there_runs_nothing(
    workspace: Path, tmp_path: Path, rev: str, capfd
) -> None:
    touch = f"touch {tmp_path}/ran"
    assert main.main([f"--commit={rev}", "--", touch]) == 1
    assert (
        main.main(["--local", f"--workspace_root={workspace}", f"--commit={rev}", "--", touch]) == 1
    )
    with pytest.raises(UserError, match="names no commit"):
        FyreLocal(commit=rev, command=touch, workspace_root=str(workspace)).run()
    assert not (tmp_path / "ran").exists()
    assert "names no commit here" in capfd.readouterr().err


def test_local_without_a_commit_runs_in_place(workspace: Path, tmp_path: Path, capfd) -> None:
    (workspace / "README").write_text("as it is\n")
    assert main.main(["--local", f"--workspace_root={workspace}", "--", "cat README; pwd"]) == 0
    flocal = FyreLocal(commit=None, command="echo 'hello world'", workspace_root=str(workspace))
    assert flocal.run() == 0
    assert capfd.readouterr().out == f"as it is\n{workspace}\nhello world\n"
    assert FyreLocal(command="exit 3").run() == 3
    assert FyreLocal(command="kill -9 $$").run() == 137
    with pytest.raises(UserError, match="no such directory"):
        FyreLocal(command="true", workspace_root=tmp_path / "nosuch").run()


NOT_MEANT = [
    (["--batch", "--autocommit"], 2, "nothing to run"),
    (["--batch", "--local", "--", "x"], 2, "goes with neither"),
    (["--batch", "--commit=HEAD", "--", "x"], 2, "goes with neither"),
    (["--local", "--autocommit", "--", "x"], 2, "goes with --batch"),
    (["--local", "x"], 2, "unrecognized arguments: x"),
    (["--batch", "--nonsense", "--", "x"], 2, "unrecognized arguments: --nonsense"),
    (["--commit"], 2, "expected one argument"),
    (["--local", "--", " "], 1, "empty"),
    (["--batch", "--", "PASSWORD=hunter2 x"], 1, "looks like"),
    (["--batch", "--workspace_root=/", "--", "x"], 1, "not a git repository"),
]
"""Words, the exit code, and a part of the answer."""


def test_what_can_not_be_meant(workspace: Path, far: Path, git: Git, capfd) -> None:
    before = git("rev-parse", "main", cwd=far)
    for words, code, says in NOT_MEANT:
        assert main.main(words) == code
        out, err = capfd.readouterr()
        assert says in err
        assert "hint: " in err
        assert out == ""
        assert (
            git("rev-parse", "main", cwd=far) == git("rev-parse", "HEAD", cwd=workspace) == before
        )


def test_the_objects_step_by_step(
    workspace: Path, far: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (workspace / "new").write_text("new\n")
    f = Fyre(autocommit=True, command="echo 'hello world'", workspace_root=str(workspace))
    commit = f._commit()
    assert commit == git("rev-parse", "HEAD", cwd=workspace)
    assert git("show", "-s", "--format=%s", commit, cwd=workspace) == "Run: echo 'hello world'"
    assert git("show", f"{commit}:new", cwd=workspace) == "new"
    assert f._commit() == commit  # there is nothing more to commit
    assert f._fetch_latest_runtime_id() is None
    (workspace / ".fyre.yaml").write_text(f"image: python@sha256:{'0' * 64}\n")
    assert f._fetch_latest_runtime_id() == f"python@sha256:{'0' * 64}"
    job = f._make_job_object()
    assert job.command == "echo 'hello world'"
    job.command = f"""

fyre --local \\
     --workspace_root={workspace} \\
     --commit={commit} -- \\
     echo 'hello world'

"""
    batch = job.batch_run()
    assert batch.sha == git("rev-parse", "main", cwd=far)
    assert (batch.name, batch.remote) == ("run", "origin")
    assert asked_at(far, git) == [
        f"fyre --local --workspace_root={workspace} --commit={commit} -- echo 'hello world'"
    ]
    assert git("rev-list", "--count", "main", cwd=far) == "3"
    assert asked_at(far, git, "main~1") == []  # the first one only holds the code


def test_an_object_without_autocommit_fails_on_changes(workspace: Path, git: Git) -> None:
    (workspace / "README").write_text("changed\n")
    for go in (Fyre("true").run, Fyre("true").batch_run, Fyre("true")._commit):
        with pytest.raises(UserError, match="uncommitted changes: README"):
            go()
    assert git("rev-list", "--count", "HEAD", cwd=workspace) == "1"


def test_autocommit_refuses_what_a_commit_can_not_hold(workspace: Path, git: Git) -> None:
    git("init", "-q", "nested", cwd=workspace)
    with pytest.raises(UserError, match="without its content: nested"):
        Fyre("true", autocommit=True).run()


def test_a_checkout_is_a_place_of_its_own(workspace: Path, git: Git) -> None:
    sha = git("rev-parse", "HEAD", cwd=workspace)
    (workspace / "README").write_text("changed\n")
    place = FyreLocal(commit=sha, command="true", workspace_root=workspace)._checkout()
    assert ((place / "README").read_text(), git("rev-parse", "HEAD", cwd=place)) == ("hello\n", sha)
    assert (workspace / "README").read_text() == "changed\n"
    assert git("symbolic-ref", "HEAD", cwd=workspace) == "refs/heads/main"
    shutil.rmtree(place.parent)


def test_a_workspace_below_the_top(
    workspace: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (workspace / "sub").mkdir()
    (workspace / "sub/x").write_text("x\n")
    git("add", ".", cwd=workspace)
    git("commit", "-q", "-m", "Sub", cwd=workspace)
    assert FyreLocal(commit="HEAD", command="cat x", workspace_root=workspace / "sub").run() == 0
    assert capfd.readouterr().out == "x\n"


def test_the_package_is_light_until_it_is_asked() -> None:
    code = (
        "import sys, fyre; print('fyre.cli.legacy' in sys.modules, "
        "*(hasattr(fyre, n) for n in ('Fyre', 'FyreLocal', 'No')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True True False\n"
    assert set(fyre.__all__) == {"Fyre", "FyreLocal", "__version__"}


def test_a_notebook_sees_the_output_too(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # as in Jupyter: no descriptor, text only
    for commit in (None, "HEAD"):
        assert (
            FyreLocal(
                command="printf 'h\\303'; sleep 0.1; printf '\\251\\n'; exit 4", commit=commit
            ).run()
            == 4
        )
    assert sys.stdout.getvalue() == "hé\nhé\n"


@long_case
def test_a_run_inside_a_run_leaves_nothing_behind(
    workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inner = shlex.join(
        [sys.executable, "-m", "fyre", "--local", "--commit=HEAD", "--", "seq 9999 | xargs touch"]
    )
    assert (
        FyreLocal(command=inner, commit="HEAD").run() == 0
    )  # whose checkout takes a while to remove
    assert capfd.readouterr().out == ""


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A forge whose runs find ``fyre`` on their path, as the batch container does."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with up(tmp_path / "up") as url:
        yield url


@long_case
def test_the_whole_walk(
    workspace: Path,
    git: Git,
    forge: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in (("no_proxy", ""), ("NO_PROXY", ""), ("http_proxy", "http://127.0.0.1:9")):
        monkeypatch.setenv(key, value)  # as in a notebook's pod
    git("remote", "set-url", "origin", f"{forge}/ada/pcml.git", cwd=workspace)
    (workspace / "design").write_text("new\n")
    f = Fyre(
        autocommit=True,
        command="echo 'hello world'; cat design; exit 3",
        workspace_root=str(workspace),
    )
    batch = f.run()
    capfd.readouterr()
    assert batch.wait() == 3
    assert capfd.readouterr().out == "hello world\nnew\n"
    row = batch.status()
    assert (row["sha"], row["state"], row["exit_code"]) == (batch.sha, "failed", 3)
    job = f._make_job_object()
    job.command = textwrap.dedent(f"""\
        fyre --local --workspace_root={workspace} \\
            --commit={batch.sha} -- cat design""")
    again = job.batch_run()
    capfd.readouterr()
    assert again.wait() == 0
    assert capfd.readouterr().out == "new\n"
    assert again.wait(quiet=True) == 0  # new_user_22
    assert capfd.readouterr() == ("", "")
    with monkeypatch.context() as notebook:
        notebook.setattr(sys, "stdout", io.StringIO())  # as in Jupyter: no descriptor, text only
        assert again.wait() == 0
        assert sys.stdout.getvalue() == "new\n"
