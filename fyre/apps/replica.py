"""``fyre serve`` as one of several: all of them are doors, one of them leads, and plans and reports alone.

So no invariant needs a lock across machines. Nothing but the Lease says who leads, and whoever comes to lead derives
what is to be done from the forge and the cluster, as after any restart.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NoReturn

from fyre.apps import kubernetes_runtime
from fyre.apps.config import Config
from fyre.apps.derived_keys import instance_name, secrets_from_key
from fyre.apps.secret_file import Secret
from fyre.apps.serve import FyreServe
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.leader_election import Election
from fyre.errors import TransientError, UserError
from fyre.server import http_server
from fyre.server.leader_proxy import Address, LeaderProxy

log = logging.getLogger(__name__)


class Replica:
    """One receiver of several."""

    def __init__(self, config: Config) -> None:
        """Raises ``UserError`` when an address can't be had, or the cluster does not let us hold the lease."""
        if config.shared_key is None:
            raise RuntimeError("a checked configuration with a lease has a key")
        # Read once: one that is replaced in its file while we stand by is another one than the Lease was compared with.
        key = Secret(
            config.shared_key.description,
            config.shared_key.origin,
            value=config.shared_key.read_secret(),
        )
        self._config = replace(config, shared_key=key)
        self.listen_socket = http_server.bind_socket(
            *config.listen_address, "listen says which address"
        )
        relay = config.get("relay")
        self._relay_socket = kubernetes_runtime.open_relay_socket(relay) if relay else None
        self._listen_sockets = [
            door for door in (self.listen_socket, self._relay_socket) if door is not None
        ]
        self._addresses = [
            f"{config.get('advertise')}:{door.getsockname()[1]}" for door in self._listen_sockets
        ]
        # The number: of two with the same name, as of hosts made from one image, each would take the lease for its own.
        identity = " ".join([f"{socket.gethostname()}_{secrets.token_hex(4)}", *self._addresses])
        namespace, _, name = str(config.get("lease")).partition("/")
        self._stop_requested = False
        self._stop_current: Callable[[], None] = lambda: None  # ends what is being done now
        try:
            api = KubernetesClient(config.get("kubeconfig"), config.get("context"))
            self._election = Election(
                api, namespace, name, identity, instance_name(secrets_from_key(key))
            )
        except TransientError as error:
            raise UserError(
                str(error), hint="is the API server there? a pod is started again by itself"
            ) from error

    def serve(self) -> None:
        """Be a door until it is this one's turn to lead, then lead; until interrupted."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        # C's handler, not Python's, and not the default: it acts before a thread of ours does, and in process 1 too.
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGALRM, ctypes.cast(libc["_exit"], ctypes.c_void_p))
        try:
            asyncio.run(self._run_follower())
            if self._stop_requested:
                log.info("stopped")
            else:
                self._run_leader()
        finally:
            self._election.resign()
            signal.setitimer(signal.ITIMER_REAL, 0)

    async def _run_follower(self) -> None:
        """Hand on until it is our turn, or we are told to stop."""
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop_current = partial(_set_event, loop, end)
        if self._stop_requested:
            return
        self._election.start(partial(_set_event, loop, end), _exit_at_once, _arm_watchdog)
        log.info("stands by", extra={"url": self._config.get("url")})
        await LeaderProxy(
            self._listen_sockets, self._leader_addresses, self._election.block_reason
        ).serve(end)
        self._stop_current = lambda: None

    def _run_leader(self) -> None:
        served = FyreServe(self._config, self.listen_socket, self._relay_socket)
        self._stop_current = served.stop
        if self._stop_requested:  # while all of it was put together
            served.stop()
        served.serve()

    def _on_sigterm(self, *_: object) -> None:
        """Of the whole life, uvicorn's own time excepted: it raises the signal anew when it has stopped."""
        self._stop_requested = True
        self._stop_current()

    def _leader_addresses(self) -> list[Address] | None:
        """Where whoever leads is reached; nobody, where that is this one: its last life's lease, or a wrong name."""
        _, *addresses = self._election.current_holder().split() or [""]
        if len(addresses) != len(self._listen_sockets) or addresses == self._addresses:
            return None
        split = [address.rpartition(":") for address in addresses]
        if not all(
            port.isdecimal() and len(port) <= 5 and int(port) < 65536 for _, _, port in split
        ):  # a lease that is not of ours
            return None
        return [(host.strip("[]"), int(port)) for host, _, port in split]


def _set_event(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(
        RuntimeError
    ):  # closed: we were told to stop in the moment in which we came to lead
        loop.call_soon_threadsafe(event.set)


def _arm_watchdog(seconds: float) -> None:
    """Have the kernel end us when that is over: who was stopped for long must not do one thing more when it goes on.

    Two seconds before, so that the next leader has not even begun; the election itself ends us earlier, and says why.
    """
    signal.setitimer(signal.ITIMER_REAL, max(seconds - 2, 0.001))


def _exit_at_once() -> NoReturn:
    """Whoever may no longer lead stops in this instant, as if killed: nothing of ours needs more to stay right."""
    os._exit(1)
