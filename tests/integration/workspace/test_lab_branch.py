from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fyre.cli import main, progress
from fyre.workspace import lab_branch
from tests.integration.workspace.conftest import LAB, Git
from tests.support.ci_marks import EASIER_CASE, easier_cases, long_case


def test_the_notebook_goes_on_page_by_page(repo: Path, far: Path, git: Git, run) -> None:
    for _ in range(2):
        assert run("-m", "An attempt") == 0
    head = git("rev-parse", "HEAD", cwd=repo)
    assert (
        git("log", "-1", "--format=%P", LAB, cwd=far)
        == f"{git('rev-parse', f'{LAB}^1', cwd=far)} {head}"
    )
    assert git("rev-list", "--count", "--first-parent", f"main..{LAB}", cwd=far) == "2"
    assert git("rev-parse", f"{LAB}^{{tree}}", cwd=far) == git("rev-parse", "main^{tree}", cwd=far)
    assert "\n\nAn attempt\n\nFyre-Run: true" in git("log", "-1", "--format=%B", LAB, cwd=far)


@long_case
def test_a_loop_that_starts_many(repo: Path, far: Path, git: Git) -> None:
    words = [sys.executable, "-m", "fyre", "run", "-d", "true"]
    many = [
        subprocess.Popen(words, cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    assert [(one.communicate()[1], one.returncode) for one in many] == [(b"", 0)] * 8
    assert git("rev-list", "--count", "--first-parent", f"main..{LAB}", cwd=far) == "8"


@long_case
def test_two_machines_at_once(repo: Path, far: Path, git: Git, tmp_path: Path) -> None:
    places = [repo, tmp_path / "other"]
    git("clone", "-q", f"file://{far}", str(places[1]), cwd=tmp_path)
    words = (
        "from fyre.cli import main as cli; import sys; "
        "sys.exit(max(cli.main(['run', '-d', f'echo {n}']) for n in range(4)))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", words], cwd=place, stdout=-1, stderr=-1)
        for place in places
    ]
    answers = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], answers
    shas = {sha for out, _ in answers for sha in out.decode().split()}
    assert set(git("rev-list", "--first-parent", f"main..{LAB}", cwd=far).split()) == shas
    assert len(shas) == 8


