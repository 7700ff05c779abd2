"""``fyre app manifest`` as people use it: real processes, a small browser, a forge's two pages."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from fyre.apps import config as configs
from fyre.cli import credential_files, main
from fyre.cli.credential_files import CredentialFiles
from fyre.errors import UserError
from fyre.github import app_manifest
from fyre.github.app_manifest import AppOptions
from fyre.github.app_registration import AppRegistration
from tests.support import apps

NODE_MODULES = os.environ.get("FYRE_NODE_MODULES", "")

BROWSER = """
import html, re, requests
page = requests.get(sys_argv[1]).text
action = html.unescape(re.search('action="([^"]*)"', page)[1])
told = html.unescape(re.search('name="manifest" value="([^"]*)"', page)[1])
requests.post(action, data={"manifest": told})  # and back again, as the forge says
"""


@dataclass
class GitHub:
    """The pages where an App is registered, and the exchange; ``answer`` is the exchange's."""

    pem: str
    answer: dict[str, Any] = field(default_factory=dict)
    code: str = "a1b2/c3"  # whatever a code may hold
    status: int = 201
    comes_back: bool = True
    registered: list[tuple[str, str, dict[str, Any]]] = field(
        default_factory=list
    )  # path, state, manifest
    exchanged: list[str] = field(default_factory=list)
    base: str = ""

    def register(self, path: str, state: str, manifest: dict[str, Any]) -> str:
        """Where the browser is sent to."""
        self.registered.append((path, state, manifest))
        return f"{manifest['redirect_url']}?code={self.code.replace('/', '%2F')}&state={state}"

    def exchange(self, path: str) -> tuple[int, dict[str, Any]]:
        self.exchanged.append(path)
        if len(self.exchanged) > 1:
            return 404, {"message": "Not Found"}
        page = f"{self.base}/apps/fyre-lab"
        app = {
            "id": 4711, "slug": "fyre-lab", "html_url": page, "pem": self.pem,
            "webhook_secret": "w" * 40, "client_id": "Iv1.1", "client_secret": "c" * 40,
        }  # fmt: skip
        return self.status, {**app, **self.answer}


@contextmanager
def serving(github: GitHub) -> Iterator[GitHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            if parts.path.startswith("/api/v3/app-manifests/"):
                status, told = github.exchange(parts.path)
                self.reply(status, json.dumps(told).encode())
                return
            manifest = json.loads(parse_qs(body)["manifest"][0])
            back = github.register(parts.path, parse_qs(parts.query)["state"][0], manifest)
            self.reply(302 if github.comes_back else 200, b"", back)

        def reply(self, status: int, body: bytes, back: str = "") -> None:
            self.send_response(status)
            if status == 302:
                self.send_header("Location", back)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield github
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub(apps.pem(apps.private_key()))) as found:
        yield found


