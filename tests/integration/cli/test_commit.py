from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.message import fyre_ids, request
from fyre.message.request import RunRequest

Git = Callable[..., str]


@pytest.fixture(autouse=True)
def in_repo(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)


@pytest.fixture
def read(repo: Path, git: Git) -> Callable[[], RunRequest]:
    return lambda: request.parse_message(git("log", "-1", "--format=%B", cwd=repo))


def test_it_writes_a_trailer_that_runs(
    repo: Path, git: Git, read, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["commit", "--run", 'echo "a  b" | cat && $(true) #x']) == 0
    found = read()
    assert [spec.command for spec in found.runs] == ['echo "a  b" | cat && $(true) #x']
    assert fyre_ids.is_valid_fyre_id(found.fyre_id)
    assert git("log", "-1", "--format=%s", cwd=repo) == 'Run: echo "a b" | cat && $(true) #x'
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        git("rev-parse", "HEAD", cwd=repo),
        'run: echo "a  b" | cat && $(true) #x',
    ]
    assert "[main " in err  # git's own words, on stderr


def test_options_refine_the_run_they_follow(read) -> None:
    one = ["--run", "one", "--name", "a", "--timeout=2h", "--env", "A=1", "--env", "B=2"]
    two = [
        "--run=two",
        "--resources",
        "cpu=4 memory=1Gi",
        "--secret",
        "s",
        "--retries",
        "2",
        "--workdir",
        "d",
    ]
    assert main.main(["commit", *one, *two]) == 0
    first, second = read().runs
    assert (first.command, first.name, first.timeout, first.env) == (
        "one",
        "a",
        7200,
        (("A", "1"), ("B", "2")),
    )
    assert second.resources == (("cpu", "4"), ("memory", "1Gi"))
    assert (second.secrets, second.retries, second.workdir) == (("s",), 2, "d")


def test_identical_runs_are_all_kept(read) -> None:
    assert main.main(["commit", "--run", "true", "--run", "true"]) == 0
    assert [spec.command for spec in read().runs] == ["true", "true"]
    assert read().run_names == ("run", "run-2")


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["--name", "x", "--run", "true"], 2, "before any --run"),
        ([], 2, "nothing to run"),
        (["-m", "hello"], 2, "nothing to run"),
        (["--run"], 2, "needs a value"),
        (["--run", "a\nb"], 1, "several lines"),
        (["--run", " "], 2, "empty"),
        (["--run", "x", "--timeout", "5"], 2, "no unit"),
        (["--run", "x", "--name", "a", "--run", "y", "--name", "A"], 1, "ignores case"),
        (["--run", "x", "-m", "a", "-F", "b"], 2, "only one of"),
        (["--run", "x", "-F", "nosuch"], 1, "can't read nosuch"),
        (["--run", "x", "-m", "Subject\n\nFyre-Run: y\nprose"], 1, "would not run"),
        (["--run", "x", "--push"], 1, "this repository has no remote"),
        (["--run", "PASSWORD=hunter2 x"], 1, "looks like"),
        (["--run", "x", "--env", "API_KEY=a8f5f167f44f4964e6c998de"], 1, "looks like"),
        (["--run", "x", "--no-such-option"], 2, "git commit does not take these words"),
    ],
)
def test_what_can_not_be_meant_commits_nothing(
    repo: Path,
    git: Git,
    capfd: pytest.CaptureFixture[str],
    *,
    argv: list[str],
    code: int,
    says: str,
) -> None:
    before = git("rev-parse", "HEAD", cwd=repo)
    assert main.main(["commit", *argv]) == code
    out, err = capfd.readouterr()
    assert says in err
    assert "hint: " in err
    assert out == ""
    assert "hunter2" not in err
    assert git("rev-parse", "HEAD", cwd=repo) == before


def test_a_credential_can_be_insisted_upon(read) -> None:
    assert main.main(["commit", "--run", "PASSWORD=hunter2 x", "--allow-credential"]) == 0
    assert read().runs[0].command == "PASSWORD=hunter2 x"


