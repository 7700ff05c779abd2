"""Which parts make the whole: the one place where adapters are chosen and put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from fyre.apps.components import Assembly
from fyre.apps.derived_keys import kept, kept_in
from fyre.engines.local import LocalEngine
from fyre.engines.protocol import Engine
from fyre.git.commit_reader import Mirrors
from fyre.github.client import Forge
from fyre.local_forge import trusted_hosts
from fyre.local_forge.api import routes as forge_routes
from fyre.local_forge.forge import Forge as EmbeddedForge
from fyre.runs.policy import Policy
from fyre.runs.run import Repository
from fyre.server import http_server

if TYPE_CHECKING:
    from fyre.apps.kubernetes_runtime import Cluster, OnCluster

LOOPBACK = "127.0.0.1"


class Up:
    """``fyre up``: forge, receiver and engine in one process, on one port, all state under ``root``."""

    def __init__(
        self,
        root: Path,
        host: str,
        port: int,
        jobs: int,
        *,
        keep_checkouts: bool = False,
        on: OnCluster | None = None,  # a cluster instead of this machine
    ) -> None:
        """Raises ``UserError`` when the port is taken, another ``fyre up`` uses the same root, or ``on`` is no use."""
        self.socket = http_server.listen(host, port, "--port 0 takes a free one")
        self.url = f"http://{host}:{self.socket.getsockname()[1]}"
        root = root.resolve()
        policy = on.policy if on is not None else Policy()
        self.embedded = EmbeddedForge(root, base_url=self.url)
        self.engine, self._cluster = self._engine(
            root, policy, jobs, on, keep_checkouts=keep_checkouts
        )
        self.mirrors = Mirrors(self._git_dir)
        forge = Forge(f"{self.url}/api", lambda: self.embedded.service_token)
        parts = Assembly(
            forge=forge,
            source=self.mirrors,
            engine=self.engine,
            policy=policy,
            url=lambda: self.url,
            pages_secret=kept(root / "pages.secret"),
            webhook_secrets=lambda: [self.embedded.webhook_secret.encode()],
        )
        self.receiver = parts.receiver
        self.receiver.backfill = policy.history
        self.receiver.unseen = 0.0  # the forge is this very process
        # A page of another site can't reach us through a name of its own that it points at this machine.
        trusted = Middleware(trusted_hosts.TrustedHosts, hosts=(host, *trusted_hosts.LOOPBACK))
        routes = [*parts.door.routes(), *parts.pages.routes(), *forge_routes.routes(self.embedded)]
        app = Starlette(routes=routes, middleware=[trusted])
        self._server = http_server.Server(app, self.url, self.listening())

    def _engine(
        self, root: Path, policy: Policy, jobs: int, on: OnCluster | None, *, keep_checkouts: bool
    ) -> tuple[Engine, Cluster | None]:
        """What runs the commands: this machine, or a cluster."""
        if on is None:
            local = LocalEngine(
                root / "engine",
                git_dir=self._git_dir,
                jobs=jobs,
                history=policy.history,
                keep_checkouts=keep_checkouts,
            )
            return local, None
        from fyre.apps.kubernetes_runtime import Cluster

        state = root / "kubernetes"
        cluster = Cluster(
            on,
            state,
            own=kept_in(state),
            code=lambda run: self._git_dir(run.repository),
            by_id=self.embedded.shelf.git_dir_of,
        )
        return cluster.engine, cluster

    def _git_dir(self, repository: Repository) -> Path:
        return self.embedded.git_dir(repository.name)

    def serve(self) -> None:
        """Serve until interrupted; the runs go on, and the next ``fyre up`` on this root finds them."""
        self._server.run(sockets=[self.socket])

    def stop(self) -> None:
        """Have ``serve`` return, from another thread."""
        self._server.should_exit = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The threads that hear, plan, report and deliver, while the server answers."""
        if self._cluster is not None:
            self._cluster.start()
        self.embedded.start(f"{self.url}/webhook")
        self.receiver.start()
        try:
            yield
        finally:
            self.embedded.outbox.stop()  # what it would still deliver, it delivers after the next start
            self.receiver.stop()
            self.engine.close()
            self.embedded.stop()  # the last: statuses were written to it until now
            if self._cluster is not None:
                self._cluster.stop()
            self.mirrors.close()
