"""A small GitHub for Apps: checks the JWT's signature, and creates installation tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fyre.github import app_manifest

APP_ID = 4711
HOUR = 3600.0


@cache
def private_key(which: int = 0) -> rsa.RSAPrivateKey:
    del which
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> str:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@dataclass
class GitHub:
    """The part of GitHub that an App needs, with two accounts; keeps every request."""

    url: str = ""
    slug: str = "fyre-acme"
    installed: dict[str, int] = field(default_factory=lambda: {"acme": 11, "Ada": 22})
    repositories: dict[str, list[str]] = field(
        default_factory=lambda: {"acme": ["a", "b"], "Ada": ["lab"]}
    )
    suspended: set[str] = field(default_factory=set)
    limited: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)  # token → the answer to it
    held: dict[int, tuple[threading.Event, threading.Event]] = field(default_factory=dict)
    """By the installation: tokens that a test keeps waiting."""

    # accounts that are neither a person's nor an organisation's
    odd: dict[str, Any] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=lambda: dict(app_manifest.BASE_PERMISSIONS))
    events: tuple[str, ...] = app_manifest.BASE_EVENTS
    hook: str = ""  # where its webhook leads
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    skew: float = 0.0  # seconds that its clock is ahead
    tokens: dict[str, str] = field(default_factory=dict)  # token → account
    seen: list[str] = field(default_factory=list)
    minted: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, authorization: str, body: Any) -> tuple[int, Any]:
        self.seen.append(f"{method} {path}")
        scheme, _, shown = authorization.partition(" ")
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "app" or parts[-1] == "installation":
            return (
                self.as_app(method, parts, shown)
                if scheme == "Bearer"
                else (401, {"message": "A JWT is needed"})
            )
        account = self.tokens.get(shown)
        if shown in self.refused or account in self.limited:
            limit = 403, {"message": "API rate limit exceeded for installation"}
            refusal = {"message": "Resource not accessible by integration"}
            return limit if account in self.limited else (self.refused[shown], refusal)
        if account not in self.installed:
            return 401, {"message": "Bad credentials"}
        if parts == ["installation", "repositories"]:
            names = [f"{account}/{name}" for name in self.repositories[account]]
            return 200, {
                "total_count": len(names),
                "repositories": [repository(name) for name in names],
            }
        if parts[-1] == "activity":
            return 200, []
        return (
            (201, {"id": len(self.seen), "context": body["context"], "state": body["state"]})
            if parts[1] == account
            else (404, {"message": "Not Found"})
        )

    def as_app(self, method: str, parts: list[str], shown: str) -> tuple[int, Any]:
        try:
            claims = jwt.decode(
                shown, private_key().public_key(), algorithms=["RS256"], issuer=str(APP_ID)
            )
        except jwt.InvalidTokenError as error:
            return 401, {
                "message": f"A JSON web token could not be decoded: {type(error).__name__}"
            }
        if not 0 < claims["exp"] - claims["iat"] <= 600:
            return 401, {"message": "'Expiration time' claim ('exp') is too far in the future"}
        if "/".join(parts) in ("app", "app/hook/config", "app/hook/deliveries"):
            return 200, self.own("/".join(parts))
        if parts == ["app", "installations"]:
            return 200, [
                {
                    "id": n,
                    "account": self.odd.get(a, {"login": a}),
                    "suspended_at": "2026-01-01T00:00:00Z" if a in self.suspended else None,
                }
                for a, n in self.installed.items()
            ]
        if method == "POST":
            return self.mint(int(parts[2]))
        number = self.installed.get(parts[1])
        return (200, {"id": number}) if number else (404, {"message": "Not Found"})

    def own(self, path: str) -> Any:
        """Return the App's own data, webhook configuration or deliveries."""
        about = {
            "id": APP_ID,
            "slug": self.slug,
            "permissions": self.permissions,
            "events": list(self.events),
        }
        config = {"url": self.hook, "content_type": "json", "insecure_ssl": "0"}
        return {"app": about, "app/hook/config": config, "app/hook/deliveries": self.deliveries}[
            path
        ]

    @contextmanager
    def holding(self, installation: int) -> Iterator[threading.Event]:
        """Keep whoever asks for a token of an installation waiting; yield what says that one is."""
        waiting, gate = self.held[installation] = threading.Event(), threading.Event()
        try:
            yield waiting
        finally:
            gate.set()
            del self.held[installation]

    def mint(self, installation: int) -> tuple[int, Any]:
        if installation in self.held:
            waiting, gate = self.held[installation]
            waiting.set()
            gate.wait()
        account = next((a for a, n in self.installed.items() if n == installation), None)
        if account is None:
            return 404, {"message": "Not Found"}
        if account in self.suspended:
            return 403, {"message": "This installation has been suspended"}
        # GitHub's new, long form
        token = f"ghs_{APP_ID}_{jwt.encode({'n': len(self.minted)}, 'k' * 32)}" + "x" * 500
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


@contextmanager
def github() -> Iterator[GitHub]:
    """Serve a GitHub until the block ends."""
    state = GitHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            given = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            authorization = self.headers.get("Authorization") or ""
            code, said = state.answer(
                self.command, self.path, authorization, json.loads(given or b"null")
            )
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
