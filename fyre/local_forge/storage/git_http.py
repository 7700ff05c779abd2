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
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.storage.repository_store import BadNameError, BareRepository

PROCESSES_MAX = 32
"""Children at once; further requests wait for their turn."""

_SERVICES = {
    ("GET", "info/refs"): {"git-upload-pack", "git-receive-pack"},
    ("POST", "git-upload-pack"): {""},
    ("POST", "git-receive-pack"): {""},
}
# Dumb HTTP is not served: it would read the repository's files by name.


@dataclass
class GitHttpApp:
    """The ASGI application behind ``/OWNER/REPO.git/SERVICE``."""

    forge: LocalForge
    _process_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(PROCESSES_MAX)
    )

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
                    self._find_or_create_repo, f"{params['owner']}/{params['repo']}", writes
                )
        if bare is None:
            await PlainTextResponse("no such repository here\n", status_code=404)(
                scope, receive, send
            )
            return
        who = auth.authenticate_pusher(
            request.headers.get("authorization", ""), self.forge.service_token
        )
        async with self._process_slots:
            try:
                await http_backend.CgiRequest(request, send).run(
                    _backend_environment(request, bare, who.login)
                )
            finally:
                if params["service"] == "git-receive-pack":
                    self.forge.outbox.schedule_repo(bare.name, who.login)

    def _find_or_create_repo(self, name: str, for_push: bool) -> BareRepository | None:  # noqa: FBT001 - called by position across threads
        if for_push:
            return self.forge.repositories.get_or_create(name)
        bare = self.forge.repositories.find_repo(name)
        if bare is not None and self.forge.objects.find_commit_sha(bare.git_dir, "HEAD") is None:
            self.forge.outbox.collect_pushes(
                bare
            )  # the first push names the default branch: a clone right after it needs it
        return bare


def _backend_environment(request: Request, repo: BareRepository, login: str) -> dict[str, str]:
    return http_backend.cgi_environment(
        request,
        repo.git_dir,
        request.path_params["service"],
        REMOTE_USER=login,
        GIT_COMMITTER_NAME=login,
        GIT_COMMITTER_EMAIL=f"{login}@localhost",
    )
