from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fyre.cli import main

BAD = "Train\n\nFyre-Run: python train.py\nFyre-Tmieout: 5m\n"


@pytest.fixture(autouse=True)
def in_repo(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    code = main.main(["check", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_the_runs_of_a_commit(repo: Path, git, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "Train\n\nFyre-Run: one\nFyre-Timeout: 90m\nFyre-Resources: cpu=4\n"
        "Fyre-Env: A=b c\nFyre-Run: two\nFyre-Name: x"
    )
    git("commit", "-q", "--allow-empty", "-m", text, cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "Nothing", cwd=repo)
    code, found = answer(capsys, "HEAD~")
    assert (code, found["errors"]) == (0, [])
    assert found["runs"] == [
        {
            "name": "run",
            "command": "one",
            "timeout": 5400,
            "resources": {"cpu": "4"},
            "env": {"A": "b c"},
        },
        {"name": "x", "command": "two"},
    ]
    assert main.main(["check", "HEAD~"]) == 0
    assert (
        capsys.readouterr().out
        == "run: one\n  resources: cpu=4\n  timeout: 1h 30m\n  env: A=b c\nx: two\n"
    )
    assert answer(capsys) == (0, {"runs": [], "errors": []})


def test_problems_have_a_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Path("msg").write_text(BAD)
    code, found = answer(capsys, "msg")
    assert code == 1
    [error] = found["errors"]
    assert (error["line"], error["hint"]) == (4, "did you mean Fyre-Timeout?")
    assert "Fyre-Tmieout" in error["message"]
    assert main.main(["check", "msg"]) == 1
    assert "message line 4: unknown trailer Fyre-Tmieout" in capsys.readouterr().err


def test_a_lookalike_is_an_error_and_shown_mended(capsys: pytest.CaptureFixture[str]) -> None:
    Path("msg").write_text("Train\n\nFyre-Run: true\n\nprose\n# Fyre-Run: a comment\n")
    code, found = answer(capsys, "msg")
    assert code == 1
    assert [error["line"] for error in found["errors"]] == [3]
    main.main(["check", "msg"])
    assert (
        "fixed, the message reads:\n\nTrain\n\nprose\n\nFyre-Run: true\n" in capsys.readouterr().err
    )


def test_stdin() -> None:
    words = [sys.executable, "-m", "fyre.cli.main", "check", "-", "--json"]
    done = subprocess.run(words, input=BAD, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["errors"][0]["line"] == 4
    done = subprocess.run(
        words[:-1], input=b"\xff\n\nFyre-Run: \xff \x1b[31m\n", capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout == b"run: ? \\x1b[31m\n"


def test_the_file_of_defaults_is_looked_at_too(
    repo: Path, git, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".fyre.yaml").write_text("timeout: 5m\n")
    git("add", ".fyre.yaml", cwd=repo)
    git("commit", "-q", "-m", "Defaults", cwd=repo)
    Path(".fyre.yaml").write_text("retries: 2\ntimeout: soon\n")
    code, found = answer(capsys)
    assert code == 1
    assert [(error["where"], error["line"]) for error in found["errors"]] == [(".fyre.yaml", 2)]
    assert answer(capsys, "main")[0] == 0  # that of the revision


def test_9_38_the_runs_of_head_begin_with_its_own_file(
    repo: Path, git, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".fyre.yaml").write_text("timeout: 5m\n")
    assert "HEAD has no .fyre.yaml" in answer(capsys)[1]["notes"][-1]
    git("add", ".fyre.yaml", cwd=repo)
    git("commit", "-q", "-m", "S\n\nFyre-Run: true", cwd=repo)
    Path(".fyre.yaml").write_text("timeout: 9h\n")
    code, found = answer(capsys)
    assert (code, found["runs"][0]["defaults"]) == (0, {"timeout": 300})
    assert "the work tree has another one" in found["notes"][0]
    Path(".fyre.yaml").unlink()
    assert answer(capsys)[1]["runs"][0]["defaults"] == {"timeout": 300}
    git("checkout", "-q", ".fyre.yaml", cwd=repo)
    assert "notes" not in answer(capsys)[1]


@pytest.mark.parametrize("what", ["nosuch", "", "-x", "HEAD~9"])
def test_what_is_not_there(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "--", what]) == 1
    assert "hint: " in capsys.readouterr().err


def test_an_unborn_branch_and_no_repository(tmp_path: Path, git, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["check"]) == 1
    assert "not a git repository" in capsys.readouterr().err
    git("init", "-q", ".", cwd=tmp_path)
    assert main.main(["check"]) == 1
    assert "commit first" in capsys.readouterr().err


def test_9_a1_an_encoding_that_no_receiver_reads(repo: Path, git, capsys) -> None:
    git("-c", "i18n.commitEncoding=utf-7", "commit", "-q", "--allow-empty", "-m", "Odd", cwd=repo)
    code, found = answer(capsys)
    assert (code, found["errors"][0]["message"]) == (1, "encoding 'utf-7' is not read: use UTF-8")
    assert "i18n.commitEncoding" in found["errors"][0]["hint"]


@pytest.mark.parametrize(
    "text",
    [
        "Both (#7)\n\n* First\n\nFyre-Run: a\n\n* Second\n\nFyre-Run: b\n",
        "Squashed commit of the following:\n\ncommit 1\n\n    Fyre-Run: a\n\nFyre-Run: b\n",
    ],
)
def test_9_b20_a_squash_keeps_only_the_last_blocks_runs(text: str, capsys) -> None:
    Path("msg").write_text(text)
    _, found = answer(capsys, "msg")
    assert [run["command"] for run in found["runs"]] == ["b"]
    (note,) = found["notes"]
    assert "keeps only the runs of its last block: 1 of 2" in note
    main.main(["check", "msg"])
    assert note in capsys.readouterr().err.replace("note: ", "")


def test_9_b20_a_branch_whose_commits_would_be_squashed(repo: Path, git, capsys) -> None:
    git("update-ref", "refs/remotes/origin/main", "HEAD", cwd=repo)
    git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main", cwd=repo)
    git("switch", "-q", "-c", "topic", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "One\n\nFyre-Run: a", cwd=repo)
    assert answer(capsys)[1].keys() == {"runs", "errors"}
    git("commit", "-q", "--allow-empty", "-m", "Two\n\nFyre-Run: b", cwd=repo)
    (note,) = answer(capsys)[1]["notes"]
    assert note.startswith("2 commits of this branch ask for runs: a squash merge keeps only")


@pytest.mark.parametrize(
    "words",
    ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]", "skip-checks: true"],
)
def test_9_b20_words_that_silence_the_action_and_no_receiver(words: str, capsys) -> None:
    trailer = f"\n{words}" if ":" in words else ""
    subject = "Train" if trailer else f"Train {words}"
    Path("msg").write_text(f"{subject}\n\nFyre-Run: a{trailer}\n")
    code, found = answer(capsys, "msg")
    (note,) = found["notes"]
    assert (code, note.startswith(f"'{words}' silences GitHub's workflows")) == (0, True)
    Path("msg").write_text(f"{subject}\n")
    assert "notes" not in answer(capsys, "msg")[1]


def test_9_b19_a_merge_queue_must_not_require_a_check_of_ours(repo: Path, capsys) -> None:
    Path("msg").write_text("Train\n\nFyre-Run: a\n")
    assert "notes" not in answer(capsys, "msg")[1]
    (repo / ".github/workflows").mkdir(parents=True)
    (repo / ".github/workflows/ci.yml").write_text("on:\n  merge_group:\n  push:\n")
    (note,) = answer(capsys, "msg")[1]["notes"]
    assert "no fyre/… check may be a required one" in note


def test_9_2_a_pull_request_from_a_fork_is_told_that_its_runs_will_wait(
    repo: Path, git, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Work\n\nFyre-Run: make", cwd=repo)
    waits = "this comes from a fork: after the merge its runs wait until somebody who may write"
    ends = {"head": {"repo": {"id": 2}}, "base": {"repo": {"id": 1}}}
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(repo / "event.json"))

    def notes(event: object) -> list[str]:
        (repo / "event.json").write_text(json.dumps(event))
        return [note for note in answer(capsys)[1].get("notes", []) if note.startswith(waits)]

    assert [
        len(notes({"pull_request": ends | {"head": head}}))
        for head in ({"repo": {"id": 2}}, {"repo": None}, {"repo": {"id": 1}})
    ] == [1, 1, 0]
    others = ({"ref": "refs/heads/main"}, [], {"pull_request": 7})
    assert [notes(event) for event in others] == [[], [], []]
    git("remote", "add", "upstream", "https://example.org/acme/lab.git", cwd=repo)
    assert len(notes({"ref": "refs/heads/main"})) == 1


def test_9_40_it_shows_what_the_file_of_the_repository_adds(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    (repo / ".fyre.yaml").write_text(
        "timeout: 2h\nretries: 0\nsetup: [uv sync, make]\nenv: {A: 1, B: 2}\n"
        "names: {train: {timeout: 8h}}\n"
    )
    message = repo / "message"
    message.write_text(
        "S\n\nFyre-Run: x\nFyre-Name: train\nFyre-Env: A=9\nFyre-Run: y\nFyre-Timeout: 5m\n"
    )
    assert main.main(["check", "message"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "train: x",
        "  env: A=9",
        "  timeout: 8h 00m (from .fyre.yaml)",
        "  retries: 0 (from .fyre.yaml)",
        "  env: B=2 (from .fyre.yaml)",
        "  setup: uv sync; make (from .fyre.yaml)",
        "run: y",
        "  timeout: 5m 00s",
        "  retries: 0 (from .fyre.yaml)",
        "  env: A=1 B=2 (from .fyre.yaml)",
        "  setup: uv sync; make (from .fyre.yaml)",
    ]
    assert main.main(["check", "--json", "message"]) == 0
    runs = json.loads(capfd.readouterr().out)["runs"]
    assert runs[1]["defaults"] == {
        "retries": 0,
        "env": {"A": "1", "B": "2"},
        "setup": ["uv sync", "make"],
    }


def test_a_credential_is_masked_wherever_it_stands(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "ghp_" + "a1B2" * 9
    Path("msg").write_text(f"Train\n\nFyre-Run: curl -H {token}\nFyre-Env: A={token}\n")
    (repo / ".fyre.yaml").write_text(f"env: {{B: {token}}}\n")
    assert main.main(["check", "msg"]) == 0
    shown = capsys.readouterr()
    assert token not in shown.out + shown.err
    assert shown.out.count("****") == 3
    assert "run holds what looks like a GitHub token, and commits are for ever" in shown.err


def test_9_36_a_slip_of_a_trailer_is_noted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "message").write_text("Train\n\n**Fyre-Run:** true\n")
    assert main.main(["check", str(tmp_path / "message")]) == 0
    assert "; write Fyre-Run: true" in capfd.readouterr().err


def test_9_36_what_is_no_message_is_told_as_what_it_is(
    repo: Path, git, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["check", "."]) == 1
    assert "error: '.' is a directory" in capfd.readouterr().err
    git("switch", "-q", "--orphan", "empty", cwd=repo)
    assert main.main(["check"]) == 1
    assert "error: there is no commit yet" in capfd.readouterr().err


def test_9_36_what_is_shown_fixed_has_no_hint_to_show_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "message").write_text("Train\n\nFyre-Run: x\n\nMore.\n")
    assert main.main(["check", str(tmp_path / "message")]) == 1
    err = capfd.readouterr().err
    assert "fixed, the message reads" in err
    assert "fyre check" not in err