def test_a_second_machine_writes_on_the_same_notebook(
    repo: Path, far: Path, git: Git, tmp_path: Path, monkeypatch
) -> None:
    assert main.main(["run", "-d", "true"]) == 0
    git("clone", "-q", f"file://{far}", "other", cwd=tmp_path)
    git("config", "--add", "remote.origin.fetch", "^refs/heads/fyre/*", cwd=tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    assert main.main(["run", "-d", "true"]) == 0
    monkeypatch.chdir(repo)
    assert main.main(["run", "-d", "true"]) == 0  # what is remembered here is not the tip any more
    assert git("rev-list", "--count", "--first-parent", f"main..{LAB}", cwd=far) == "3"


def test_what_was_deleted_there_is_not_published_again(
    repo: Path, far: Path, git: Git, run, capfd
) -> None:
    (repo / "leak").write_text("deleted for a reason\n")
    run()
    (repo / "leak").unlink()
    last = git("rev-parse", LAB, cwd=far)
    git("update-ref", "-d", LAB, cwd=far)
    assert run() == 0
    assert (
        f"origin has no fyre/ada any more: a new one begins (it was {last})"
        in capfd.readouterr().err
    )
    assert git("log", "-1", "--format=%P", LAB, cwd=far) == git("rev-parse", "HEAD", cwd=repo)
    git("update-ref", LAB, f"{LAB}^", cwd=far)  # or cut back
    assert run() == 0
    assert git("rev-list", "--count", f"main..{LAB}", cwd=far) == "1"


def test_another_remote_of_that_name_begins_a_notebook(
    repo: Path, *, far: Path, git: Git, run, tmp_path: Path
) -> None:
    (repo / "inside").write_text("for the first one alone\n")
    run()
    (repo / "inside").unlink()
    git(
        "clone",
        "-q",
        "--bare",
        "--single-branch",
        "--branch=main",
        f"file://{far}",
        "public.git",
        cwd=tmp_path,
    )
    git("remote", "set-url", "origin", f"file://{tmp_path}/public.git", cwd=repo)
    assert run() == 0
    assert git("rev-list", "--count", f"main..{LAB}", cwd=tmp_path / "public.git") == "1"


def test_a_shallow_clone_stays_as_shallow(
    repo: Path, *, far: Path, git: Git, tmp_path: Path, monkeypatch, run
) -> None:
    assert main.main(["run", "-d", "true"]) == 0
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", str(number), cwd=repo)
    git("push", "-q", cwd=repo)
    other = tmp_path / "other"
    git("clone", "-q", "--depth=1", f"file://{far}", str(other), cwd=tmp_path)
    shallow = (other / ".git/shallow").read_bytes()
    monkeypatch.chdir(other)
    for _ in range(2):
        assert run(at=other) == 0
    assert (other / ".git/shallow").read_bytes() == shallow
    assert git("rev-list", "--count", "HEAD", cwd=other) == "1"
    assert git("rev-list", "--count", "--first-parent", LAB, cwd=far) == "4"
    assert git("rev-list", "--count", f"{LAB}^2", cwd=far) == "4"
    git("fsck", "--strict", cwd=far)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signs with ssh-keygen")
def test_snapshots_are_signed_where_commits_are(
    repo: Path, *, far: Path, git: Git, run, tmp_path: Path, capfd
) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True
    )
    for key, value in {
        "gpg.format": "ssh",
        "user.signingKey": str(tmp_path / "key"),
        "commit.gpgSign": "true",
    }.items():
        git("config", key, value, cwd=repo)
    assert run() == 0
    assert "BEGIN SSH SIGNATURE" in git("cat-file", "commit", LAB, cwd=far)
    git("config", "user.signingKey", str(tmp_path / "nosuch"), cwd=repo)
    assert run() == 1
    assert "nosuch" in capfd.readouterr().err


def test_a_gpg_that_fails_is_a_failure(repo: Path, far: Path, git: Git, run, capfd) -> None:
    git("config", "gpg.program", "false", cwd=repo)
    git("config", "commit.gpgSign", "true", cwd=repo)
    assert run() == 1
    assert "gpg failed to sign the data" in capfd.readouterr().err
    assert LAB not in git("for-each-ref", cwd=far)