def command(github: GitHub, out: Path, *words: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "fyre",
        "app",
        "manifest",
        "--host",
        github.base,
        "--out",
        str(out),
        *words,
    ]


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def registered(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> Callable[..., Done]:
    """The command in this process, with a browser of a few lines."""

    def surf(address: str) -> bool:
        exec(BROWSER, {"sys_argv": ["browser", address]})
        return True

    def run(*words: str) -> Done:
        code = main.main(
            ["app", "manifest", "--host", github.base, "--out", str(tmp_path / "out"), *words]
        )
        return Done(code, *capsys.readouterr())

    monkeypatch.setattr(webbrowser, "open", surf)
    return run


def test_an_app_is_registered_and_its_key_kept(github: GitHub, tmp_path: Path) -> None:
    browser = tmp_path / "browser.py"
    browser.write_text(f"import sys\nsys_argv = sys.argv\n{BROWSER}")
    words = command(
        github,
        tmp_path / "out",
        "--org",
        "acme",
        "--url",
        "https://fyre.example.org/",
        "--checks",
        "--teams",
    )
    env = {**os.environ, "BROWSER": f"{sys.executable} {browser} %s &"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ((path, _, manifest),) = github.registered
    assert path == "/organizations/acme/settings/apps/new"
    assert manifest["default_permissions"] == {
        "contents": "read", "metadata": "read", "statuses": "write", "pull_requests": "write",
        "issues": "read", "checks": "write", "members": "read",
    }  # fmt: skip
    assert manifest["default_events"] == [
        "push",
        "commit_comment",
        "issue_comment",
        "check_run",
        "pull_request",
    ]
    assert manifest["hook_attributes"] == {
        "url": "https://fyre.example.org/webhook",
        "active": True,
    }
    assert manifest["public"] is False
    assert github.exchanged == ["/api/v3/app-manifests/a1b2%2Fc3/conversions"]
    key, secret = tmp_path / "out" / "app.pem", tmp_path / "out" / "webhook"
    assert (key.read_text(), secret.read_text()) == (github.pem, "w" * 40 + "\n")
    assert {stat.S_IMODE(one.stat().st_mode) for one in (key, secret)} == {0o600}
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["app.pem", "webhook"]
    for secretive in ("PRIVATE KEY", "w" * 40, "c" * 40):
        assert secretive not in done.stdout + done.stderr


def test_the_lines_are_a_receivers_configuration(
    github: GitHub, registered, tmp_path: Path
) -> None:
    done = registered("--url", "https://fyre.example.org")
    (tmp_path / "fyre.yaml").write_text(done.stdout)
    config = configs.load_config(tmp_path / "fyre.yaml", {}, {})
    assert config.get("appId") == 4711
    assert config.api_url == f"{github.base}/api/v3"
    assert config.app_key is not None
    assert config.app_key.read_secret() == github.pem.strip()
    assert config.webhook_secret is not None
    assert config.webhook_secret.read_lines() == [b"w" * 40]


def test_where_no_webhook_reaches_it_polls(github: GitHub, registered) -> None:
    github.answer = {"webhook_secret": None}
    done = registered()
    assert "poll: true" in done.stdout.splitlines()
    assert "webhookSecretFile" not in done.stdout
    ((_, _, manifest),) = github.registered
    assert manifest["hook_attributes"]["active"] is False
    assert manifest["default_events"] == []


def test_without_a_browser_the_address_is_pasted(github: GitHub, tmp_path: Path) -> None:
    github.comes_back = False
    words = command(github, tmp_path / "out", "--no-browser")
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ran:
        said = [ran.stderr.readline() for _ in range(4)]
        assert "register.html" in said[2]
        (saved,) = (tmp_path / "out").glob("*/register.html")
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600
        address = said[0].split()[-1]
        assert requests.get(address).text == saved.read_text()
        exec(BROWSER, {"sys_argv": ["browser", address]})
        ((_, state, manifest),) = github.registered
        ran.stdin.write(f"{manifest['redirect_url']}?code=abc&state=another\n")
        ran.stdin.flush()
        assert "no answer to this question" in ran.stderr.readline()
        out, err = ran.communicate(
            f"{manifest['redirect_url']}?code=abc&state={state}\n", timeout=60
        )
    assert ran.returncode == 0, err
    assert "appId: 4711" in out
    assert github.exchanged == ["/api/v3/app-manifests/abc/conversions"]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["app.pem", "webhook"]


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        ((404, {}), "good for one hour and one exchange"),
        ((422, {}), "HTTP 422"),
        ((201, {"pem": None}), "has no pem"),
        ((201, {"pem": "-----BEGIN CERTIFICATE-----"}), "not a private key"),
    ],
)
def test_an_exchange_that_fails_is_said_and_shown(
    github: GitHub, registered, tmp_path: Path, answered: tuple[int, dict[str, Any]], said: str
) -> None:
    github.status, github.answer = answered
    done = registered()
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert list((tmp_path / "out").iterdir()) == []
    assert done.stdout == ""


def test_the_folder_is_made_sure_of_before_anything_is_asked(
    github: GitHub, registered, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    assert "can't be written to" in registered().stderr
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "app.pem").write_text("precious")
    assert "is there already" in registered().stderr
    assert (tmp_path / "out" / "app.pem").read_text() == "precious"
    assert github.registered == []


def test_a_key_that_finds_no_place_goes_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    safe = CredentialFiles(tmp_path / "out", {"key": "app.pem", "webhook secret": "webhook"})
    (tmp_path / "out" / "webhook").write_text("somebody else's, by now")
    kept = safe.write_secrets({"key": "k", "webhook secret": "w"})
    assert kept["key"].parent.parent == tmp_path
    assert stat.S_IMODE(kept["key"].parent.stat().st_mode) == 0o700
    assert [path.read_text() for path in kept.values()] == ["k\n", "w\n"]
    assert not (tmp_path / "out" / "app.pem").exists()


