from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.message import request as message_request
from tests.support.ci_marks import EASIER_CASE, long_case
from tests.support.first_push import push_to_bare
from tests.support.fyre_up import up

Git = Callable[..., str]
FYRE = (sys.executable, "-m", "fyre")


@pytest.fixture(autouse=True)
def in_repo(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for temporary files, which is empty again after every run."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def far(tmp_path: Path, repo: Path) -> Path:
    path = tmp_path / "far.git"
    push_to_bare(repo, path, f"file://{path}", is_upstream=True)
    return path


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FYRE, "run", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_options_are_trailers(
    repo: Path, far: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--name",
        "train",
        "--image=python:3.12",
        "--resources",
        "cpu=4 memory=1Gi",
        "--timeout",
        "2h",
    ]
    more = [
        "--retries",
        "1",
        "--env",
        "A=1",
        "--env",
        "B=x y",
        "--secret",
        "s",
        "--workdir",
        "d",
        "--profile",
        "big",
    ]
    (repo / "d").mkdir()
    (repo / "d" / "file").touch()
    assert main.main(["run", "-d", "--json", *words, *more, "--", "echo", "a  b"]) == 0
    answer = json.loads(capfd.readouterr().out)
    text = git("log", "-1", "--format=%B", answer["sha"], cwd=far)
    (spec,) = message_request.parse_message(text).runs
    assert (spec.command, spec.name, spec.image, spec.profile) == (
        "echo 'a  b'",
        "train",
        "python:3.12",
        "big",
    )
    assert (spec.timeout, spec.retries, spec.workdir, spec.secrets) == (7200, 1, "d", ("s",))
    assert (spec.resources, spec.env) == (
        (("cpu", "4"), ("memory", "1Gi")),
        (("A", "1"), ("B", "x y")),
    )
    assert (answer["remote"], answer["ref"]) == ("origin", "refs/heads/fyre/ada")
    assert answer["runs"] == [{"name": "train", "command": "echo 'a  b'"}]
    assert answer["fyre_id"] == message_request.parse_message(text).fyre_id


VERBATIM = [
    (["--", "a && b"], "a && b"),
    (["a && b"], "a && b"),
    (["--", "python", "x.py", "--name", "y z"], "python x.py --name 'y z'"),
    (["python", "x.py", "--timeout", "5"], "python x.py --timeout 5"),
    (["--", "a", "--", "b"], "a -- b"),
]
"""Words after ``fyre run -d``, and the command that they are."""


def test_the_command_is_taken_verbatim(far: Path, git: Git) -> None:
    for words, command in VERBATIM:
        assert main.main(["run", "-d", *words]) == 0
        (spec,) = message_request.parse_message(
            git("log", "-1", "--format=%B", "fyre/ada", cwd=far)
        ).runs
        assert spec.command == command


NOT_MEANT = [
    ([], 2, "missing argument"),
    (["--nonsense", "x"], 2, "no such option"),
    (["--json", "x"], 2, "--json goes with --detach"),
    (["--commit", "HEAD", "x"], 2, "--commit goes with --local"),
    (["--keep", "x"], 2, "--keep goes with --local"),
    (["--local", "--detach", "x"], 2, "--local runs here"),
    (["-d", " "], 2, "empty"),
    (["-d", "a\nb"], 1, "several lines"),
    (["-d", "--timeout", "5", "x"], 2, "no unit"),
    (["-d", "--env", "x", "x"], 2, "not NAME=value"),
    (["-d", "-m", "See\n\nFyre-Run: y\nprose", "x"], 1, "would not run"),
    (["-d", "PASSWORD=hunter2 x"], 1, "looks like"),
    (["-d", "--workdir", "nosuch", "x"], 1, "no directory nosuch"),  # new_user_19
    (["-d", "--workdir", "README", "x"], 1, "no directory README"),
    (["-d", "--remote", "nosuch", "x"], 1, "there is no remote 'nosuch'"),
    (["x"], 1, "there is no forge to ask"),
    (["--local", "--commit", "deadbeef", "x"], 1, "'deadbeef' names no commit here"),
    (["--local", "--commit", "f" * 40, "x"], 1, "names no commit here"),
    (["--local", "--commit", "", "--keep=x", "x"], 2, "does not take a value"),
]
"""Words after ``fyre run``, its exit code, and a part of its answer."""


def test_what_can_not_be_meant_runs_nothing(far: Path, git: Git, capfd) -> None:
    for words, code, says in NOT_MEANT:
        assert main.main(["run", *words]) == code
        out, err = capfd.readouterr()
        assert says.lower() in err.lower()
        assert "hunter2" not in err
        assert out == ""
        assert "fyre/ada" not in git("for-each-ref", cwd=far)


def test_no_remote_no_repository(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    assert main.main(["run", "-d", "true"]) == 1
    assert "no remote" in capfd.readouterr().err
    for place in (tmp_path, repo / ".git"):
        monkeypatch.chdir(place)
        assert main.main(["run", "-d", "true"]) == 1
        assert "repository" in capfd.readouterr().err


def test_a_dry_run_says_where_and_changes_nothing(
    repo: Path, far: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "README").write_text("changed\n")
    (repo / ".env").write_text("x\n")
    before = git("count-objects", cwd=repo)
    for more in ([], ["--local"]):
        assert main.main(["run", "--dry-run", *more, "--", "make"]) == 0
        out, err = capfd.readouterr()
        assert out == " M README\n?? .env\nrun: make\n"
        assert ("without --yes you are asked: .env looks secret" in err) is (more == [])
        where = "would run here" if more else "would be pushed to origin, as fyre/ada"
        head = git("rev-parse", "--short=7", "HEAD", cwd=repo)
        assert err.splitlines()[0] == f"fyre: commit {head} with 2 changed files {where}"
    assert git("count-objects", cwd=repo) == before
    assert "fyre/ada" not in git("for-each-ref", cwd=far) + git("for-each-ref", cwd=repo)


def test_here_on_the_working_tree_as_it_is(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "README").write_text("changed\n")
    (repo / "new").write_text("new\n")
    refs = git("for-each-ref", cwd=repo)
    told = "echo $CI $FYRE_RUN $FYRE_REF ${#FYRE_ID}"
    assert main.main(["run", "--local", f"cat README new; echo err >&2; {told}; exit 3"]) == 3
    assert capfd.readouterr().out == "changed\nnew\nerr\ntrue run refs/heads/main 26\n"
    assert git("for-each-ref", cwd=repo) == refs
    assert git("status", "--porcelain", cwd=repo) == " M README\n?? new"


def test_here_on_a_commit(repo: Path, git: Git, capfd: pytest.CaptureFixture[str]) -> None:
    first = git("rev-parse", "HEAD", cwd=repo)
    (repo / "README").write_text("second\n")
    git("commit", "-q", "-am", "Second", cwd=repo)
    (repo / "README").write_text("dirty\n")
    assert (
        main.main(["run", "--local", "--commit", "HEAD~1", "cat README; echo $FYRE_SHA; pwd"]) == 0
    )
    *lines, place = capfd.readouterr().out.split()
    assert lines == ["hello", first]
    assert not Path(place).exists()
    assert (repo / "README").read_text() == "dirty\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["kill -9 $$"], 137, "SIGKILL"),
        pytest.param(["--timeout", "1s", "sleep 60"], 124, "timed out after 1s", marks=EASIER_CASE),
        pytest.param(["nosuchcommand"], 127, "command not found", marks=EASIER_CASE),
        (["--workdir", "nosuch", "true"], 1, "there is no directory nosuch in what would run"),
        (["--image", "x:1", "true"], 0, "not honoured here: image"),
        (["--output", "nope.pt", "true"], 1, "wrote no nope.pt"),  # test_10: as `fyre run` exits
    ],
)
def test_here_the_exit_code_is_the_runs(
    capfd: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    assert main.main(["run", "--local", *words]) == code
    assert says in capfd.readouterr().err


def test_here_the_repositorys_defaults_hold(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / ".fyre.yaml").write_text(
        "env: {A: '1', B: '1'}\nsetup: [echo setup > made]\ntimeout: 1s\n"
    )
    assert (
        main.main(["run", "--local", "--env", "B=2", "--timeout", "1m", "cat made; echo $A $B"])
        == 0
    )
    assert capfd.readouterr().out == "setup\n1 2\n"
    (repo / ".fyre.yaml").write_text("setup: [exit 4]\n")
    assert main.main(["run", "--local", "echo never"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "setup failed" in err
    (repo / ".fyre.yaml").write_text("\ntimeuot: 5\n")
    assert main.main(["run", "--local", "true"]) == 1
    assert ".fyre.yaml line 2" in capfd.readouterr().err


def test_here_the_checkout_is_kept_on_request(
    nothing_is_left: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["run", "--local", "--keep", "echo made > made"]) == 0
    kept = Path(capfd.readouterr().err.rpartition("kept in ")[2].strip())
    assert (kept / "made").read_text() == "made\n"
    for path in nothing_is_left.iterdir():
        subprocess.run(["rm", "-r", path], check=True)


def test_here_from_a_shallow_clone_and_a_linked_work_tree(
    repo: Path, git: Git, tmp_path: Path, monkeypatch, capfd
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("clone", "-q", "--depth=1", f"file://{repo}", "shallow", cwd=tmp_path)
    git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"), cwd=repo)
    for place in ("shallow", "linked"):
        monkeypatch.chdir(tmp_path / place)
        assert main.main(["run", "--local", "cat README"]) == 0
        assert capfd.readouterr().out == "hello\n"


@long_case
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_here_whoever_stops_us_stops_the_run(
    repo: Path, tmp_path: Path, number: int, code: int
) -> None:
    script = (
        f"echo $$; trap 'echo stopped > {tmp_path}/stopped; exit' TERM; "
        "while :; do sleep 0.05; done"
    )
    with subprocess.Popen(
        [*FYRE, "run", "--local", script], cwd=repo, stdout=subprocess.PIPE, text=True
    ) as process:
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(60) == code
    assert (tmp_path / "stopped").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with up(tmp_path_factory.mktemp("up") / "root") as url:
        yield url


@pytest.fixture
def published(repo: Path, git: Git, forge: str, request: pytest.FixtureRequest) -> Path:
    """``repo``, pushed to a forge that runs what is asked for."""
    git(
        "remote",
        "add",
        "origin",
        f"{forge}/ada/{request.node.name.partition('[')[0]}.git",
        cwd=repo,
    )
    git("push", "-q", "-u", "origin", "main", cwd=repo)
    return repo


def test_it_runs_there_and_is_followed(published: Path) -> None:
    (published / "new").write_text("new\n")
    done = run("--", 'cat README new; echo "a  b"; git log -1 --format=%s; exit 7', cwd=published)
    assert (
        done.stdout
        == 'hello\nnew\na  b\nRun: cat README new; echo "a b"; git log -1 --format=%s; exit 7\n'
    )
    assert done.returncode == 7
    assert "on fyre/ada: cat README" in done.stderr


@long_case
def test_d35_d38_how_a_run_ended_and_what_was_not_honoured_is_said(published: Path) -> None:
    words = ["--image", "busybox", "--", "sleep 1; echo ran"]
    done = run("--yes", *words, cwd=published)
    assert (done.returncode, done.stdout) == (0, "ran\n")
    said = done.stderr.splitlines()
    assert any("not honoured here: image" in line for line in said)
    assert re.fullmatch(r"fyre: exit 0 · \d+s .*· http://127\.0\.0\.1:\d+/runs/.+", said[-1])
    watched = subprocess.run(
        [*FYRE, "watch", done.stderr.split()[1]],
        cwd=published,
        capture_output=True,
        text=True,
        check=True,
    )
    assert watched.stdout.split()[1:4] == ["run", "exit", "0"]
    assert watched.stderr.splitlines()[-1].startswith("fyre: http://127.0.0.1:")


@long_case
def test_d38_in_a_subdirectory_it_runs_there(published: Path) -> None:
    place = published / "sub dir" / "d"
    place.mkdir(parents=True)
    (place / "d.py").write_text("print('here')\n")
    words = ["--", "python3", "d.py"]
    for option in ([], ["--local"]):
        done = run("--yes", *option, *words, cwd=place)
        assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    done = run("--yes", "--workdir", ".", "--", "ls", cwd=place)
    assert "README" in done.stdout


def test_d38_a_broken_config_is_found_before_the_push(published: Path, git: Git) -> None:
    (published / ".fyre.yaml").write_text("tiemout: 1h\n")
    done = run("--yes", "--", "true", cwd=published)
    assert done.returncode == 1
    assert "error: nothing was published: " in done.stderr
    assert "fyre/" not in git("ls-remote", "origin", cwd=published)


def test_only_the_snapshot_runs(published: Path, git: Git) -> None:
    assert main.main(["commit", "--run", "echo not now"]) == 0
    done = run("--yes", "--", "echo now", cwd=published)
    assert (done.returncode, done.stdout) == (0, "now\n")
    status = subprocess.run(
        [*FYRE, "status", "HEAD"], cwd=published, capture_output=True, text=True, check=False
    )
    assert "has no runs" in status.stderr


@long_case
@long_case
@long_case
def test_letting_go_of_it_leaves_it_running(published: Path) -> None:
    words = [*FYRE, "run", "--", "echo begun; sleep 60"]
    with subprocess.Popen(
        words, cwd=published, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the run goes on" in err
    sha = err.split("fyre logs -f ")[1].split()[0]
    assert f"fyre cancel {sha}" in err
    status = subprocess.run(
        [*FYRE, "status", "--json", sha], cwd=published, capture_output=True, text=True, check=True
    )
    assert json.loads(status.stdout)[0]["state"] == "running"
    subprocess.run([*FYRE, "cancel", sha], cwd=published, check=True, capture_output=True)
    watch = subprocess.run(
        [*FYRE, "watch", sha], cwd=published, capture_output=True, text=True, check=True
    )
    assert "cancelled by" in watch.stdout
