"""Who may use ``fyre up``: the user who runs it, and whoever has the token."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
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
from fyre.errors import UserError
from fyre.local_forge import auth
from fyre.local_forge.access_gate import AccessGate
from fyre.server.http_server import uvicorn_config
from tests.conftest import git, one_at_a_time
from tests.support.waiting import until

NOBODY = 65534
PAGES = ("/", "/runs.json", "/api/rate_limit", "/runs/b.git/info/refs?service=git-receive-pack")


FACTS = {"descriptor": 0, "inode": 0}


def through_gate(
    find_uid: Callable[[int, int], int | None] = lambda *_: None, **scope: Any
) -> list[Any]:
    """Return what somebody is sent whose connection the system does not know."""
    app = PlainTextResponse("in\n")
    gate = AccessGate(app, ("secret", ""), {"localhost"}, "facts", find_uid)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(gate(scope, None, send))  # type: ignore[arg-type]
    return sent


def token_of(up: FyreUp) -> str:
    return up.access_token_file.read_text().strip()


def codes(up: FyreUp, **headers: str) -> set[int]:
    """Return the codes with which all the doors answer."""
    return {requests.get(up.url + path, headers=headers).status_code for path in PAGES}


def test_9_7_the_same_user_needs_nothing(up: FyreUp, repo: Path) -> None:
    git("push", "-q", f"{up.url}/ada/lab.git", "main", cwd=repo)
    assert codes(up) == {200}
    assert codes(up, Origin=up.url, **{"Sec-Fetch-Site": "same-origin"}) == {200}


def test_9_7_a_link_of_another_site_leads_to_pages_and_changes_nothing(up: FyreUp) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    got = [requests.get(up.url + path, headers=followed).status_code for path in PAGES]
    assert got == [200, 200, 200, 401]  # the last would make a repository
    assert not up.local_forge.repository_git_dir("runs/b").exists()
    comments = f"{up.url}/api/repos/ada/lab/commits/main/comments"
    assert requests.post(comments, headers=followed, json={"body": "x"}).status_code == 401


PROXY, SITE = "a proxy may have sent the request", "a page of another site sent the request"
DETOURS = [
    ("X-Forwarded-For", "127.0.0.1", PROXY),
    ("X-Forwarded", "127.0.0.1", PROXY),
    ("X-Forwarded-Context", "/user/ada/proxy/8020", PROXY),  # JupyterLab's, as the next
    ("X-ProxyContextPath", "/user/ada/proxy/8020", PROXY),
    ("Forwarded", "for=127.0.0.1", PROXY),
    ("X-Real-IP", "127.0.0.1", PROXY),
    ("X-Original-Host", "hub.example", PROXY),
    ("CF-Connecting-IP", "192.0.2.1", PROXY),
    ("Via", "1.1 proxy", PROXY),
    ("Origin", "http://evil.example", SITE),
    ("Origin", "null", SITE),
    ("Sec-Fetch-Site", "cross-site", SITE),
    ("Sec-Fetch-Site", "same-site", SITE),  # another port of this machine
    ("Host", "evil.example", "unknown host"),
]


def test_9_7_a_request_by_a_detour_needs_the_token(up: FyreUp) -> None:
    for name, value, reason in DETOURS:
        headers = {name: value}
        assert codes(up, **headers) == {400 if name == "Host" else 401}, headers
        assert reason in requests.get(up.url, headers=headers).text
        assert codes(up, **headers, Authorization="token user:ada") & {200} == set(), headers
        assert codes(up, **headers, Authorization=f"Bearer {token_of(up)}") == {200}, headers
        basic = requests.get(up.url, headers=headers, auth=("ada", token_of(up))).status_code
        # A browser sends a password that it knows for every page.
        assert (basic == 200) == (reason != SITE), headers


PROXY_HEADERS = """
    Fly-Client-IP Fly-Forwarded-Port Fly-Request-Id X-AppEngine-User-IP X-AppEngine-Country
    X-Azure-ClientIP X-Azure-FDID X-ARR-LOG-ID X-Auth-Request-User X-Remote-User Remote-User
    X-WebAuth-User X-Nginx-Proxy X-Scheme X-Url-Scheme X-Host X-Port X-Request-Id X-Amzn-Trace-Id
    X-Amz-Cf-Id CloudFront-Viewer-Address X-Vercel-Id X-NF-Client-Connection-IP X-Accel-Mapping
    X-MS-Client-Principal-Name Tailscale-User-Login Cf-Ray Cf-Access-Jwt-Assertion CF-Visitor
    X_Forwarded_For Remote_Addr Client-IP True-Client-IP Via Forwarded Early-Data Max-Forwards
    X-Script-Name X-Jupyterhub-User X-Sendfile-Type SSL-Client-Cert Ssl_Client_Verify
    Front-End-Https Proxy-Connection Proxy-Authorization Traceparent X-B3-TraceId Akamai-Origin-Hop
