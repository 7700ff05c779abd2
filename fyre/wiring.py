"""Which parts make the whole: the one place where adapters are chosen and put together."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from fyre.embedded import api, hosts
from fyre.embedded.forge import Forge as EmbeddedForge
from fyre.engines import Engine
from fyre.engines.index import Index
from fyre.engines.local import LocalEngine
from fyre.errors import UserError
from fyre.forge import Forge
from fyre.ledger import Ledger
from fyre.mirrors import Mirrors
from fyre.policy import Policy
from fyre.receiver.app import Door
from fyre.receiver.hands import Hands
from fyre.receiver.pages import Pages
from fyre.receiver.reconcile import Receiver
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
        self.socket = _listen(host, port)
        self.url = f"http://{host}:{self.socket.getsockname()[1]}"
        root = root.resolve()
        policy = on.policy if on is not None else Policy()
        self.embedded = EmbeddedForge(root, base_url=self.url)
        self.engine, self._cluster = self._engine(root, policy, jobs, on, keep_checkouts=keep_checkouts)
        self.mirrors = Mirrors(self._git_dir)
        forge = Forge(f"{self.url}/api", lambda: self.embedded.service_token)
        index = Index(self.engine)
        pages = Pages(self.engine, _secret(root / "pages.secret"), lambda: self.url)
        ledger = Ledger(forge, self.engine, index, pages.url)
        self.receiver = Receiver(
            Hands(forge, self.mirrors, self.engine, index, ledger, policy), backfill=policy.history
        )
        door = Door(forge.url, lambda: [self.embedded.webhook_secret.encode()], self.receiver.hear)
        # A page of another site can't reach us through a name of its own that it points at this machine.
        trusted = Middleware(hosts.TrustedHosts, hosts=(host, *hosts.LOOPBACK))
        routes = [*door.routes(), *pages.routes(), *api.routes(self.embedded)]
        app = Starlette(routes=routes, middleware=[trusted])
        config = uvicorn.Config(
            app, http="httptools", lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=1
        )
        self._server = _Server(config, self)

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

        cluster = Cluster(on, root / "kubernetes", self._git_dir, self.embedded.shelf.git_dir_of)
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
            self.embedded.stop()
            self.receiver.stop()
            self.engine.close()
            if self._cluster is not None:
                self._cluster.stop()
            self.mirrors.close()


class _Server(uvicorn.Server):
    """uvicorn, that says when it is ready; the threads start then, as they talk to it."""

    def __init__(self, config: uvicorn.Config, up: Up) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then the threads, then the line that scripts wait for."""
        await super().startup(sockets=sockets)
        self._listening = self._up.listening()
        self._listening.__enter__()
        sys.stderr.write(f"ready {self._up.url}\n")
        sys.stderr.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the threads while the server still answers them, then the server."""
        import asyncio

        await asyncio.to_thread(self._listening.__exit__, None, None, None)
        await super().shutdown(sockets=sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise UserError(
            f"port {port} on {host} can't be had: {os.strerror(error.errno or 0)}", hint="--port 0 takes a free one"
        ) from error


def _secret(path: Path) -> bytes:
    """The secret kept in a file that only this user can read; made on first use."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_bytes()