def test_what_should_not_be_published_is_asked_about(
    repo: Path, far: Path, git: Git, run, capfd
) -> None:
    (repo / ".env").write_text("x\n")
    (repo / ".env.example").write_text("x\n")
    for name in ("id_rsa_work", "credentials-prod.json", "id_rsa.pub"):
        (repo / name).write_text("x\n")
    (repo / "notes").write_text("\n-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (repo / "big").write_bytes(b"\0" * 2_000_000)
    git("config", "fyre.large", "1m", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "Not pushed", cwd=repo)
    assert run() == 1
    err = capfd.readouterr().err
    assert "error: there is no terminal to ask whether to publish this on origin: " in err  # 9_36
    assert ".env looks secret" in err
    assert "id_rsa_work looks secret" in err
    assert "credentials-prod.json looks secret" in err
    assert "id_rsa.pub" not in err
    assert "notes holds a private key" in err
    assert "big is large (2.0 MB)" in err
    assert "Not pushed is not published yet" in err
    assert "hint: --yes" in err
    assert "example" not in err
    assert LAB not in git("for-each-ref", cwd=far)
    assert run("--yes") == 0
    for name in (".env", "notes", "big", "id_rsa_work", "credentials-prod.json"):
        (repo / name).unlink()
    assert run() == 0  # the commit is published by now: by the notebook


GITHUB_TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3


@pytest.mark.parametrize(
    "case",
    [
        ("creds.json", f'{{"github": "{GITHUB_TOKEN}"}}', "a GitHub token"),
        *easier_cases(
            ("creds.json", '{"api_key": "Zx81kQ93mmPw02Lr"}', "a value given to api_key"),
            ("run.sh", f"curl -H 'Authorization: Bearer {GITHUB_TOKEN}'\n", "a GitHub token"),
            ("app.py", f'TOKEN = "{GITHUB_TOKEN}"\n', "a GitHub token"),
            ("url.txt", "postgres://ada:s3cr3t-99@db/lab\n", "a password in a URL"),
        ),
        ("config.yaml", "db:\n  password: hunt3r-22\n", "a value given to password"),
        ("deep/er/settings.ini", "aws_secret = wJalrXUtnFEMIK7MDENGbPxRfi\n", "a value given to"),
        ("utf16.cfg", f"\ufefftoken={GITHUB_TOKEN}", "a GitHub token"),
    ],
)
def test_9_a8_a_new_file_with_a_credential_is_asked_about(
    repo: Path, far: Path, run, capfd, case: tuple[str, str, str]
) -> None:
    name, text, holds = case
    path = repo / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-16" if name == "utf16.cfg" else "utf-8")
    assert run() == 1
    err = capfd.readouterr().err
    assert f"{name} holds {holds}" in err
    assert "hunt3r" not in err
    assert GITHUB_TOKEN not in err
    assert run("--yes") == 0


def test_9_a8_what_is_no_credential_is_not_asked_about(repo: Path, far: Path, run, capfd) -> None:
    (repo / "app.py").write_text("password = read_password1(path2)\ntoken = load_token_v2(abc1)\n")
    (repo / "config.yaml").write_text("token: ${TOKEN}\npassword: changeme\nkey: batch_size\n")
    (repo / "data.csv").write_text("token,password\nabc123def456ghi789,pass123!\n")
    (repo / "binary").write_bytes(b"\0" + GITHUB_TOKEN.encode())
    assert run() == 0
    assert "holds" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code"), [(b"y\n", 0), (b"\n", 1), pytest.param(b"no\n", 1, marks=EASIER_CASE)]
)
def test_on_a_terminal_it_asks(repo: Path, far: Path, git: Git, answer: bytes, code: int) -> None:
    (repo / ".netrc").write_text("x\n")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    words = [sys.executable, "-m", "fyre", "run", "-d", "true"]
    done = subprocess.run(words, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, check=False)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == code
    assert ".netrc looks secret by its name" in said
    assert "Publish it? [y/N]" in said
    assert (LAB in git("for-each-ref", cwd=far)) is (code == 0)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_9_40_a_terminal_is_told_what_takes_long(
    repo: Path, *, far: Path, run, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    (repo / "data").write_bytes(bytes(2_000_000))
    (repo / "notes").write_text("new\n")
    monkeypatch.setattr(progress, "SLOW_SECONDS", 0.0)  # each step takes longer than that
    monkeypatch.setattr("fyre.cli.commands.run._SLOW_PUSH_BYTES", 1_000_000)
    read_end, write_end = pty.openpty() if is_terminal else os.pipe()
    said = b""
    with os.fdopen(write_end, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert run() == 0
        stderr.write("done")
        stderr.flush()
        while not said.endswith(b"done"):
            said += os.read(read_end, 65536)
    os.close(read_end)
    assert said.decode().split("\r\n") == [
        *(f"fyre: {step} …" for step in STEPS if is_terminal),
        "done",
    ]


STEPS = (
    "looking for what has changed",
    "looking for secrets and large files",
    "storing 2 changed files, 2.0 MB, in git",
    "pushing it to origin",
)


@pytest.mark.parametrize(
    ("own", "email", "name"),
    [
        ("", "Ada.Lovelace@example.org", "ada.lovelace"),
        ("", "12345+ada@users.noreply.github.com", "ada"),
        ("", "ada and~co..lock@x", "ada-and-co"),
        ("grace", "ada@example.org", "grace"),
        ("", "@x", ""),
    ],
)
def test_whose_notebook_it_is(
    repo: Path, far: Path, git: Git, run, capfd, *, own: str, email: str, name: str
):
    git("config", "user.email", email, cwd=repo)
    if own:
        git("config", "fyre.user", own, cwd=repo)
    assert run() == (0 if name else 1)
    if name:
        assert f"refs/heads/fyre/{name}" in git("for-each-ref", "--format=%(refname)", cwd=far)
    else:
        assert "git config fyre.user NAME" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ünal", "unal"),
        ("u\u0308nal", "unal"),
        ("ŁUKASZ.Ørsted", "lukasz.orsted"),
        ("Weiß", "weiss"),
        ("İpek+ısı", "ipek-isi"),
        ("ada李", "ada"),
        ("李", ""),
        ("Ada.Love_lace-2", "ada.love_lace-2"),
    ],
)
def test_9_40_letters_with_marks_are_kept_without_them(text: str, name: str) -> None:
    assert lab_branch.sanitise_user(text) == name


