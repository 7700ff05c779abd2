from __future__ import annotations

from pathlib import Path

import pytest

from fyre.cli import main
from fyre.cli.commands import init
from fyre.runs import repo_config


def test_lab_branches_are_fetched_no_more(
    repo: Path, git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("clone", "-q", str(repo), "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    monkeypatch.chdir(clone)
    git("branch", "fyre/ada", cwd=repo)
    git("branch", "other", cwd=repo)
    for _ in range(2):
        assert main.main(["init"]) == 0
    assert (
        git("config", "--get-all", "remote.origin.fetch", cwd=clone)
        .splitlines()
        .count(init.LAB_EXCLUDE_REFSPEC)
        == 1
    )
    git("fetch", "-q", cwd=clone)
    assert "fyre/ada" not in git("branch", "-r", cwd=clone)
    assert "origin/other" in git("branch", "-r", cwd=clone)


def test_9_36_it_says_that_there_is_nothing_to_do(
    repo: Path, git, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    git("remote", "add", "origin", "http://127.0.0.1:9/a/b.git", cwd=repo)
    assert (main.main(["init"]), main.main(["init"])) == (0, 0)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "origin: lab branches (fyre/*) are no longer fetched"
    assert second.startswith("nothing to do: ")


def test_without_a_remote_it_says_so(
    repo: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    assert main.main(["init"]) == 0
    assert "no remote 'origin' yet" in capsys.readouterr().err


def test_a_first_file_of_defaults_is_valid_and_never_overwritten(repo: Path, monkeypatch) -> None:
    (repo / "below").mkdir()
    monkeypatch.chdir(repo / "below")
    assert main.main(["init", "--config"]) == 0
    path = repo / ".fyre.yaml"
    bare = "\n".join(row.removeprefix("# ") for row in path.read_text().splitlines()[1:])
    assert repo_config.parse_repo_config(path.read_text()) == repo_config.RunDefaults()
    assert repo_config.parse_repo_config(bare).all_runs.timeout == 7200
    assert dict(repo_config.parse_repo_config(bare).all_runs.metric_goals)["loss"] == "min"
    path.write_text("timeout: 1h\n")
    assert main.main(["init", "--config"]) == 0
    assert path.read_text() == "timeout: 1h\n"


def test_no_repository(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["init"]) == 1
    assert "not a git repository" in capsys.readouterr().err


def test_a_workflow_is_written_once(
    repo: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    assert main.main(["init", "--workflow"]) == 0
    path = repo / ".github" / "workflows" / "fyre.yml"
    assert path.read_text() == (Path(__file__).parents[3] / "action" / "example.yml").read_text()
    assert "OWNER" in capsys.readouterr().err
    path.write_text("name: mine\n")
    assert main.main(["init", "--workflow"]) == 0
    assert path.read_text() == "name: mine\n"


def test_what_stands_in_the_workflows_place_is_named(
    repo: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    (repo / ".github").write_text("a file")
    assert main.main(["init", "--workflow"]) == 1
    assert "can't be written" in capsys.readouterr().err