def test_a_key_that_no_disk_takes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safe = CredentialFiles(tmp_path / "out", {"key": "app.pem"})
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr(credential_files, "_FALLBACK_FOLDERS", ())
    monkeypatch.delenv("TMPDIR", raising=False)
    (tmp_path / "out").rmdir()
    with pytest.raises(UserError, match="no disk takes its key"):
        safe.write_secrets({"key": "k"})


@pytest.fixture
def asked() -> Iterator[AppRegistration]:
    found = AppRegistration(AppOptions())
    yield found
    found.close()


def test_only_the_answer_to_this_question_counts_and_once(asked: AppRegistration) -> None:
    created = f"{asked.base_url}/created"
    for state in ("", "x", asked.state[:-1], asked.state + "x", "\u00e9"):
        assert requests.get(created, params={"code": "c", "state": state}).status_code == 400
    assert requests.get(created, params={"state": asked.state}).status_code == 400
    asked.set_result("Done", "<p>well")
    shown = requests.get(created, params={"code": "first", "state": asked.state})
    assert (shown.status_code, "<p>well" in shown.text) == (200, True)
    assert requests.get(created, params={"code": "second", "state": asked.state}).status_code == 410
    assert asked.wait_for_code(0) == "first"
    with pytest.raises(UserError, match="nobody came back"):
        asked.wait_for_code(0)


def test_a_browser_that_waits_is_told_where_nobody_goes_on() -> None:
    asked = AppRegistration(AppOptions())
    with ThreadPoolExecutor() as pool:
        shown = pool.submit(
            requests.get, f"{asked.base_url}/created", params={"code": "c", "state": asked.state}
        )
        assert asked.wait_for_code() == "c"
        asked.close()  # as where somebody interrupts the exchange
        assert "This was cancelled" in shown.result().text


def test_the_page_is_for_who_knows_its_address(asked: AppRegistration) -> None:
    shown = requests.get(asked.start_url)
    assert shown.status_code == 200
    assert shown.headers["Cache-Control"] == "no-store"
    assert requests.get(asked.base_url + "/").status_code == 404
    assert requests.get(asked.start_url, headers={"Host": "evil.example.org"}).status_code == 421


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "http://github.example.org"], "not the address of a forge"),
        (["--host", "https://user:secret@github.example.org"], "not the address of a forge"),
        (["--host", "https://github.example.org/path"], "not the address of a forge"),
        (["--url", "fyre.example.org"], "not the address of a receiver"),
        (["--url", "https://fyre.example.org/below"], "not the address of a receiver"),
        (["--url", "https://user@fyre.example.org"], "not the address of a receiver"),
        (["--org", "a/b"], "not an organisation"),
        (["--name", "x" * 35], "at most 34"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["app", "manifest", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["github.com", "https://github.com/", "GitHub.com"])
def test_githubs_own_address_in_any_spelling(text: str) -> None:
    assert app_manifest.parse_host(text) == "https://github.com"
    assert (
        app_manifest.registration_url(AppOptions(), "s t")
        == "https://github.com/settings/apps/new?state=s%20t"
    )
    assert configs.default_api_url(app_manifest.parse_host(text)) == "https://api.github.com"


@pytest.mark.ci
@pytest.mark.skipif(not NODE_MODULES, reason="needs GitHub's own description; .ci/run sets it up")
def test_githubs_own_example_is_understood() -> None:
    folder = Path(NODE_MODULES, "@octokit", "openapi", "generated")
    whole = json.loads((folder / "api.github.com.json").read_text())
    post = whole["paths"]["/app-manifests/{code}/conversions"]["post"]
    assert "requestBody" not in post
    assert {"201", "404", "422"} <= post["responses"].keys()
    reference = post["responses"]["201"]["content"]["application/json"]["examples"]["default"][
        "$ref"
    ]
    app = app_manifest.parse_created_app(
        whole["components"]["examples"][reference.rpartition("/")[2]]["value"]
    )
    assert (app.id, app.slug, app.html_url) == (1, "octoapp", "https://github.com/apps/octoapp")
    rights = whole["components"]["schemas"]["app-permissions"]["properties"]
    wanted = app_manifest.build_manifest(AppOptions(checks=True, teams=True), "")[
        "default_permissions"
    ]
    assert [
        name for name, much in wanted.items() if much not in rights.get(name, {}).get("enum", ())
    ] == []
