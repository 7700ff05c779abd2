"""What a tag means now, asked of a real registry, and of servers that are none."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fyre import Fyre
from fyre.cli import legacy_registry
from fyre.errors import TransientError, UserError
from tests.support import registry_server as registering

LOGIN = ("ada", "s3cret:with colon")
HASHED = "$2y$05$abcdefghijklmnopqrstuuOb/B27OpVc3Bt3QXIepIr2DUn/DCZNi"  # bcrypt
DIGEST = "sha256:" + "ab" * 32

real = pytest.mark.skipif(
    shutil.which(registering.PROGRAM) is None,
    reason="no docker-registry here: apt-get install docker-registry",
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    with registering.registry(tmp_path) as host:
        yield host


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """A registry that wants a password."""
    (tmp_path / "htpasswd").write_text(f"{LOGIN[0]}:{HASHED}\n")
    with registering.registry(
        tmp_path, htpasswd={"realm": "lab", "path": str(tmp_path / "htpasswd")}
    ) as host:
        yield host


@real
def test_a_tag_is_what_was_pushed_last(host: str) -> None:
    first = registering.push(host, "team/train", "1", b"one")
    assert legacy_registry.resolve_digest(f"{host}/team/train:1") == first
    second = registering.push(host, "team/train", "1", b"two")
    assert legacy_registry.resolve_digest(f"{host}/team/train:1") == second != first
    registering.push(host, "team/train", "latest", b"three")
    assert legacy_registry.resolve_digest(f"{host}/team/train") not in (first, second)


@real
def test_what_a_registry_does_not_have_is_said_in_words(host: str) -> None:
    registering.push(host, "team/train", "1", b"one")
    for missing in ("team/train:2", "team/other:1"):
        with pytest.raises(UserError, match=f"has no {host}/{missing}"):
            legacy_registry.resolve_digest(f"{host}/{missing}")


@real
def test_a_password_is_asked_for(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"{guarded}/team/train:1"
    pushed = registering.push(guarded, "team/train", "1", b"one", LOGIN)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert legacy_registry.read_docker_credentials(image) is None
    for nobody in (None, ("ada", "wrong")):
        with pytest.raises(UserError, match="does not show us"):
            legacy_registry.resolve_digest(image, credentials=nobody)
    held = {"auths": {guarded: {"auth": base64.b64encode(":".join(LOGIN).encode()).decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(held))
    assert legacy_registry.read_docker_credentials(image) == LOGIN
    assert (
        legacy_registry.resolve_digest(
            image, credentials=legacy_registry.read_docker_credentials(image)
        )
        == pushed
    )


@real
def test_the_latest_runtime_of_the_seed(
    host: str, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo)
    runtime = Fyre("echo hello")
    for content in (b"yesterday's", b"today's"):
        pushed = registering.push(host, "clarify/runtime", "latest", content)
        (repo / ".fyre.yaml").write_text(f"image: {host}/clarify/runtime:latest\n")
        assert runtime._fetch_latest_runtime_id() == f"{host}/clarify/runtime:latest@{pushed}"
    (repo / ".fyre.yaml").write_text(f"image: {host}/clarify/runtime@{DIGEST}\n")
    assert runtime._fetch_latest_runtime_id() == f"{host}/clarify/runtime@{DIGEST}"


Answer = tuple[int, dict[str, str], bytes]
Seen = list[tuple[str, str, str]]
Serve = Callable[[Callable[[str, str], Answer]], tuple[str, Seen]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server whose answers a test writes: (path, Authorization) → answer."""
    servers = []

    def start(answer: Callable[[str, str], Answer]) -> tuple[str, Seen]:
        seen: Seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                seen.append((self.command, self.path, given))
                code, headers, body = answer(self.path, given)
                self.send_response(code)
                for pair in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(*pair)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_token_is_fetched_where_the_registry_says(serve: Serve) -> None:
    def answer(path: str, given: str) -> Answer:
        if path.startswith("/token"):
            assert path == "/token?service=hub%2C+too&scope=repository%3Ateam%2Ftrain%3Apull"
            return 200, {}, json.dumps({"token": "t0ken" if given else "anonymous"}).encode()
        realm = (
            f'Bearer realm="http://{box[0]}/token",service="hub, too",scope="repository:other:*"'
        )
        return (
            (200, {"Docker-Content-Digest": DIGEST}, b"")
            if given[7:]
            else (401, {"WWW-Authenticate": realm}, b"")
        )

    host, seen = serve(answer)
    box = [host]
    assert legacy_registry.resolve_digest(f"{host}/team/train:1") == DIGEST
    assert [given for *_, given in seen] == ["", "", "Bearer anonymous"]
    seen.clear()
    assert legacy_registry.resolve_digest(f"{host}/team/train:1", credentials=LOGIN) == DIGEST
    assert [given.split(" ")[0] for *_, given in seen] == ["", "Basic", "Bearer"]
    assert [method for method, *_ in seen] == ["HEAD", "GET", "HEAD"]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((200, {}, b"<html>"), UserError, "does not answer as a registry does"),
        (
            (200, {"Docker-Content-Digest": "sha256:1"}, b""),
            UserError,
            "does not answer as a registry does",
        ),
        ((400, {}, b""), UserError, "HTTP 400"),
        ((401, {}, b""), UserError, "does not show us"),
        ((403, {}, b""), UserError, "does not show us"),
        (
            (401, {"WWW-Authenticate": "Bearer"}, b""),
            UserError,
            "does not answer as a registry does",
        ),
        ((404, {}, b""), UserError, "has no"),
        ((429, {}, b""), TransientError, "answers 429"),
        ((503, {}, b""), TransientError, "answers 503"),
    ],
)
def test_every_other_answer_has_its_words(
    serve: Serve, answer: Answer, error: type[Exception], words: str
) -> None:
    host, _ = serve(lambda *_: answer)
    with pytest.raises(error, match=words):
        legacy_registry.resolve_digest(f"{host}/team/train:1")


