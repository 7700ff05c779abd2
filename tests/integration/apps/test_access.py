"""Who may use ``fyre up``: the user who runs it, and whoever has the token."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.responses import PlainTextResponse

from fyre.apps.up import FyreUp
from fyre.cli import main
from fyre.cli.commands import up as up_command
from fyre.local_forge.access_gate import AccessGate
from tests.conftest import git, one_at_a_time
from tests.support.waiting import until

NOBODY = 65534
PAGES = ("/", "/runs.json", "/api/rate_limit", "/runs/b.git/info/refs?service=git-receive-pack")


def token_of(up: FyreUp) -> str:
    return up.access_token_file.read_text().strip()


def codes(up: FyreUp, **headers: str) -> set[int]:
    """Return the codes with which all the doors answer."""
    return {requests.get(up.url + path, headers=headers).status_code for path in PAGES}


def test_9_7_the_same_user_needs_nothing_and_the_token_is_nobody_else_s_to_read(
    up: FyreUp, repo: Path
) -> None:
    git("push", "-q", f"{up.url}/ada/lab.git", "main", cwd=repo)
    assert codes(up) == {200}
    assert codes(up, Origin=up.url, **{"Sec-Fetch-Site": "same-origin"}) == {200}
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert codes(up, **followed) == {200}
    for path in up.local_forge.root.rglob("*"):
        if path.is_file():
            private = (path, *path.relative_to(up.local_forge.root).parents)
            modes = [(up.local_forge.root / one).stat().st_mode & 0o77 for one in private[:-1]]
            assert 0 in modes, path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Context", "/user/ada/proxy/8020"),
        ("X-ProxyContextPath", "/user/ada/proxy/8020"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Host", "evil.example"),
    ],
)
def test_9_7_a_request_by_a_detour_needs_the_token(up: FyreUp, name: str, value: str) -> None:
    headers = {name: value}
    assert codes(up, **headers) == {400 if name == "Host" else 401}
    assert codes(up, **headers, Authorization="token user:ada") & {200} == set()
    assert codes(up, **headers, Authorization=f"Bearer {token_of(up)}") == {200}
    basic = requests.get(up.url, headers=headers, auth=("ada", token_of(up))).status_code
    # A browser sends a password that it knows for every page.
    assert (basic == 200) == (name not in ("Origin", "Sec-Fetch-Site"))
    assert requests.post(f"{up.url}/webhook", headers=headers).text != ""


@contextmanager
def clone_of_nobody(repo: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Yield a function that runs git as another user, in a clone of that user's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        git("clone", "-q", "--no-hardlinks", str(repo), f"{folder}/clone", cwd=repo)
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
        }

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                words, cwd=f"{folder}/clone", env=env, user=NOBODY, group=NOBODY,
                extra_groups=[], capture_output=True, text=True, check=False,
            )  # fmt: skip

        yield run


@pytest.mark.skipif("os.geteuid() != 0", reason="only root can run a process of another user")
def test_9_7_another_user_of_the_machine_pushes_with_the_token_only(up: FyreUp, repo: Path) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Run\n\nFyre-Run: id", cwd=repo)
    with clone_of_nobody(repo) as run:
        url = f"{up.url}/ada/lab.git"
        claim = "http.extraHeader=Authorization: token user:ada"
        for options in ((), ("-c", claim)):
            refused = run("git", *options, "push", url, "main")
            assert refused.returncode != 0
        assert "could not read Username" in run("git", "push", url, "main").stderr
        assert not up.local_forge.repository_git_dir("ada/lab").exists()
        assert run("cat", str(up.access_token_file)).returncode != 0
        assert run("cat", str(up.local_forge.root / "forge.db")).returncode != 0
        with_token = url.replace("://", f"://eve:{token_of(up)}@")
        pushed = run("git", "push", with_token, "main")
        assert pushed.returncode == 0, pushed.stderr
    until(lambda: len(requests.get(f"{up.url}/runs.json").json()) == 1)
    assert requests.get(f"{up.url}/runs.json").json()[0]["actor"] == "eve"


def test_9_7_a_host_of_a_network_demands_the_token_from_everybody(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Git, the verbs and the pages take it; Fyre's own requests still come through."""
    with one_at_a_time() as start:
        up = start(lambda: FyreUp(tmp_path / "state", "0.0.0.0", 0))
        up_command._say_who_needs_the_token(up)
        said = capfd.readouterr().err.splitlines()
        assert [str(up.access_token_file) in one for one in said if "everybody" in one] == [True]
        up.url = up.url.replace("0.0.0.0", "127.0.0.1")
        assert codes(up) == codes(up, Authorization="token user:ada") == {401}
        assert requests.get(up.url).headers["WWW-Authenticate"].startswith("Basic ")
        token = token_of(up)
        assert requests.get(up.url, auth=("", token)).status_code == 200
        remote = f"{up.url}/ada/lab.git"
        git("remote", "add", "origin", remote.replace("://", f"://ada:{token}@"), cwd=repo)
        git("commit", "-q", "--allow-empty", "-m", "Run\n\nFyre-Run: echo it ran", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        git("remote", "set-url", "origin", remote, cwd=repo)
        monkeypatch.chdir(repo)
        monkeypatch.delenv("FYRE_TOKEN", raising=False)
        assert main.main(["status"]) != 0
        monkeypatch.setenv("FYRE_TOKEN", token)
        assert main.main(["watch", "--exit-status"]) == 0
        assert main.main(["logs"]) == 0
        assert "it ran" in capfd.readouterr().out


@pytest.mark.parametrize("facts", [None, {"descriptor": 0}, {"descriptor": 0, "uid": None}])
def test_9_7_a_peer_that_is_not_known_needs_the_token(facts: dict[str, Any] | None) -> None:
    gate = AccessGate(
        PlainTextResponse("in\n"), ("secret", ""), {"localhost"}, "facts", lambda _: None
    )
    sent: list[dict[str, Any]] = []

    def answer(authorization: bytes) -> int:
        scope = {
            "type": "http", "method": "GET", "path": "/", "extensions": {"facts": facts},
            "headers": [(b"host", b"localhost:8020"), (b"authorization", authorization)],
        }  # fmt: skip

        async def send(message: Any) -> None:
            sent.append(message)

        sent.clear()
        asyncio.run(gate(scope, None, send))  # type: ignore[arg-type]
        return sent[0]["status"]

    assert [answer(b"token secret"), answer(b"token "), answer(b"Basic Og==")] == [200, 401, 401]


def test_9_7_an_empty_file_is_no_token(tmp_path: Path) -> None:
    """As a full disk leaves it."""
    from fyre.local_forge import auth

    path = tmp_path / "token"
    path.touch(mode=0o644)
    secret = auth.load_or_create_secret(path)
    assert len(secret) == 40
    assert (auth.load_or_create_secret(path), path.stat().st_mode & 0o777) == (secret, 0o600)
