"""``fyre up``: the local forge, the receiver and an engine, put together in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from fyre.apps.components import Components
from fyre.apps.derived_keys import read_or_create_secret, secrets_from_folder
from fyre.engines.local import LocalEngine
from fyre.engines.protocol import Engine
from fyre.git.commit_reader import LocalCommitReader
from fyre.github.client import GitHubClient
from fyre.local_forge import trusted_hosts
from fyre.local_forge.api import routes as forge_routes
from fyre.local_forge.forge import LocalForge
from fyre.runs.policy import Policy
from fyre.runs.run import Repository
from fyre.server import http_server

if TYPE_CHECKING:
    from fyre.apps.kubernetes_runtime import ClusterOptions, KubernetesCluster

LOOPBACK_ADDRESS = "127.0.0.1"


class FyreUp:
    """Forge, receiver and engine in one process, on one port, with all state under ``root``."""

    def __init__(
        self,
        root: Path,
        host: str,
        port: int,
        jobs: int,
        *,
        keep_checkouts: bool = False,
        cluster_options: ClusterOptions | None = None,  # None: this machine
    ) -> None:
        """Bind the port and build all parts.

        Raises ``UserError`` if the port is taken, another ``fyre up`` uses the same root, or the
        cluster can't be used.
        """
        self.listen_socket = http_server.bind_socket(host, port, "--port 0 takes a free one")
        self.url = f"http://{host}:{self.listen_socket.getsockname()[1]}"
        root = root.resolve()
        policy = cluster_options.policy if cluster_options is not None else Policy()
        self.local_forge = LocalForge(root, base_url=self.url)
        self.engine, self._cluster = self._create_engine(
            root, policy, jobs, cluster_options, keep_checkouts=keep_checkouts
        )
        self.commit_reader = LocalCommitReader(self._find_git_dir)
        forge = GitHubClient(f"{self.url}/api", lambda: self.local_forge.service_token)
        parts = Components(
            forge=forge,
            commit_reader=self.commit_reader,
            engine=self.engine,
            policy=policy,
            pages_url=lambda: self.url,
            pages_secret=read_or_create_secret(root / "pages.secret"),
            webhook_secrets=lambda: [self.local_forge.webhook_secret.encode()],
        )
        self.controller = parts.controller
        self.controller.backfill = policy.history
        self.controller.replication_delay = 0.0  # the forge is this very process
        # A page of another site can't reach Fyre through a host name that points at this machine.
        trusted = Middleware(
            trusted_hosts.TrustedHostsMiddleware, hosts=(host, *trusted_hosts.LOOPBACK_HOSTS)
        )
        routes = [
            *parts.webhook_endpoint.routes(),
            *parts.pages.routes(),
            *forge_routes.build_routes(self.local_forge),
        ]
        app = Starlette(routes=routes, middleware=[trusted])
        self._server = http_server.HttpServer(app, self.url, self.background_threads())

    def _create_engine(
        self,
        root: Path,
        policy: Policy,
        jobs: int,
        cluster_options: ClusterOptions | None,
        *,
        keep_checkouts: bool,
    ) -> tuple[Engine, KubernetesCluster | None]:
        """Return the engine for this machine or a cluster, and the cluster if there is one."""
        if cluster_options is None:
            local = LocalEngine(
                root / "engine",
                find_git_dir=self._find_git_dir,
                jobs=jobs,
                history=policy.history,
                keep_checkouts=keep_checkouts,
            )
            return local, None
        from fyre.apps.kubernetes_runtime import KubernetesCluster

        state = root / "kubernetes"
        cluster = KubernetesCluster(
            cluster_options,
            state,
            secret_source=secrets_from_folder(state),
            find_code=lambda run: self._find_git_dir(run.repository),
            git_dir_by_id=self.local_forge.repositories.find_git_dir,
        )
        return cluster.engine, cluster

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
        if self._cluster is not None:
            self._cluster.start()
        self.local_forge.start(f"{self.url}/webhook")
        self.controller.start()
        try:
            yield
        finally:
            # webhooks that are left are delivered after the next start
            self.local_forge.outbox.stop()
            self.controller.stop()
            self.engine.close()
            self.local_forge.stop()  # late, because statuses are written to it until now
            if self._cluster is not None:
                self._cluster.stop()
            self.commit_reader.close()