"""


CLIENTS = {
    "git": "Host User-Agent Accept Accept-Encoding Accept-Language Pragma Git-Protocol Expect "
    "Content-Type Content-Length Content-Encoding Transfer-Encoding Authorization",
    "git-lfs": "Host User-Agent Accept Accept-Encoding Content-Type Content-Length",
    "curl": "Host User-Agent Accept Accept-Encoding Authorization Referer Cookie Range TE Expect "
    "Connection Upgrade HTTP2-Settings If-Modified-Since If-None-Match Content-Type Content-Range",
    "python": "Host User-Agent Accept Accept-Encoding Connection Content-Type Content-Length",
    "github": "Host User-Agent Accept Authorization X-GitHub-Api-Version",
    "chrome": "Host Connection Cache-Control Pragma Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform "
    "Upgrade-Insecure-Requests User-Agent Accept Sec-Purpose Purpose Accept-Encoding DNT "
    "Accept-Language Cookie If-None-Match Sec-GPC Save-Data Access-Control-Request-Headers",
    "firefox": "Host User-Agent Accept Accept-Language Accept-Encoding Referer DNT Connection "
    "Cookie Sec-Fetch-User Sec-GPC Priority Last-Event-ID Keep-Alive TE",
}


def code_with(*names: str) -> int:
    """The code for a request of the same user with these headers."""
    own = {"host": "localhost:8020", "authorization": ""}
    headers = [(name.lower().encode(), own.get(name.lower(), "1").encode()) for name in names]
    facts = {"facts": {**FACTS, "uid": os.geteuid()}}
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "extensions": facts}
    code: int = through_gate(**scope)[0]["status"]
    return code


def test_9_7_a_header_that_no_client_of_a_person_sends_needs_the_token() -> None:
    names = PROXY_HEADERS.split()
    assert {name: code_with("Host", name) for name in names} == dict.fromkeys(names, 401)


def test_9_7_clients_of_a_person_need_nothing() -> None:
    assert {client: code_with(*CLIENTS[client].split()) for client in CLIENTS} == dict.fromkeys(
        CLIENTS, 200
    )


def test_9_7_the_clients_of_this_machine_need_nothing(up: FyreUp) -> None:
    with urllib.request.urlopen(f"{up.url}/runs.json") as answer:
        assert json.load(answer) == []
    options = [
        "--compressed",
        "--json",
        "{}",
        "-e",
        up.url,
        "-b",
        "a=b",
        "-r",
        "0-99",
        "-z",
        "2020",
    ]
    for words in ([], options, ["-T", __file__], ["--http2"]):
        if shutil.which("curl"):
            wanted = ["-s", "-o", "/dev/null", "-w", "%{http_code}", f"{up.url}/api/rate_limit"]
            done = subprocess.run(["curl", *words, *wanted], capture_output=True, check=False)
            assert done.stdout in {b"200", b"405", b"404"}, words


def test_9_9_what_the_machine_lacks_is_no_verdict_on_who_asks() -> None:
    answers: list[OSError | int] = [OSError(errno.EMFILE, "Too many open files"), os.geteuid()]

    def find_uid(*_: int) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    facts = {"facts": dict(FACTS)}
    headers = [(b"host", b"localhost:8020")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "extensions": facts}
    refused, allowed = (through_gate(find_uid, **scope) for _ in range(2))
    assert (refused[0]["status"], (b"retry-after", b"1") in refused[0]["headers"]) == (503, True)
    assert b"Too many open files" in refused[1]["body"]
    assert allowed[0]["status"] == 200


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
            assert "could not read Username" in refused.stderr
        guessed = run("git", "push", url.replace("://", "://eve:guess@"), "main")
        assert guessed.returncode != 0
        owner = auth.local_user().login
        assert f"remote: give the token of this fyre up (another user, {owner}," in guessed.stderr
        assert not up.local_forge.repository_git_dir("ada/lab").exists()
        assert run("cat", str(up.access_token_file)).returncode != 0
        assert run("cat", str(up.local_forge.root / "forge.db")).returncode != 0
        helper = f"!f() {{ echo username=eve; echo password={token_of(up)}; }}; f"
        header = f"http.extraHeader=Authorization: Bearer {token_of(up)}"
        with_token = url.replace("://", f"://eve:{token_of(up)}@")
        for words in (
            ("-c", f"credential.helper={helper}", "push", url, "main"),
            ("-c", header, "push", url, "main:by-header"),
            ("push", with_token, "main:by-url"),
        ):
            pushed = run("git", *words)
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
        # Where the verbs look for it from another machine.
        assert requests.get(f"{up.url}/api/v3/user", auth=("", token)).json()["type"] == "User"
        remote = f"{up.url}/ada/lab.git"
        git("remote", "add", "origin", remote.replace("://", f"://ada:{token}@"), cwd=repo)
        command = "echo it ran; echo 7 > $FYRE_OUTPUTS/seven.txt"
        git("commit", "-q", "--allow-empty", "-m", f"Run\n\nFyre-Run: {command}", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        git("remote", "set-url", "origin", remote, cwd=repo)
        monkeypatch.chdir(repo)
        monkeypatch.delenv("FYRE_TOKEN", raising=False)
        assert main.main(["status"]) != 0
        helper = f"!f() {{ echo username=ada; echo password={token}; }}; f"
        git("config", "credential.helper", helper, cwd=repo)
        assert main.main(["status"]) == 0
        git("config", "--unset", "credential.helper", cwd=repo)
        monkeypatch.setenv("FYRE_TOKEN", token)
        assert main.main(["watch", "--exit-status"]) == 0
        assert main.main(["logs"]) == 0
        assert main.main(["outputs"]) == 0
        out = capfd.readouterr().out
        assert "it ran" in out
        assert "seven.txt" in out
        assert main.main(["cat", "last", "seven.txt"]) == 0
        assert capfd.readouterr().out == "7\n"


OF_A_RUN = ("", ".json", "/log", "/outputs.json", "/outputs/a/b.txt", "/outputs/a\nb", "/blobs/0f")
OF_OTHERS = ("/", "/logs", "/outputs", "/outputs/", "/blobs/", "/blobs/0f/x", "/outputs.json/x")


def test_9_7_what_the_secret_address_of_a_run_opens_needs_no_token() -> None:
    def code(path: str) -> int:
        headers = [(b"host", b"localhost:8020")]
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
        status: int = through_gate(**scope)[0]["status"]
        return status

    assert {rest: code(f"/runs/1f-2e{rest}") for rest in OF_A_RUN} == dict.fromkeys(OF_A_RUN, 200)
    assert {code(f"/runs/1f-2e{rest}") for rest in OF_OTHERS} == {401}
    assert {code(f"/runs/lab.git{rest}") for rest in OF_A_RUN} == {401}


@pytest.mark.parametrize("facts", [None, FACTS, {**FACTS, "uid": None}])
def test_9_7_a_peer_that_is_not_known_needs_the_token(facts: dict[str, Any] | None) -> None:
    def answer(authorization: bytes) -> int:
        headers = [(b"host", b"localhost:8020"), (b"authorization", authorization)]
        (start, *_) = through_gate(
            type="http", method="GET", path="/", headers=headers, extensions={"facts": facts}
        )
        code: int = start["status"]
        return code

    assert [answer(b"token secret"), answer(b"token "), answer(b"Basic Og==")] == [200, 401, 401]


def test_9_7_a_websocket_is_let_in_for_nobody() -> None:
    headers = [(b"host", b"localhost:8020"), (b"authorization", b"token secret")]
    facts = {"facts": {**FACTS, "uid": os.geteuid()}}
    assert through_gate(type="websocket", path="/", headers=headers, extensions=facts) == []
    assert uvicorn_config(PlainTextResponse("in\n")).ws == "none"


def test_9_7_an_address_of_ipv6_is_the_loopback_too(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with one_at_a_time() as start:
        try:
            up = start(lambda: FyreUp(tmp_path / "state", "::1", 0))
        except UserError:
            pytest.skip("no IPv6 on this machine")
        up_command._say_who_needs_the_token(up)
        assert "token" not in capfd.readouterr().err
        git("commit", "-q", "--allow-empty", "-m", "Run\n\nFyre-Run: echo it ran", cwd=repo)
        git("remote", "add", "origin", f"{up.url}/ada/lab.git", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        monkeypatch.chdir(repo)
        assert main.main(["watch", "--exit-status"]) == 0
        assert main.main(["logs"]) == 0
        assert "it ran" in capfd.readouterr().out


@pytest.mark.skipif("os.geteuid() != 0", reason="only root can give a file to another user")
def test_9_7_a_secret_that_somebody_else_put_there_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("known")
    os.chown(path, NOBODY, NOBODY)
    tmp_path.chmod(0o1777)
    with pytest.raises(UserError, match="belongs to another user"):
        auth.load_or_create_secret(path)
    assert path.read_text() == "known"


@pytest.mark.skipif("os.geteuid() != 0", reason="only root has files of root")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_9_7_a_secret_of_root_is_refused_in_words(mode: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, NOBODY, NOBODY)
        path = Path(folder) / "token"
        path.write_text("known")
        path.chmod(mode)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(UserError, match="belongs to another user"):
                auth.load_or_create_secret(path)
        finally:
            os.seteuid(0)


def test_9_7_an_empty_file_is_no_token(tmp_path: Path) -> None:
    """As a full disk leaves it."""
    path = tmp_path / "token"
    path.touch(mode=0o644)
    secret = auth.load_or_create_secret(path)
    assert len(secret) == 40
    assert (auth.load_or_create_secret(path), path.stat().st_mode & 0o777) == (secret, 0o600)
