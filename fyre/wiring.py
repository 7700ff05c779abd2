"""Which parts make the whole: the one place where adapters are chosen and put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from fyre import httpserver
from fyre.assembly import Assembly
from fyre.embedded import api, hosts
from fyre.embedded.forge import Forge as EmbeddedForge
from fyre.engines import Engine
from fyre.engines.local import LocalEngine
from fyre.forge import Forge
from fyre.mirrors import Mirrors
from fyre.ownsecrets import kept, kept_in
from fyre.policy import Policy
from fyre.run import Repository

if TYPE_CHECKING:
    from fyre.clusters import Cluster, OnCluster

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
        self.socket = httpserver.listen(host, port, "--port 0 takes a free one")
        self.url = f"http://{host}:{self.socket.getsockname()[1]}"
        root = root.resolve()
        policy = on.policy if on is not None else Policy()
        self.embedded = EmbeddedForge(root, base_url=self.url)
        self.engine, self._cluster = self._engine(root, policy, jobs, on, keep_checkouts=keep_checkouts)
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
        trusted = Middleware(hosts.TrustedHosts, hosts=(host, *hosts.LOOPBACK))
        routes = [*parts.door.routes(), *parts.pages.routes(), *api.routes(self.embedded)]
        app = Starlette(routes=routes, middleware=[trusted])
        self._server = httpserver.Server(app, self.url, self.listening())

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
        from fyre.clusters import Cluster

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
