"""``fyre up``: the local forge, the receiver and an engine, put together in one process."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware

from fyre.apps.components import Components
from fyre.apps.derived_keys import read_or_create_secret
from fyre.apps.engine_registry import find_engine
from fyre.engines.factory import EngineContext, EngineOptions
from fyre.errors import UserError
from fyre.git.commit_reader import LocalCommitReader
from fyre.git.lfs import LfsObjectStore
from fyre.github.client import GitHubClient
from fyre.local_forge import access_gate, auth, trusted_hosts
from fyre.local_forge.api import pull_api
from fyre.local_forge.api import routes as forge_routes
from fyre.local_forge.forge import LocalForge
from fyre.runs.policy import Policy
from fyre.runs.run import Repository
from fyre.server import http_server

LOOPBACK_ADDRESS = "127.0.0.1"


class FyreUp:
    """Forge, receiver and engine in one process, on one port, with all state under ``root``."""

    def __init__(
        self,
        root: Path,
        host: str,
        port: int,
        *,
        engine: str = "local",
        policy: Policy | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Bind the port and build all parts.

        Raises ``UserError`` if the port is taken, another ``fyre up`` uses the same root, or the
        engine can't be used.
        """
        factory, policy = find_engine(engine), policy or Policy()
        self.listen_socket = _bind_socket(host, port)
        url_host = f"[{host}]" if ":" in host else host.lower()
        self.url = f"http://{url_host}:{self.listen_socket.getsockname()[1]}"
        root = root.resolve()
        self.local_forge = LocalForge(root, base_url=self.url)
        # What nobody pushed here is nowhere else: there is no forge to ask.
        self._lfs = LfsObjectStore(lambda _: None)
        self._runtime = factory.create(
            EngineContext(
                root,
                policy,
                find_git_dir=self._find_git_dir,
                find_code=lambda run: self._find_git_dir(run.repository),
                find_git_dir_by_id=self.local_forge.repositories.find_git_dir,
                options=options or EngineOptions(),
                lfs=self._lfs,
            )
        )
        self.engine = self._runtime.engine
        self.commit_reader = LocalCommitReader(self._find_git_dir)
        forge = GitHubClient(f"{self.url}/api", lambda: self.local_forge.service_token)
        parts = Components(
            forge=forge,
            commit_reader=self.commit_reader,
            engine=self.engine,
            policy=policy,
            pages_url=lambda: self.url,
            artifacts=self._runtime.artifacts,
            pages_secret=read_or_create_secret(root / "pages.secret"),
            webhook_secrets=lambda: [self.local_forge.webhook_secret.encode()],
            is_known_without_pulls=lambda repository: pull_api.has_no_pulls(
                self._find_git_dir(repository)
            ),
        )
        self.controller = parts.controller
        self.controller.backfill = policy.history
        # The forge is this very process.
        self.controller.replication_delay = parts.reporter.unknown_commit_period = 0.0
        # Whoever may push runs code as this user.
        gate = Middleware(
            access_gate.AccessGate,
            tokens=(self.local_forge.access_token, self.local_forge.service_token),
            hosts=None if self.is_open_to_network else {*trusted_hosts.LOOPBACK_HOSTS, url_host},
            connection_extension=http_server.CONNECTION_EXTENSION,
        )
        routes = [
            *parts.webhook_endpoint.routes(),
            *parts.page_routes(),
            *forge_routes.build_routes(self.local_forge),
        ]
        app = Starlette(routes=routes, middleware=[gate])
        self._server = http_server.HttpServer(app, self.url, self.background_threads())

    @property
    def access_token_file(self) -> Path:
        """The file of the token that everybody else needs."""
        return self.local_forge.root / auth.ACCESS_TOKEN_FILE

    @property
    def is_open_to_network(self) -> bool:
        """True if other machines reach it, so that everybody needs the token."""
        return not ipaddress.ip_address(self.listen_socket.getsockname()[0]).is_loopback

    def _find_git_dir(self, repository: Repository) -> Path:
        return self.local_forge.repository_git_dir(repository.name)

    def serve(self) -> None:
        """Serve until interrupted; runs go on, and the next ``fyre up`` on this root finds them."""
        self._server.run(sockets=[self.listen_socket])

    def stop(self) -> None:
        """Make ``serve`` return; may be called from another thread."""
        self._server.should_exit = True

    @contextmanager
    def background_threads(self) -> Iterator[None]:
        """Run the threads that process events, report and deliver, while the server answers."""
        self._runtime.start()
        self.local_forge.start(f"{self.url}/webhook")
        self.controller.start()
        try:
            yield
        finally:
            self._lfs.close()
            # webhooks that are left are delivered after the next start
            self.local_forge.outbox.stop()
            self.controller.stop()
            self.engine.close()
            self.local_forge.stop()  # late, because statuses are written to it until now
            self._runtime.stop()
            self.commit_reader.close()


def _bind_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise ``UserError`` that says whether address or port is wrong."""
    try:
        return http_server.bind_socket(host, port, "--port 0 takes a free one")
    except UserError as error:
        code = getattr(error.__cause__, "errno", None) or 0
        if code != errno.EADDRNOTAVAIL and code >= 0:  # below 0: the name has no address
            raise
        raise UserError(
            f"{host} is no address of this machine",
            hint=f"--host {LOOPBACK_ADDRESS} for this machine alone, 0.0.0.0 for all its addresses",
        ) from error.__cause__
