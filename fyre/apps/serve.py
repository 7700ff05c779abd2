"""``fyre serve``: the receiver for a forge, with mirrors of its repositories on this disk."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from fyre.apps.components import Components
from fyre.apps.config import Config
from fyre.apps.derived_keys import secrets_from_folder, secrets_from_key
from fyre.apps.engine_registry import find_engine
from fyre.engines.factory import EngineContext, EngineOptions, EngineRuntime
from fyre.engines.pinning import PinningEngine
from fyre.errors import UserError
from fyre.git.fetching_reader import FetchingCommitReader
from fyre.git.lfs import LfsObjectStore
from fyre.git.mirror_store import MirrorStore
from fyre.github.app_auth import GitHubApp, GitHubAppClient
from fyre.github.client import GitHubClient
from fyre.regular_files import open_regular
from fyre.runs.run import Repository
from fyre.server import http_server
from fyre.server.health import HealthMonitor
from fyre.server.metrics import DeliveryMetricsMiddleware, Metrics, StateCollector

log = logging.getLogger(__name__)


class FyreServe:
    """The parts of ``fyre serve``, put together.

    All that it stores is under ``state``. With a cluster, all of it can be made again, except logs.
    """

    def __init__(
        self,
        config: Config,
        listen_socket: socket.socket | None = None,
        relay_socket: socket.socket | None = None,
    ) -> None:
        """Lock the state, bind the address and build all parts.

        ``listen_socket`` and ``relay_socket``, if given, listen already.

        Raises ``UserError`` if the address, the directory or the cluster can't be used.
        """
        self.config, state = config, Path(config.get("state")).resolve()
        self._state_lock = _lock_state(state)
        self._secret_source = (
            secrets_from_key(config.shared_key)
            if config.shared_key is not None
            else secrets_from_folder(state)
        )
        self.listen_socket = listen_socket or http_server.bind_socket(
            *config.listen_address, "listen says which address"
        )
        self.forge, token, renew_token = _create_client(config)
        self.mirrors = MirrorStore(
            state / "mirrors",
            lambda repository: f"{config.get('forge')}/{repository.name}.git",
            token,
            renew_token=renew_token,
        )
        self.commit_reader = FetchingCommitReader(self.mirrors)
        self._lfs = LfsObjectStore(self.mirrors.find_remote)
        self._runtime = self._create_engine(state, relay_socket)
        self.engine = PinningEngine(self._runtime.engine, self.mirrors)
        parts = Components(
            forge=self.forge,
            commit_reader=self.commit_reader,
            engine=self.engine,
            policy=config.policy,
            pages_url=lambda: str(config.get("url")).rstrip("/"),
            pages_secret=self._secret_source("pages.secret"),
            webhook_secrets=lambda: (
                config.webhook_secret.read_lines() if config.webhook_secret else []
            ),
            with_check_runs=config.get("checks"),
            artifacts=self._runtime.artifacts,
        )
        self.controller = parts.controller
        self.controller.sweep_every, self.controller.backfill = config.sweep_every, config.backfill
        self._server = http_server.HttpServer(
            self._build_app(parts), self.listen_url, self.background_threads()
        )

    @property
    def listen_url(self) -> str:
        """The URL of the address on which it listens."""
        host, port = self.listen_socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve(self) -> None:
        """Serve until interrupted; runs go on, and the next ``fyre serve`` finds them."""
        self._server.run(sockets=[self.listen_socket])

    def stop(self) -> None:
        """Make ``serve`` return; may be called from another thread."""
        self._server.should_exit = True

    @contextmanager
    def background_threads(self) -> Iterator[None]:
        """Run the threads that process events, report and check, while the server answers."""
        self._runtime.start()
        self.controller.start()
        self._health.start()
        log.info(
            "serving",
            extra={
                "forge": self.forge.url,
                "engine": self.engine.name,
                "url": self.config.get("url"),
            },
        )
        try:
            yield
        finally:
            self._health.stop()  # first, so that no more traffic is sent to this process
            self.mirrors.cut_fetches()
            self.controller.stop()
            self.engine.close()
            self._runtime.stop()
            self._lfs.close()
            self.commit_reader.close()
            os.close(self._state_lock)
            log.info("stopped")

    def _build_app(self, parts: Components) -> Starlette:
        metrics = Metrics()
        connection_checks = {"forge": self._poll_forge, **self._runtime.connection_checks()}
        self._requests_remaining: int | None = None
        self._health = HealthMonitor(parts.controller, connection_checks, metrics.render_text)
        metrics.register_collector(
            StateCollector(
                self.engine,
                parts.controller,
                self._health.check_results,
                lambda: self._requests_remaining,
            )
        )
        # A run's page is for people who know its address; the list would show it to everybody.
        page_routes = [route for route in parts.page_routes() if route.path.startswith("/runs/")]
        webhook_routes: list[Route] = (
            parts.webhook_endpoint.routes() if self.config.webhook_secret is not None else []
        )
        routes = [*self._health.routes(), *webhook_routes, *page_routes]
        return Starlette(
            routes=routes, middleware=[Middleware(DeliveryMetricsMiddleware, metrics=metrics)]
        )

    def _poll_forge(self) -> None:
        self._requests_remaining = self.forge.remaining_requests()

    def _create_engine(self, state: Path, relay_socket: socket.socket | None) -> EngineRuntime:
        config = self.config
        options = EngineOptions(
            jobs=config.get("jobs") or os.cpu_count() or 2,
            kubeconfig=config.get("kubeconfig"),
            context=config.get("context"),
            checkout_image=config.get("checkoutImage"),
            upload_image=config.get("uploadImage") or "",
            relay=relay_socket or config.get("relay") or "",
            relay_url=config.get("relayUrl") or "",
            log_store=config.get("logStore") or "",
            artifact_store=config.get("artifactStore") or "",
        )
        return find_engine(config.get("engine")).create(
            EngineContext(
                state,
                config.policy,
                find_git_dir=self.mirrors.mirror_dir,
                find_code=self.mirrors.mirror_for_run,
                find_git_dir_by_id=self.mirrors.find_mirror,
                options=options,
                secret_source=self._secret_source if config.shared_key is not None else None,
                lfs=self._lfs,
                fetch_commit=self.mirrors.fetch_wanted,
            )
        )


def _create_client(
    config: Config,
) -> tuple[GitHubClient, Callable[[Repository], str], Callable[[Repository, str], bool]]:
    """Return a client of the forge, a function for the token with which git fetches, and one that
    replaces a token that was refused.
    """
    if config.app_key is not None:
        app = GitHubApp(config.api_url, config.get("appId"), config.app_key.read_secret)
        return (
            GitHubAppClient(app),
            lambda repository: app.installation_token(repository.name, for_clone=True),
            lambda repository, refused: app.renew_token(repository.name, refused, for_clone=True),
        )
    token = config.token
    if token is None:
        raise RuntimeError("a checked configuration has a credential")
    return (
        GitHubClient(config.api_url, token.read_secret),
        lambda _: token.read_secret(),
        lambda *_: False,
    )


def _lock_state(state: Path) -> int:
    """Lock the state directory for this process; return a descriptor that must stay open."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = open_regular(state / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UserError(
            f"state {state} can't be used: {error.strerror}",
            hint="state must name a directory that Fyre may write",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UserError(
            f"another fyre serve uses {state}", hint="stop it, or choose another state"
        ) from error
    return descriptor
