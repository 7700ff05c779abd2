"""What ``fyre commit`` and ``fyre run`` say of values, files and places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.message import credential_scan, request

Git = Callable[..., str]


@pytest.fixture(autouse=True)
def in_repo(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (("--env", "FOO"), "--env: 'FOO' is not NAME=value", "write it like --env EPOCHS=10"),
        (("--timeout", "5"), "--timeout: '5' has no unit", "write 5s, 5m or 5h"),
        (("--retries", "many"), "--retries: 'many' is not a number of", "write a whole number"),
        (("--resources", "gpu=1"), "--resources: 'gpu' is not a res", "write nvidia.com/gpu=1"),
        (("--name", "a b"), "--name: 'a b' is not a name", "use letters"),
    ],
)
@pytest.mark.parametrize("verb", [["commit", "--run", "x"], ["run", "-d"]])
def test_9_40_a_wrong_value_is_wrong_usage_in_the_words_of_options(
    capfd: pytest.CaptureFixture[str],
    verb: list[str],
    *,
    words: tuple[str, str],
    problem: str,
    hint: str,
) -> None:
    assert main.main([*verb, *words, *(["--", "x"] if verb[0] == "run" else [])]) == 2
    err = capfd.readouterr().err.splitlines()
    assert err[0].startswith(f"error: {problem}")
    assert err[1].startswith(f"hint: {hint}")


def test_an_empty_command_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["commit", "--run", ""]) == 2
    assert "hint: write what is to run, like --run 'python train.py'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("Fyre-GPU", "Fyre-Resources: nvidia.com/gpu=1"),
        ("Fyre-Gpus", "Fyre-Resources: nvidia.com/gpu=1"),
        ("Fyre-Memory", "Fyre-Resources: memory=16Gi"),
        ("Fyre-Cmd", "Fyre-Run: python train.py"),
        ("Fyre-Tmieout", "Fyre-Timeout"),
    ],
)
def test_9_40_a_made_up_key_is_answered_with_the_one_that_is_meant(key: str, says: str) -> None:
    (problem,) = request.parse_message(f"S\n\nFyre-Run: x\n{key}: 1").problems
    assert says in problem.hint


def test_in_a_subdirectory_it_says_where_the_command_starts(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "sub").mkdir()
    monkeypatch.chdir(repo / "sub")
    note = "note: the command starts at the top of the repository (to start it here: --workdir sub)"
    assert main.main(["commit", "--run", "true"]) == 0
    assert note in capfd.readouterr().err.splitlines()
    assert main.main(["commit", "--run", "true", "--workdir", "sub"]) == 0
    assert note not in capfd.readouterr().err
    assert main.main(["commit", "--help"]) == 0
    assert "without it a run\n                       starts at the top" in capfd.readouterr().out


def test_37_new_files_are_named_and_large_ones_are_not_committed_unasked(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "new.py").write_text("x\n")
    assert main.main(["commit", "--run", "true"]) == 0
    assert "(--autocommit takes them): new.py; the run will not have" in capfd.readouterr().err
    with (repo / "data.bin").open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    assert main.main(["commit", "--autocommit", "--run", "true"]) == 1
    err = capfd.readouterr().err
    assert "the new file data.bin is large (11.5 MB, 2 new files together 11.5 MB)" in err
    assert git("ls-files", cwd=repo) == "README"
    git("config", "fyre.large", "50m", cwd=repo)
    assert main.main(["commit", "--autocommit", "--run", "true"]) == 0
    assert git("ls-files", cwd=repo).split() == ["README", "data.bin", "new.py"]


@pytest.mark.parametrize("password", ["password", "swordfish", "s3cr3t", "hunter2", "abc"])
def test_a_password_in_a_url_is_a_credential(password: str) -> None:
    command = f"curl https://user:{password}@host/x"
    assert credential_scan.mask_credentials(command) == "curl https://user:****@host/x"
    assert main.main(["commit", "--run", command]) == 1
    assert not credential_scan.find_credentials("curl https://user:$PASSWORD@host/x")
    assert not credential_scan.find_credentials("curl https://user:<password>@host/x")


def test_9_36_a_path_with_a_line_feed_stays_on_its_line(
    repo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "a\nb").touch()
    assert main.main(["commit", "--run", "true", "--dry-run", "-a"]) == 0
    assert "a\\nb" in capfd.readouterr().err


def test_9_36_a_trailer_in_a_note_is_told_to_leave_it(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    git("remote", "add", "origin", str(repo), cwd=repo)
    assert main.main(["run", "-d", "-m", "x\nFyre-Run: y", "--", "true"]) == 1
    assert "hint: a note holds no trailers: leave the line out" in capfd.readouterr().err