@pytest.mark.parametrize("token", [b"not json", b"[]", b'{"token": ""}'])
def test_a_token_that_is_none(serve: Serve, token: bytes) -> None:
    box = [""]

    def answer(path: str, given: str) -> Answer:
        realm = {"WWW-Authenticate": f'Bearer realm="http://{box[0]}/token"'}
        return (200, {}, token) if path.startswith("/token") else (401, realm, b"")

    box[0], _ = serve(answer)
    with pytest.raises(UserError, match=r"does not show us|its token is none"):
        legacy_registry.resolve_digest(f"{box[0]}/team/train:1")


def test_what_netrc_holds_is_never_sent(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, seen = serve(lambda *_: (404, {}, b""))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError):
        legacy_registry.resolve_digest(f"{host}/team/train:1")
    assert [given for *_, given in seen] == [""]


def test_nobody_there(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # bound and not listening: refused for as long as it is held
        taken.bind(("127.0.0.1", 0))
        image = f"127.0.0.1:{taken.getsockname()[1]}/team/train:1"
        with pytest.raises(TransientError, match="can't be reached"):
            legacy_registry.resolve_digest(image)
        monkeypatch.chdir(repo)
        (repo / ".fyre.yaml").write_text(f"image: {image}\n")
        assert Fyre("echo hello")._fetch_latest_runtime_id() == image
    assert f"{image} stays as it is named" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("host", "insecure", "scheme"),
    [("localhost:5000", False, "http"), ("127.0.0.1", False, "http"),
     ("10.0.0.9:5000", False, "https"), ("10.0.0.9:5000", True, "http"),
     ("8.8.8.8", True, "https"), ("ghcr.io", True, "https")],
)  # fmt: skip
def test_plain_http_stays_near(host: str, insecure: bool, scheme: str) -> None:
    assert legacy_registry._url_scheme(host, insecure=insecure) == scheme


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"auths": []}', '{"auths": {"docker.io": {}}}',
     '{"auths": {"docker.io": {"auth": "%"}}}', '{"auths": {"docker.io": {"auth": "YWRh"}}}',
     '{"auths": {"docker.io": 3}}'],
)  # fmt: skip
def test_no_credentials_are_no_error(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(text)
    assert legacy_registry.read_docker_credentials("python:3.12") is None


def test_docker_hub_has_a_name_of_its_own_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    held = {
        "auths": {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"ada:pw").decode()}}
    }
    (tmp_path / "config.json").write_text(json.dumps(held))
    assert legacy_registry.read_docker_credentials("python") == ("ada", "pw")
    assert legacy_registry.read_docker_credentials("ghcr.io/a/b") is None
