from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

import fyre
from fyre.cli import main
from fyre.errors import UserError

HEAVY = {
    "typer",
    "click",
    "rich",
    "github",
    "requests",
    "kubernetes",
    "git",
    "starlette",
    "uvicorn",
    "jinja2",
}


def loaded(*words: str, cwd: Path) -> set[str]:
    """The top-level modules that a command line loads."""
    code = (
        "import sys; from fyre.cli import main as cli; cli.main(sys.argv[1:]); "
        "print('\\nLOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.rpartition("LOADED ")[2].split()}


@pytest.mark.parametrize(
    "words", [["--help"], ["commit", "--help"], ["commit", "--run", "true"], ["nonsense"]]
)
def test_the_everyday_words_load_nothing_heavy(repo: Path, words: list[str]) -> None:
    assert not HEAVY & loaded(*words, cwd=repo)


def test_check_loads_nothing_but_typer(repo: Path) -> None:
    assert not (HEAVY - {"typer", "click", "rich"}) & loaded("check", cwd=repo)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["help"]):
        assert main.main(words) == 0
        out = capsys.readouterr().out
        assert all(f"  {verb} " in out and line in out for verb, line in main.VERBS.items())
        assert "fyre --batch -- CMD" in out  # 9_40
        assert "from fyre import Fyre" in out


def test_a_terminal_that_is_not_utf_8_is_shown_what_it_can_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main.main(["--help"]) == 0
    assert b"Usage: fyre VERB [OPTIONS] ?\n" in raw.getvalue()


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, None),
        ({"https_proxy": "http://p"}, "127.0.0.1,localhost,::1"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "corp, localhost"}, "corp,localhost,127.0.0.1,::1"),
        ({"all_proxy": "http://p", "no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_is_asked_for_this_machine(
    given: dict[str, str], then: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for key in (name, name.upper()):
            monkeypatch.setenv(key, given[key]) if key in given else monkeypatch.delenv(
                key, raising=False
            )
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for _ in range(2):
        assert main.main(["version"]) == 0
        assert os.environ.get("no_proxy") == then


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a device that is always full"
)
def test_a_full_disk_is_no_bug() -> None:
    words = [sys.executable, "-m", "fyre", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert (
        done.stderr
        == b"error: the output: No space left on device\nhint: make room, and try again\n"
    )


def test_every_module_that_is_a_verb_is_listed() -> None:
    there = {path.stem for path in (Path(fyre.__file__).parent / "cli" / "commands").glob("*.py")}
    verbs = {name for name in there if hasattr(import_module(f"fyre.cli.commands.{name}"), "main")}
    assert verbs <= set(main.VERBS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["comit"], "did you mean `fyre commit`?"),
        (["--nonsense"], "no such option: --nonsense"),
        (["check", "--nonsense"], "no such option: --nonsense"),
        (["check", "a", "b"], "see `fyre check --help`"),
        (["init", "--remove"], "--remove goes with --hooks"),
    ],
)
def test_wrong_usage_is_two_lines_and_code_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert [row.partition(":")[0] for row in err.splitlines()] == ["error", "hint"]


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def verb(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr("fyre.cli.commands.commit.main", verb)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no", hint="yes"), 1),
        (UserError("no", exit_code=2), 2),
        (KeyboardInterrupt(), 130),
        (SystemExit(7), 7),
        (SystemExit("words"), 1),
        (SystemExit(None), 0),
    ],
)
def test_what_a_verb_raises_is_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    raising(monkeypatch, error)
    assert main.main(["commit"]) == code


def test_a_bug_is_a_report_without_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(monkeypatch, RuntimeError("broken by PASSWORD=hunter2"))
    assert main.main(["commit", "--run", "x --token q8w7e6r5t4y3u2i1"]) == 3
    err = capsys.readouterr().err
    [path] = tmp_path.iterdir()
    assert str(path) in err
    text = path.read_text()
    assert f"fyre {fyre.__version__}, Python 3." in text
    assert "$ fyre commit --run" in text
    assert "Traceback" in text
    assert not any(secret in text + err for secret in ("hunter2", "q8w7e6r5t4y3u2i1"))


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from fyre.cli import main as cli; sys.exit(cli.main(['--help']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_colours_are_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    main.main(["nonsense"])
    assert "\x1b" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    main.main(["nonsense"])
    assert "\x1b[1;31merror:\x1b[0m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    main.main(["nonsense"])
    assert "\x1b" not in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"fyre {fyre.__version__} · python 3.")


def test_a_second_ctrl_c_is_no_traceback(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-m", "fyre", "run", "--local", "trap '' TERM; echo begun; sleep 1"],
        cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        while process.poll() is None:  # also while Python ends
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        assert (process.returncode, process.stderr.read()) == (130, "")


@pytest.mark.parametrize(
    ("words", "then"),
    [
        ("fyre r", ["run", "rerun"]),
        ("fyre logs --att", ["--attempt"]),
        ("fyre commit --re", ["--resources", "--retries"]),
    ],
)
def test_9_40_a_shell_completes_verbs_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, then: list[str]
) -> None:
    for name, value in {
        "_FYRE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }.items():
        monkeypatch.setenv(name, value)
    assert main.main([]) == 0
    assert capsys.readouterr().out.split() == then


def test_9_40_completion_is_installed_in_the_home(
    isolated_git: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert main.main(["--show-completion", "bash"]) == 0
    assert "_FYRE_COMPLETE=complete_bash" in capsys.readouterr().out
    assert main.main(["--install-completion", "bash"]) == 0
    script = isolated_git / ".bash_completions" / "fyre.sh"
    assert "_FYRE_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (isolated_git / ".bashrc").read_text()
