"""``fyre doctor``: what is well gives no error; what is broken on purpose is found, with a fix."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fyre.apps.up import FyreUp
from fyre.cli.doctor import checks
from fyre.cli.main import main
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["person"]  # a fixture


@pytest.fixture
def well(person: Person, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody for whom all is well."""
    monkeypatch.chdir(person.repo)
    monkeypatch.setattr(checks, "MIN_GIT_VERSION", (2, 20))
    assert main(["init", "--hooks"]) == 0
    return person


def wrong(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What is to be mended, and how."""
    capsys.readouterr()
    code = main(["doctor", "--json"])
    found = {one["what"]: one["fix"] for one in json.loads(capsys.readouterr().out)}
    bad = {what: fix for what, fix in found.items() if fix}
    assert code == bool(bad)
    return bad


def test_all_is_well(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong(capsys) == {}
    assert main(["doctor"]) == 0
    assert "admin permission" in capsys.readouterr().out


def test_no_identity(well: Person, capsys: pytest.CaptureFixture[str], isolated_git: Path) -> None:
    (isolated_git / "gitconfig").write_text("")
    assert [*wrong(capsys)] == [
        "git does not know your user.name",
        "git does not know your user.email",
    ]


def test_no_repository(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (found,) = wrong(capsys)
    assert found.startswith("not a git repository")


def test_no_remote(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    well.git("remote", "remove", "origin")
    assert wrong(capsys) == {"this repository has no remote": "git remote add origin URL"}


def test_a_forge_that_does_not_answer(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    well.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    dead, blind = wrong(capsys)
    assert dead.startswith("origin does not answer: ")
    assert "can't be reached" in blind


def test_a_repository_that_is_not_there(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    well.git("config", "fyre.api", f"{well.up.url}/api")
    well.git("remote", "set-url", "origin", f"{well.up.url}/ada/none.git")
    assert any("repository ada/none" in what for what in wrong(capsys))


def test_no_token(
    well: Person, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.workspace.remote.lookup_token", lambda *_: "")
    (what, fix), *_ = wrong(capsys).items()
    assert what.startswith("there is no token for 127.0.0.1")
    assert "FYRE_TOKEN" in fix


def test_no_right_to_push(
    well: Person, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.github.client.GitHubClient.get_permission", lambda *_: "read")
    assert any("may not push to ada/lab" in what for what in wrong(capsys))


def test_a_bad_file_and_a_bad_message(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    (well.repo / ".fyre.yaml").write_text("timeuot: 2h\n")
    well.git(
        "commit",
        "-q",
        "--allow-empty",
        "--no-verify",
        "-m",
        "Work\n\nFyre-Run: true\nFyre-Timeout: soon",
    )
    file, message = wrong(capsys)
    assert file.startswith(".fyre.yaml line 1: unknown key 'timeuot'")
    assert message.startswith("HEAD's message, line 4: ")


def test_everybodys_notebooks(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    well.git("config", "--unset-all", "remote.origin.fetch", r"\^refs/heads/fyre")
    assert wrong(capsys) == {"a fetch from origin fetches everybody's lab branches": "fyre init"}


def test_a_clock_that_is_off(
    well: Person, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not the module's own: the forge, in a thread of ours, says the time once a second.
    monkeypatch.setattr(checks, "time", SimpleNamespace(time=lambda: time.time() + 3600))
    assert any("ahead of the forge's" in what for what in wrong(capsys))


def test_an_old_git(
    well: Person, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MIN_GIT_VERSION", (99, 0))
    assert any("99.0" in fix for fix in wrong(capsys).values())


def test_no_cluster(up: FyreUp, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = list(checks.check_cluster(str(tmp_path / "none"), None, None, "", exec_mode=True))
    assert [(one.is_ok, "no cluster" in one.what) for one in found] == [(False, True)]


def test_no_git(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert wrong(capsys) == {
        "git is not installed, or not on the PATH": "install git 2.34 or newer"
    }


def test_hooks_that_git_does_not_run(
    well: Person, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hooks = well.repo / ".git" / "hooks"
    well.git("config", "core.hooksPath", str(tmp_path / "shared"))
    ((what, fix),) = wrong(capsys).items()
    assert (
        what == f"core.hooksPath leads git to {tmp_path}/shared, past the hooks of this repository"
    )
    assert "git config --unset core.hooksPath" in fix
    well.git("config", "--unset", "core.hooksPath")
    stub = hooks / "commit-msg"
    text = stub.read_text()
    stub.write_text(text.replace(sys.executable, "/gone/python"))
    assert wrong(capsys) == {
        "the hooks call /gone/python, which is gone, and check nothing": "fyre init --hooks"
    }
    stub.unlink()
    assert wrong(capsys) == {"hooks are missing: commit-msg": "fyre init --hooks"}
    assert main(["init", "--hooks"]) == 0
    assert wrong(capsys) == {}


def test_a_webhook_that_fails(well: Person, capsys: pytest.CaptureFixture[str]) -> None:
    outbox = well.up.local_forge.outbox
    outbox.webhook_secret = b"another"
    well.commit()
    well.push()
    until(
        lambda: well.up.local_forge.database.fetch_rows(
            "select 1 from deliveries where status_code = 401"
        )
    )
    ((what, fix),) = wrong(capsys).items()
    assert what.startswith("the newest webhook of ada/lab failed: 401")
    assert "webhookSecretFile" in fix
