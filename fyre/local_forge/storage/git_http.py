"""Git over smart HTTP: who may have which repository, and ``git http-backend`` to serve it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from fyre.git import http_backend
from fyre.local_forge import auth
from fyre.local_forge.forge import Forge
from fyre.local_forge.storage.repository_store import BadNameError, Bare

CHILDREN_MAX = 32
"""Children at once; further requests wait for their turn."""

_SERVICES = {
    ("GET", "info/refs"): {"git-upload-pack", "git-receive-pack"},
    ("POST", "git-upload-pack"): {""},
    ("POST", "git-receive-pack"): {""},
}
# Dumb HTTP is not served: it would read the repository's files by name.


@dataclass
class GitHttp:
    """The ASGI application behind ``/OWNER/REPO.git/SERVICE``."""

    forge: Forge
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHILDREN_MAX))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of a git client."""
        request = Request(scope, receive)
        params = request.path_params
        service = request.query_params.get("service", "")
        bare = None
        if service in _SERVICES.get((request.method, params["service"]), ()):
            writes = "git-receive-pack" in (service, params["service"])
            with suppress(BadNameError):
                bare = await run_in_threadpool(
                    self._repository, f"{params['owner']}/{params['repo']}", writes
                )
        if bare is None:
            await PlainTextResponse("no such repository here\n", status_code=404)(
                scope, receive, send
            )
            return
        who = auth.pusher_of(request.headers.get("authorization", ""), self.forge.service_token)
        async with self._places:
            try:
                await http_backend.Exchange(request, send).run(
                    _environment(request, bare, who.login)
                )
            finally:
                if params["service"] == "git-receive-pack":
                    self.forge.outbox.wake(bare.name, who.login)

    def _repository(self, name: str, writes: bool) -> Bare | None:  # noqa: FBT001 - called by position across threads
        if writes:
            return self.forge.shelf.ensure(name)
        bare = self.forge.shelf.find(name)
        if bare is not None and self.forge.objects.commit(bare.git_dir, "HEAD") is None:
            self.forge.outbox.collect(
                bare
            )  # the first push names the default branch: a clone right after it needs it
        return bare


def _environment(request: Request, bare: Bare, who: str) -> dict[str, str]:
    return http_backend.environment(
        request,
        bare.git_dir,
        request.path_params["service"],
        REMOTE_USER=who,
        GIT_COMMITTER_NAME=who,
        GIT_COMMITTER_EMAIL=f"{who}@localhost",
    )
