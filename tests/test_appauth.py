"""A GitHub App against a small real server that checks the JWT's signature and hands out installation tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fyre.appauth import App, AppForge, signer
from fyre.errors import TryAgainError
from fyre.forge import DeniedError
from fyre.run import Repository
from fyre.status import Status

APP_ID = 4711
HOUR = 3600.0


@cache
def private_key(which: int = 0) -> rsa.RSAPrivateKey:
    del which
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> str:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@dataclass
class GitHub:
    """The part of GitHub that an App needs. Two accounts; what it is asked is written down."""

    url: str = ""
    installed: dict[str, int] = field(default_factory=lambda: {"acme": 11, "Ada": 22})
    suspended: set[str] = field(default_factory=set)
    skew: float = 0.0  # seconds that its clock is ahead
    tokens: dict[str, str] = field(default_factory=dict)  # token → account
    seen: list[str] = field(default_factory=list)
    minted: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, authorization: str, body: Any) -> tuple[int, Any]:
        self.seen.append(f"{method} {path}")
        scheme, _, shown = authorization.partition(" ")
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "app" or parts[-1] == "installation":
            return self.as_app(method, parts, shown) if scheme == "Bearer" else (401, {"message": "A JWT is needed"})
        account = self.tokens.get(shown)
        if account not in self.installed:
            return 401, {"message": "Bad credentials"}
        if parts == ["installation", "repositories"]:
            names = [f"{account}/lab"] if account != "acme" else ["acme/a", "acme/b"]
            return 200, {"total_count": len(names), "repositories": [repository(name) for name in names]}
        if parts[1] != account:
            return 404, {"message": "Not Found"}
        return 201, {"context": body["context"], "state": body["state"]}

    def as_app(self, method: str, parts: list[str], shown: str) -> tuple[int, Any]:
        try:
            claims = jwt.decode(shown, private_key().public_key(), algorithms=["RS256"], issuer=str(APP_ID))
        except jwt.InvalidTokenError as error:
            return 401, {"message": f"A JSON web token could not be decoded: {type(error).__name__}"}
        if not 0 < claims["exp"] - claims["iat"] <= 600:
            return 401, {"message": "'Expiration time' claim ('exp') is too far in the future"}
        if parts == ["app"]:
            return 200, {"id": APP_ID, "slug": "fyre-acme"}
        if parts == ["app", "installations"]:
            return 200, [
                {
                    "id": n,
                    "account": {"login": a},
                    "suspended_at": "2026-01-01T00:00:00Z" if a in self.suspended else None,
                }
                for a, n in self.installed.items()
            ]
        if method == "POST":
            return self.mint(int(parts[2]))
        number = self.installed.get(parts[1])
        return (200, {"id": number}) if number else (404, {"message": "Not Found"})

    def mint(self, installation: int) -> tuple[int, Any]:
        account = next((a for a, n in self.installed.items() if n == installation), None)
        if account is None:
            return 404, {"message": "Not Found"}
        if account in self.suspended:
            return 403, {"message": "This installation has been suspended"}
        token = f"ghs_{APP_ID}_{jwt.encode({'n': len(self.minted)}, 'k' * 32)}" + "x" * 400  # GitHub's new, long form
        self.tokens[token] = account
        until = datetime.fromtimestamp(time.time() + self.skew + HOUR, UTC)
        self.minted.append({"installation": installation})
        return 201, {"token": token, "expires_at": until.strftime("%Y-%m-%dT%H:%M:%SZ")}


def repository(name: str) -> dict[str, Any]:
    return {
        "id": len(name),
        "full_name": name,
        "name": name.partition("/")[2],
        "default_branch": "main",
        "archived": False,
    }


@pytest.fixture
def github() -> Iterator[GitHub]:
    state = GitHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            given = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            authorization = self.headers.get("Authorization") or ""
            code, said = state.answer(self.command, self.path, authorization, json.loads(given or b"null"))
            body = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield state
        server.shutdown()
        thread.join()


@dataclass
class Clock:
    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


def app(github: GitHub, clock: Any = time.time, key: Any = None) -> App:
    return App(github.url, APP_ID, lambda: pem(key or private_key()), clock)


def at(github: GitHub, name: str) -> Repository:
    return Repository(github.url, 1, name)


def test_each_account_is_served_with_a_token_of_its_own_whatever_its_length(github: GitHub) -> None:
    forge = AppForge(app(github))
    assert [one.name for one in forge.repositories()] == ["acme/a", "acme/b", "Ada/lab"]
    for name in ("acme/a", "acme/b", "Ada/lab", "acme/a"):
        forge.post(at(github, name), "a" * 40, Status("fyre/run", "success", "exit 0"))
    assert [one["installation"] for one in github.minted] == [11, 22]
    assert forge.me() == "fyre-acme[bot]"
    assert forge.remaining() is None


def test_a_repository_finds_its_installation_by_itself(github: GitHub) -> None:
    AppForge(app(github)).post(at(github, "acme/a"), "a" * 40, Status("fyre/run", "success", "exit 0"))
    assert github.seen == ["GET /repos/acme/a/installation", "POST /app/installations/11/access_tokens",
                                f"POST /repos/acme/a/statuses/{'a' * 40}"]  # fmt: skip


@pytest.mark.parametrize("skew", [0.0, 1200.0])
def test_a_token_is_renewed_before_it_expires_and_a_connection_takes_the_new_one(github: GitHub, skew: float) -> None:
    clock = Clock()
    github.skew = skew  # our clock is behind: the token seems to live longer than it does
    ours = app(github, clock)
    forge = AppForge(ours)
    first = ours.token("acme/a")
    forge.post(at(github, "acme/a"), "a" * 40, Status("fyre/run", "pending", "queued"))
    clock.now += HOUR - 400
    github.skew += HOUR - 400
    assert ours.token("acme/a") == first
    clock.now += 150
    second = ours.token("acme/a")
    assert second != first
    del github.tokens[first]
    forge.post(at(github, "acme/a"), "a" * 40, Status("fyre/run", "success", "exit 0"))
    assert len(github.minted) == 2


def test_git_gets_a_token_of_its_own(github: GitHub) -> None:
    ours = app(github)
    assert ours.token("acme/a", clone=True) != ours.token("acme/a")
    assert ours.token("acme/b", clone=True) == ours.token("acme/a", clone=True)


def test_an_uninstalled_app_is_denied_in_words_and_found_again_once_it_is_installed_anew(github: GitHub) -> None:
    ours = app(github)
    forge = AppForge(ours)
    forge.repositories()
    del github.installed["acme"]
    assert [one.name for one in forge.repositories()] == ["Ada/lab"]
    with pytest.raises(DeniedError, match="the App is not installed on acme/a") as caught:
        forge.post(at(github, "acme/a"), "a" * 40, Status("fyre/run", "success", "exit 0"))
    assert "installs the App" in caught.value.hint
    github.installed["acme"] = 33
    forge.post(at(github, "acme/a"), "a" * 40, Status("fyre/run", "success", "exit 0"))
    assert github.minted[-1] == {"installation": 33}


def test_an_installation_that_was_replaced_unseen_is_looked_up_again(github: GitHub) -> None:
    clock = Clock()
    ours = app(github, clock)
    ours.token("acme/a")
    github.installed["acme"] = 33
    clock.now += HOUR
    assert github.tokens[ours.token("acme/a")] == "acme"


def test_a_suspended_installation_is_left_out_and_the_others_go_on(github: GitHub) -> None:
    github.suspended = {"acme"}
    ours = app(github)
    assert [one.name for one in AppForge(ours).repositories()] == ["Ada/lab"]
    with pytest.raises(DeniedError, match="suspended"):
        ours.token("acme/a")


def test_a_key_that_github_does_not_know_is_denied_with_what_to_look_at(github: GitHub) -> None:
    with pytest.raises(DeniedError, match="HTTP 401") as caught:
        app(github, key=private_key(1)).login()
    assert f"is {APP_ID} the App's id" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "hunter2", pem(ec.generate_private_key(ec.SECP256R1())), "-----BEGIN RSA PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none_is_said_to_be_none_and_not_shown(text: str) -> None:
    with pytest.raises(DeniedError, match="is no RSA private key") as caught:
        signer(APP_ID, text)
    assert not text or text not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_a_forge_that_is_away_is_tried_again() -> None:
    away = App("http://127.0.0.1:9", APP_ID, lambda: pem(private_key()))
    with pytest.raises(TryAgainError):
        away.token("acme/a")
    with pytest.raises(TryAgainError):
        AppForge(away).remaining()