def test_messages_are_joined_as_git_does(repo: Path, git: Git) -> None:
    assert main.main(["commit", "-m", "#1 one", "-mtwo", "--run", "true", "-s"]) == 0
    text = git("log", "-1", "--format=%B", cwd=repo)
    assert text.startswith("#1 one\n\ntwo\n\nFyre-Run: true\nFyre-Id: ")
    assert "\nSigned-off-by: Ada" in text
    assert request.parse_message(text).problems == ()


def test_a_message_from_a_file_and_words_after_two_dashes(repo: Path, git: Git, read) -> None:
    (repo / "msg").write_text(
        "From a file\n\nFyre-Run: by hand\nFyre-Id: " + fyre_ids.new_fyre_id() + "\n"
    )
    old = request.parse_message((repo / "msg").read_text()).fyre_id
    assert (
        main.main(["commit", "--run", "true", "--", "-F", "msg", "--author=B <b@example.org>"]) == 0
    )
    assert [spec.command for spec in read().runs] == ["by hand", "true"]
    assert read().fyre_id not in ("", old)
    assert git("log", "-1", "--format=%s %an", cwd=repo) == "From a file B"


def test_changed_files_are_refused_unless_taken_along(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "README").write_text("changed\n")
    (repo / "new").write_text("new\n")
    assert main.main(["commit", "--run", "true"]) == 1
    assert "not in the commit: README" in capfd.readouterr().err
    assert main.main(["commit", "-am", "All", "--run", "true"]) == 0
    assert "stay out of the commit (--autocommit takes them): new" in capfd.readouterr().err
    assert git("show", "--name-only", "--format=", cwd=repo) == "README"
    (repo / "README").write_text("again\n")
    assert main.main(["commit", "--autocommit", "--run", "true"]) == 0
    assert git("show", "--name-only", "--format=", cwd=repo) == "README\nnew"
    assert git("status", "--porcelain", cwd=repo) == ""


def test_pathspecs_name_what_is_committed(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / "README").write_text("changed\n")
    assert main.main(["commit", "--run", "true", "README"]) == 0
    assert git("show", "--name-only", "--format=", cwd=repo) == "README"
    (repo / "README").write_text("again\n")
    (repo / "a").write_text("a\n")
    git("add", "a", cwd=repo)
    assert main.main(["commit", "--run", "true", "--", "--", "a"]) == 1
    assert "not in the commit: README" in capfd.readouterr().err
    assert main.main(["commit", "--run", "true", "--allow-dirty", "--", "--", "a"]) == 0
    assert git("show", "--name-only", "--format=", cwd=repo) == "a"


