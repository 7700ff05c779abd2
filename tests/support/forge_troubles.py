"""GitHub as an App meets it, with faults: the local forge behind installation tokens.

A test adds troubles that respond in the forge's place. A renamed repository is redirected as GitHub
does it; a request without a token sees nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from fyre.local_forge.forge import LocalForge
from tests.support import apps
from tests.support.apps import repository


@dataclass(frozen=True)
class Asked:
    """A request; ``path`` is without ``/api``, and of git it begins with the repository."""

    method: str
    path: str
    token: str
    git: bool
    query: str = ""  # with its question mark

    def of(self, name: str) -> bool:
        """Return True if the request is about that repository."""
        return (
            self.path.startswith((f"/repos/{name}/", f"/{name}.git/"))
            or self.path == f"/repos/{name}"
        )


Said = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, JSON (or text, to git), headers."""

Trouble = Callable[[Asked], Said | None]


class Front:
    """The ASGI application in front of the forge.

    A person's token (``user:ada``) passes straight to the forge.
    """

    def __init__(self, app: ASGIApp, forge: LocalForge) -> None:
        self._app, self.forge = app, forge
        self.github = apps.GitHub(slug="fyre")
        self.troubles: list[Trouble] = []
        self.met: list[Asked] = []  # requests that were answered by a trouble
        self.renamed: dict[str, int] = {}

    @contextmanager
    def trouble(self, trouble: Trouble) -> Iterator[None]:
        """Let requests meet a trouble until the block ends."""
        self.met.clear()
        self.troubles.append(trouble)
        try:
            yield
        finally:
            self.troubles.remove(trouble)

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name or owner, as its settings do; its id stays."""
        bare = self.forge.repositories.find_repo(old)
        assert bare is not None
        target = self.forge.repositories.git_dir_for_name(new)
        target.parent.mkdir(exist_ok=True)
        bare.git_dir.rename(target)
        self.renamed[old] = bare.id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond in the forge's place, or pass the request to it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = _asked(scope)
        said = (
            None
            if asked.token.startswith("user:")
            else self._in_the_way(asked) or self._answer(asked)
        )
        if said is None:
            await self._app(self._as_the_service(scope, asked), receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        await _send(send, *said)

    def _in_the_way(self, asked: Asked) -> Said | None:
        for trouble in list(self.troubles):
            said = trouble(asked)
            if said is not None:
                self.met.append(asked)
                return said
        return None

    def _answer(self, asked: Asked) -> Said | None:
        """Respond to what the forge does not know: Apps, tokens, former names."""
        parts = asked.path.strip("/").split("/")
        if parts[0] == "app" or parts[-1] == "installation":
            return self.github.answer(asked.method, asked.path, f"Bearer {asked.token}", None)
        if asked.git and not asked.token:
            return 401, "who is it?", {"WWW-Authenticate": "Basic"}
        return None if asked.token == self.forge.service_token else self._to_account(asked, parts)

    def _to_account(self, asked: Asked, parts: list[str]) -> Said | None:
        account = self.github.tokens.get(asked.token)
        if account not in self.github.installed or account in self.github.suspended:
            return 401, {"message": "Bad credentials"}
        if parts == ["installation", "repositories"]:
            return 200, {"repositories": [
                {**repository(bare.name), "id": bare.id}
                for bare in self.forge.repositories if bare.name.partition("/")[0] == account
            ]}  # fmt: skip
        name = self._name(parts)
        if name in self.renamed and self.forge.repositories.find_repo(name) is None:
            return self._elsewhere(asked, name)
        return None if name.partition("/")[0] == account else (404, {"message": "Not Found"})

    def _name(self, parts: list[str]) -> str:
        """Return the name of the repository in a path."""
        if parts[0] == "repositories":
            return next(
                (bare.name for bare in self.forge.repositories if str(bare.id) == parts[1]), ""
            )
        return "/".join(parts[1:3] if parts[0] == "repos" else parts[:2]).removesuffix(".git")

    def _elsewhere(self, asked: Asked, name: str) -> Said:
        """Return GitHub's redirect: 301 for a GET, 307 for anything else."""
        number = self.renamed[name]
        base = self.forge.base_url
        if asked.git:
            new = self._name(["repositories", str(number)])
            return 301, "", {"Location": f"{base}{asked.path.replace(name, new)}{asked.query}"}
        to = f"{base}/api/repositories/{number}" + asked.path.removeprefix(f"/repos/{name}")
        return (
            301 if asked.method == "GET" else 307,
            {"message": "Moved Permanently", "url": to},
            {"Location": to},
        )

    def _as_the_service(self, scope: Scope, asked: Asked) -> Scope:
        if asked.token.startswith("user:"):
            return scope
        headers = [(key, value) for key, value in scope["headers"] if key != b"authorization"]
        headers.append((b"authorization", b"token " + self.forge.service_token.encode()))
        path = asked.path
        if path.startswith("/repositories/"):
            number = path.split("/")[2]
            name = self._name(["repositories", number])
            path = path.replace(f"/repositories/{number}", f"/repos/{name}", 1)
        path = path if asked.git else "/api" + path
        return {**scope, "headers": headers, "path": path, "raw_path": path.encode()}


def _asked(scope: Scope) -> Asked:
    shown = dict(scope["headers"]).get(b"authorization", b"").decode()
    scheme, _, token = shown.partition(" ")
    if scheme == "Basic":
        token = base64.b64decode(token).decode().partition(":")[2]
    path = scope["path"]
    git, query = not path.startswith("/api/"), scope["query_string"].decode()
    return Asked(
        scope["method"],
        path if git else path.removeprefix("/api"),
        token,
        git,
        f"?{query}" * bool(query),
    )


async def _send(send: Send, code: int, said: Any, more: dict[str, str] | None = None) -> None:
    body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(more or {})}
    listed = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": code, "headers": listed})
    await send({"type": "http.response.body", "body": body})