def test_no_name_makes_a_bad_ref() -> None:
    for text in ("-a", ".a", "a.", "a.lock", "a..b", "a b", "ä", "..", "a/b", "A@{1}"):
        name = lab_branch.sanitise_user(text)
        assert (
            not name
            or subprocess.run(
                ["git", "check-ref-format", f"refs/heads/fyre/{name}"], check=False
            ).returncode
            == 0
        )


def test_hooks_see_the_push_and_may_refuse_it(repo: Path, far: Path, git: Git, run, capfd) -> None:
    hook = repo / ".git/hooks/pre-push"
    hook.write_text('#!/bin/sh\ncat >> "$(git rev-parse --git-common-dir)/seen"\necho told >&2\n')
    hook.chmod(0o755)
    (repo / ".git/seen").touch()
    assert run() == 0
    assert (repo / ".git/seen").read_text().split()[2] == LAB
    assert "told" in capfd.readouterr().err
    hook.write_text("#!/bin/sh\necho not like this >&2\nexit 1\n")
    assert run() == 1
    err = capfd.readouterr().err
    assert err.count("not like this") == 1
    assert "hint: git push origin" in err


def test_a_remote_that_refuses_says_why(repo: Path, far: Path, git: Git, run, capfd) -> None:
    hook = far / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho closed for today\nexit 1\n")
    hook.chmod(0o755)
    assert run() == 1
    assert "pre-receive hook declined" in capfd.readouterr().err


def test_9_40_a_wrong_remote_is_not_told_to_push_again(
    repo: Path, far: Path, git: Git, run, capfd
) -> None:
    shutil.move(far, far.parent / "gone")
    assert run() == 1
    err = capfd.readouterr().err
    assert "origin can't be reached: " in err
    assert "not appear to be a git repository" in err
    assert "is that the right address? git remote set-url origin URL" in err
    assert "git push" not in err


class Unauthorized(BaseHTTPRequestHandler):
    """Wants a password for everything."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_9_40_a_remote_that_wants_a_password_has_the_right_address(  # noqa: PLR0917 - fixtures
    repo: Path, far: Path, git: Git, run, capfd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Unauthorized) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/acme/lab.git"
        git("remote", "set-url", "origin", url, cwd=repo)
        assert run() == 1
        server.shutdown()
    err = capfd.readouterr().err
    assert "could not read Username" in err
    assert "can't be reached" not in err
    assert "set-url" not in err


def test_only_the_notebook_is_pushed_and_fetched(repo: Path, far: Path, git: Git, run) -> None:
    git("config", "push.followTags", "true", cwd=repo)
    git("config", "remote.origin.mirror", "true", cwd=repo)
    git("tag", "-a", "-m", "mine", "mine", cwd=repo)
    git("branch", "private", cwd=repo)
    assert run() == 0
    assert git("for-each-ref", "--format=%(refname)", cwd=far).split() == [LAB, "refs/heads/main"]
    assert (
        git("for-each-ref", "--format=%(refname)", "refs/fyre", cwd=repo)
        == "refs/fyre/lab/origin/ada"
    )