def test_a_dry_run_changes_nothing(repo: Path, git: Git, capfd: pytest.CaptureFixture[str]) -> None:
    before = git("rev-parse", "HEAD", cwd=repo)
    (repo / "new").write_text("new\n")
    assert main.main(["commit", "--dry-run", "--autocommit", "--run", "make test"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("Run: make test\n\nFyre-Run: make test\nFyre-Id: ")
    assert out.endswith("\nrun: make test\n")
    assert git("rev-parse", "HEAD", cwd=repo) == before
    assert git("status", "--porcelain", cwd=repo) == "?? new"


def test_json(repo: Path, git: Git, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["commit", "--json", "--run", "true", "--name", "x"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["sha"] == git("rev-parse", "HEAD", cwd=repo)
    assert answer["runs"] == [{"name": "x", "command": "true"}]


def test_amending_replaces_the_runs_and_keeps_the_rest(repo: Path, git: Git, read) -> None:
    main.main(["commit", "-m", "Subject\n\nBody.\n\nReviewed-by: B", "--run", "tpyo"])
    first = read().fyre_id
    assert main.main(["commit", "--amend", "--run", "typo"]) == 0
    text = git("log", "-1", "--format=%B", cwd=repo)
    assert text.startswith("Subject\n\nBody.\n\nReviewed-by: B\nFyre-Run: typo\nFyre-Id: ")
    assert read().fyre_id != first
    assert main.main(["commit", "--amend"]) == 0  # the same runs, asked anew
    assert [spec.command for spec in read().runs] == ["typo"]
    assert git("rev-list", "--count", "HEAD", cwd=repo) == "2"


def test_a_reused_message_keeps_its_author_and_date(repo: Path, git: Git, read) -> None:
    git(
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "Theirs",
        "--author=B <b@x>",
        "--date=2020-01-02T03:04:05+0200",
        cwd=repo,
    )
    theirs = git("log", "-1", "--format=%an %ad", cwd=repo)
    assert main.main(["commit", "-C", "HEAD", "--run", "true"]) == 0
    assert git("log", "-1", "--format=%an %ad", cwd=repo) == theirs
    assert git("log", "-1", "--format=%s", cwd=repo) == "Theirs"
    assert len(read().runs) == 1


def test_a_fixup_can_run_too(repo: Path, git: Git, read) -> None:
    assert main.main(["commit", "--fixup=HEAD", "--run", "true", "--run", "true"]) == 0
    assert git("log", "-1", "--format=%s", cwd=repo) == "fixup! First"
    assert [spec.command for spec in read().runs] == ["true", "true"]


def test_a_merge_that_waits_keeps_its_message(repo: Path, git: Git, read) -> None:
    git("switch", "-q", "-c", "side", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "Side", cwd=repo)
    git("switch", "-q", "main", cwd=repo)
    git("merge", "-q", "--no-ff", "--no-commit", "side", cwd=repo)
    assert main.main(["commit", "--run", "true"]) == 0
    assert git("log", "-1", "--format=%s", cwd=repo) == "Merge branch 'side'"
    assert len(git("log", "-1", "--format=%P", cwd=repo).split()) == 2
    assert len(read().runs) == 1


def test_an_empty_message_is_as_none(read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else git would take the trailers for the subject, and the commit would never run."""
    (tmp_path / "empty").write_text("\n\n")
    for given in (["-m", ""], ["-F", str(tmp_path / "empty")]):
        assert main.main(["commit", "--run", "true", *given]) == 0
        assert [spec.command for spec in read().runs] == ["true"]


def test_autocommit_takes_no_repository_inside_this_one(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would be a submodule that nobody can fetch: `git add` only warns of it."""
    git("clone", "-q", str(repo), str(repo / "lib" / "nested"), cwd=repo)
    before = git("rev-parse", "HEAD", cwd=repo)
    for more in ([], ["--allow-dirty"]):  # which leaves out what changed, and takes nothing
        assert main.main(["commit", "--run", "true", "--autocommit", *more]) == 1
        assert "would come without its content: lib/nested" in capfd.readouterr().err
    assert git("rev-parse", "HEAD", cwd=repo) == before
    assert git("ls-files", cwd=repo) == "README"


def test_an_option_that_git_has_not_either_is_wrong_usage(
    repo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["commit", "--run", "true", "--amend", "--tiemout=2h"]) == 2
    assert capfd.readouterr().err == (  # 9_36: not below all the options of git
        "error: git commit does not take these words\n"
        "hint: for --tiemout, did you mean --timeout?\n"
    )


def test_a_place_that_takes_no_message_is_no_bug(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    (repo / ".git/FYRE_EDITMSG").mkdir()  # as a read-only or full disk
    before = git("rev-parse", "HEAD", cwd=repo)
    assert main.main(["commit", "--run", "true"]) == 1
    assert "FYRE_EDITMSG: Is a directory" in capfd.readouterr().err
    assert git("rev-parse", "HEAD", cwd=repo) == before


def test_conflicts_are_named(repo: Path, git: Git, capfd: pytest.CaptureFixture[str]) -> None:
    for branch in ("main", "side"):
        git(
            "switch",
            "-q",
            *(["-c"] if branch == "side" else []),
            branch,
            *(["HEAD~"] if branch == "side" else []),
            cwd=repo,
        )
        (repo / "README").write_text(f"{branch}\n")
        git("commit", "-q", "-am", branch, cwd=repo)
    subprocess.run(["git", "merge", "-q", "main"], check=False, capture_output=True)
    assert main.main(["commit", "-a", "--run", "true"]) == 1
    assert "not merged yet: README" in capfd.readouterr().err


def test_the_first_commit_of_a_branch(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch, read
) -> None:
    git("init", "-q", "fresh", cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "fresh")
    assert main.main(["commit", "--run", "true"]) == 0
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "fresh") == "1"


@pytest.mark.parametrize(
    "verb", ["commit --run x", "run -- x", "check", "status", "log", "watch", "init", "doctor"]
)
def test_a_repository_of_another_owner_is_told_gits_own_mend(
    repo: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a volume that a pod is given: `git init` or another directory would mend nothing."""
    monkeypatch.chdir(repo)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert main.main(verb.split()) == 1
    said = "".join(capfd.readouterr())
    assert "dubious ownership" in said
    assert f"git config --global --add safe.directory {repo}" in said


@pytest.mark.parametrize(
    ("bare", "says"), [(True, "no work tree"), (False, "not a git repository")]
)
def test_no_place_to_commit(
    tmp_path: Path,
    git: Git,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    bare: bool,
    says: str,
) -> None:
    (tmp_path / "there").mkdir()
    if bare:
        git("init", "-q", "--bare", ".", cwd=tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert main.main(["commit", "--run", "true"]) == 1
    assert says in capfd.readouterr().err


def test_nobody_is_nobody(repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("config", "user.useConfigOnly", "true", cwd=repo)
    assert main.main(["commit", "--run", "true"]) == 1
    err = capfd.readouterr().err
    assert "Please tell me who you are" in err
    assert "the message is kept: git commit --allow-empty -e -F " in err


def test_a_hook_that_says_no_loses_nothing(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = repo / ".git/hooks/commit-msg"
    hook.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    hook.chmod(0o755)
    assert main.main(["commit", "-m", "Mine", "--run", "true"]) == 1
    kept = capfd.readouterr().err.rpartition("-F ")[2].strip()
    assert Path(kept).read_text().startswith("Mine\n\nFyre-Run: true\n")
    hook.unlink()
    git("commit", "--allow-empty", "-F", kept, cwd=repo)
    assert git("log", "-1", "--format=%s", cwd=repo) == "Mine"


def test_a_hook_that_changes_what_is_asked_is_noticed(
    repo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = repo / ".git/hooks/commit-msg"
    hook.write_text('#!/bin/sh\nsed -i "s/^Fyre-Run: .*/Fyre-Run: evil/" "$1"\n')
    hook.chmod(0o755)
    assert main.main(["commit", "--run", "true"]) == 1
    assert "a hook changed what it asks for" in capfd.readouterr().err


def test_configuration_of_trailers_and_encodings_changes_nothing(
    repo: Path, git: Git, read
) -> None:
    for key, value in {
        "trailer.separators": "=",
        "trailer.where": "start",
        "trailer.ifexists": "replace",
        "i18n.commitEncoding": "ISO-8859-1",
        "commit.cleanup": "strip",
        "log.showSignature": "true",
    }.items():
        git("config", key, value, cwd=repo)
    assert main.main(["commit", "--run", "echo ü ✓", "--run", "echo ü ✓"]) == 0
    assert [spec.command for spec in read().runs] == ["echo ü ✓"] * 2


def test_push(repo: Path, git: Git, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    git("init", "-q", "--bare", "far.git", cwd=tmp_path)
    git("remote", "add", "origin", str(tmp_path / "far.git"), cwd=repo)
    assert main.main(["commit", "--run", "true", "--push"]) == 0
    assert git("rev-parse", "main", cwd=tmp_path / "far.git") == git("rev-parse", "HEAD", cwd=repo)
    assert git("rev-parse", "--abbrev-ref", "main@{upstream}", cwd=repo) == "origin/main"
    assert main.main(["commit", "--run", "true", "--push"]) == 0
    assert git("rev-parse", "main", cwd=tmp_path / "far.git") == git("rev-parse", "HEAD", cwd=repo)
    (tmp_path / "far.git").rename(tmp_path / "gone.git")
    assert main.main(["commit", "--run", "true", "--push"]) == 1
    err = capfd.readouterr().err
    assert "the push failed: origin can't be reached: " in err  # 9_40
    again = "git push, once its server runs and the address is right (git remote"
    assert f"hint: push it again with: {again}" in err
    assert git("rev-list", "--count", "HEAD", cwd=repo) == "4"  # the commit is kept


def test_a_new_branch_is_pushed_where_git_push_pushes(repo: Path, git: Git, tmp_path: Path) -> None:
    """As who works on a fork has it: upstream is not written to."""
    for name in ("origin", "fork"):
        git("init", "-q", "--bare", f"{name}.git", cwd=tmp_path)
        git("remote", "add", name, str(tmp_path / f"{name}.git"), cwd=repo)
    git("config", "remote.pushDefault", "fork", cwd=repo)
    assert main.main(["commit", "--run", "true", "--push"]) == 0
    assert git("rev-parse", "main", cwd=tmp_path / "fork.git") == git("rev-parse", "HEAD", cwd=repo)
    assert git("for-each-ref", cwd=tmp_path / "origin.git") == ""


def test_where_to_push_is_asked_with_words_that_help(
    repo: Path, git: Git, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        git("init", "-q", "--bare", f"{name}.git", cwd=tmp_path)
        git("remote", "add", name, str(tmp_path / f"{name}.git"), cwd=repo)
    assert main.main(["commit", "--run", "true", "--push"]) == 1
    hint = capfd.readouterr().err.partition("hint: git ")[2].split()
    git(*hint, cwd=repo)
    assert main.main(["commit", "--run", "true", "--push"]) == 0


def test_a_detached_head_commits_and_does_not_push(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    git("checkout", "-q", "--detach", cwd=repo)
    assert main.main(["commit", "--run", "true", "--push"]) == 1
    assert "HEAD is detached" in capfd.readouterr().err
    assert main.main(["commit", "--run", "true"]) == 0


def test_a_dirty_submodule_is_refused_even_with_a(
    repo: Path, git: Git, tmp_path: Path, capfd
) -> None:
    git("clone", "-q", str(repo), "sub", cwd=tmp_path)
    git(
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "sub"),
        "vendor",
        cwd=repo,
    )
    git("commit", "-q", "-m", "Vendor", cwd=repo)
    (repo / "vendor/README").write_text("changed\n")
    assert main.main(["commit", "-a", "--run", "true"]) == 1
    assert "a submodule has changes of its own: vendor" in capfd.readouterr().err


def test_names_with_spaces_and_renames_are_read(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str]
) -> None:
    git("mv", "README", "a b", cwd=repo)
    (repo / "a b").write_text("hello\nmore\n")
    assert main.main(["commit", "--run", "true"]) == 1
    assert "not in the commit: a b" in capfd.readouterr().err


def test_it_starts_four_git_processes_and_loads_nothing_heavy(repo: Path, tmp_path: Path) -> None:
    log = tmp_path / "trace"
    code = (
        "import sys; from fyre.cli import main as cli; c = cli.main(['commit', '--run', 'true']); "
        "print(*sys.modules); sys.exit(c)"
    )
    env = {**os.environ, "GIT_TRACE2_EVENT": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    heavy = {
        "typer",
        "click",
        "github",
        "kubernetes",
        "git",
        "starlette",
        "yaml",
        "jsonschema",
        "json",
        "difflib",
    }
    assert not heavy & {name.partition(".")[0] for name in done.stdout.split()}
    starts = [json.loads(row) for row in log.read_text().splitlines() if '"event":"start"' in row]
    ours = [row["argv"] for row in starts if "/" not in row["sid"]]
    verbs = ("rev-parse", "status", "commit", "log")
    assert [next(word for word in argv[1:] if word in verbs) for argv in ours] == [
        "rev-parse", "status", "commit", "log"
    ]  # fmt: skip


def test_9_a8_autocommit_takes_no_credential_along(repo: Path, git, capfd) -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    (repo / "creds.json").write_text(f'{{"token": "{token}"}}')
    before = git("rev-parse", "HEAD", cwd=repo)
    for words in (["commit", "--autocommit", "--run", "x"], ["--batch", "--autocommit", "--", "x"]):
        assert main.main(words) == 1
        err = capfd.readouterr().err
        assert "the new file creds.json holds a GitHub token" in err
        assert token not in err
    assert git("rev-parse", "HEAD", cwd=repo) == before
    assert main.main(["commit", "--autocommit", "--allow-credential", "--run", "true"]) == 0
