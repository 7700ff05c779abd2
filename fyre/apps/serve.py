"""``fyre serve``, put together: the receiver for a real forge, with mirrors of its repositories on this disk."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from fyre.apps.components import Assembly
from fyre.apps.config import Config
from fyre.apps.derived_keys import derived, kept_in
from fyre.engines.local import LocalEngine
from fyre.engines.pinning import Pinned
from fyre.engines.protocol import Engine
from fyre.errors import UserError
from fyre.git.fetching_reader import Fetched
from fyre.git.lfs import Lfs
from fyre.git.mirror_store import Clones
from fyre.github.app_auth import App, AppForge
from fyre.github.client import Forge
from fyre.runs.run import Repository
from fyre.server import http_server
from fyre.server.health import Health
from fyre.server.metrics import Counted, Metrics, Standing

if TYPE_CHECKING:
    from fyre.apps.kubernetes_runtime import Cluster

log = logging.getLogger(__name__)


class Serve:
    """``fyre serve``: all that it keeps is under ``state``; with a cluster, all of that can be had again but logs."""

    def __init__(
        self,
        config: Config,
        door: socket.socket | None = None,
        relay_door: socket.socket | None = None,
    ) -> None:
        """``door`` and ``relay_door`` listen already, where they are given.

        Raises ``UserError`` when the address or the directory can't be had, or the cluster is no use.
        """
        self.config, state = config, Path(config.get("state")).resolve()
        self._lock = _locked(state)
        self._own = derived(config.key) if config.key is not None else kept_in(state)
        self.socket = door or http_server.listen(*config.listen, "listen says which address")
        self.forge, token = _forge(config)
        self.clones = Clones(
            state / "mirrors", lambda r: f"{config.get('forge')}/{r.name}.git", token
        )
        self.source = Fetched(self.clones)
        self._lfs = Lfs(self.clones.source)
        engine, self._cluster = self._engine(state, relay_door)
        self.engine = Pinned(engine, self.clones)
        parts = Assembly(
            forge=self.forge,
            source=self.source,
            engine=self.engine,
            policy=config.policy,
            url=lambda: str(config.get("url")).rstrip("/"),
            pages_secret=self._own("pages.secret"),
            webhook_secrets=lambda: config.webhook_secret.lines() if config.webhook_secret else [],
            checks=config.get("checks"),
        )
        self.receiver = parts.receiver
        self.receiver.sweep_every, self.receiver.backfill = config.sweep_every, config.backfill
        self._server = http_server.Server(self._app(parts), self.url, self.listening())

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve(self) -> None:
        """Serve until interrupted; the runs go on, and the next ``fyre serve`` finds them."""
        self._server.run(sockets=[self.socket])

    def stop(self) -> None:
        """Have ``serve`` return, from another thread."""
        self._server.should_exit = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The threads that hear, plan, report and look after, while the server answers."""
        if self._cluster is not None:
            self._cluster.start()
        self.receiver.start()
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
            self._health.stop()  # first of all: nobody is to be sent here any more
            self.receiver.stop()
            self.engine.close()
            if self._cluster is not None:
                self._cluster.stop()
            self._lfs.close()
            self.source.close()
            os.close(self._lock)
            log.info("stopped")

    def _app(self, parts: Assembly) -> Starlette:
        metrics = Metrics()
        reach = {"forge": self._ask_forge} | (
            {"cluster": self._cluster.reach} if self._cluster is not None else {}
        )
        self._remaining: int | None = None
        self._health = Health(parts.receiver, reach, metrics.text)
        metrics.watch(
            Standing(self.engine, parts.receiver, self._health.wrong, lambda: self._remaining)
        )
        # A run's page is for who knows its address; the list of all would tell everybody.
        pages = [route for route in parts.pages.routes() if route.path.startswith("/runs/")]
        door: list[Route] = parts.door.routes() if self.config.webhook_secret is not None else []
        routes = [*self._health.routes(), *door, *pages]
        return Starlette(routes=routes, middleware=[Middleware(Counted, metrics=metrics)])

    def _ask_forge(self) -> None:
        self._remaining = self.forge.remaining()

    def _engine(
        self, state: Path, relay_door: socket.socket | None
    ) -> tuple[Engine, Cluster | None]:
        """What runs the commands: this machine, or a cluster."""
        config, git_dir = self.config, self.clones.git_dir
        if config.get("engine") == "local":
            jobs = config.get("jobs") or os.cpu_count() or 2
            return LocalEngine(
                state / "engine", git_dir=git_dir, jobs=jobs, history=config.policy.history
            ), None
        from fyre.apps.kubernetes_runtime import Cluster, OnCluster

        on = OnCluster(
            config.policy,
            config.get("kubeconfig"),
            config.get("context"),
            config.get("checkoutImage"),
            relay_door or config.get("relay") or "",
            config.get("relayUrl") or "",
            config.get("logStore") or "",
        )
        under = state / "kubernetes"
        own = self._own if config.key is not None else kept_in(under)
        code, by_id = self.clones.of, self.clones.find
        cluster = Cluster(on, under, own=own, code=code, by_id=by_id, lfs=self._lfs)
        return cluster.engine, cluster


def _forge(config: Config) -> tuple[Forge, Callable[[Repository], str]]:
    """The forge, and what git fetches its repositories with."""
    if config.app_key is not None:
        app = App(config.api, config.get("appId"), config.app_key.read)
        return AppForge(app), lambda repository: app.token(repository.name, clone=True)
    token = config.token
    if token is None:
        raise RuntimeError("a checked configuration has a credential")
    return Forge(config.api, token.read), lambda _: token.read()


def _locked(state: Path) -> int:
    """The directory, as this process's alone: a descriptor to be kept open."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"state {state} can't be used: {error.strerror}", hint="state names a directory of ours"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UserError(
            f"another fyre serve uses {state}", hint="stop it, or choose another state"
        ) from error
    return descriptor
