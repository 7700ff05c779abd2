"""Git over smart HTTP: find the repository and serve it with ``git http-backend``.

The requests of git-lfs come to the same address.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from fyre.git import http_backend
from fyre.local_forge import auth, machine_trouble
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.storage import lfs_http, repository_damage, repository_store
from fyre.local_forge.storage.repository_store import BadNameError, BareRepository

log = logging.getLogger(__name__)

PROCESSES_MAX = 32
"""Git processes at once; further requests wait until one ends."""

_SERVICES = {
    ("GET", "info/refs"): {"git-upload-pack", "git-receive-pack"},
    ("POST", "git-upload-pack"): {""},
    ("POST", "git-receive-pack"): {""},
}
# Dumb HTTP is not served: it would read the repository's files by name.


@dataclass
class GitHttpApp:
    """ASGI application behind ``/OWNER/REPO.git/SERVICE``."""

    forge: LocalForge
    _process_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(PROCESSES_MAX)
    )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a git client."""
        request = Request(scope, receive)
        params = request.path_params
        if params["service"].startswith(lfs_http.LFS_PREFIX):
            response = await lfs_http.answer_lfs_request(self.forge, request)
            await response(scope, receive, send)
            return
        service = request.query_params.get("service", "")
        repo, refusal_text, refusal_status = None, "no such repository here", 404
        if service in _SERVICES.get((request.method, params["service"]), ()):
            name = f"{params['owner']}/{params['repo']}"
            for_push = "git-receive-pack" in (service, params["service"])
            if for_push and machine_trouble.is_disk_full(self.forge.root):
                response = PlainTextResponse(f"{machine_trouble.DISK_FULL}\n", status_code=507)
                await response(scope, receive, send)
                return
            try:
                repo = await run_in_threadpool(self._find_or_create_repo, name, for_push)
            except BadNameError:
                refusal_text = repository_store.BAD_NAME
            except OSError as error:
                if machine_trouble.is_for_want_of_room(error, self.forge.root):
                    refusal_text, refusal_status = machine_trouble.DISK_FULL, 507
                else:
                    refusal_text = repository_damage.describe_damage(name, str(error))
                    refusal_status = 500
            if repo is not None and (missing := repository_damage.find_missing_part(repo.git_dir)):
                refusal_text = repository_damage.describe_damage(name, missing)
                repo, refusal_status = None, 500
        if repo is None:
            refusal = PlainTextResponse(f"{refusal_text}\n", status_code=refusal_status)
            await refusal(scope, receive, send)
            return
        authorization = request.headers.get("authorization", "")
        login = auth.authenticate_pusher(authorization, self.forge.service_token).login
        environment = _backend_environment(request, repo, login)
        async with self._process_slots:
            try:
                await http_backend.CgiRequest(request, send).run(environment)
            finally:
                if params["service"] == "git-receive-pack":
                    self.forge.outbox.schedule_repo(repo.name, login)

    def _find_or_create_repo(
        self,
        name: str,
        for_push: bool,  # noqa: FBT001 - passed by position to a thread
    ) -> BareRepository | None:
        """Return the repository. Raises ``BadNameError`` for a name that none can have."""
        repository_store.validate_repo_name(name)
        if for_push:
            return self.forge.repositories.get_or_create(name)
        repo = self.forge.repositories.find_repo(name)
        if repo is not None and self.forge.objects.find_commit_sha(repo.git_dir, "HEAD") is None:
            # The first push sets the default branch: a clone right after the push needs it.
            try:
                self.forge.outbox.collect_pushes(repo)
            except (OSError, sqlite3.Error) as error:
                if not self.forge.outbox.trouble.report(error, name):
                    log.error("a look at %s: %s", name, error)  # noqa: TRY400
        return repo


def _backend_environment(request: Request, repo: BareRepository, login: str) -> dict[str, str]:
    return http_backend.cgi_environment(
        request,
        repo.git_dir,
        request.path_params["service"],
        REMOTE_USER=login,
        GIT_COMMITTER_NAME=login,
        GIT_COMMITTER_EMAIL=f"{login}@localhost",
    )
