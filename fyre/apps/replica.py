"""``fyre serve`` as one of several replicas: all accept connections, only the leader plans.

Only the leader reports, too, so no invariant needs a lock across machines. Only the Lease says who
leads, and a new leader finds out what to do from the forge and the cluster, as after any restart.
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
    """One receiver of several: a follower that proxies connections, or the leader."""

    def __init__(self, config: Config) -> None:
        """Bind the addresses, and prepare the election.

        Raises ``UserError`` if an address can't be used, or the cluster does not grant the Lease.
        """
        if config.shared_key is None:
            raise RuntimeError("a checked configuration with a lease has a key")
        # The key is read once: if it were replaced in its file while this replica is a follower, it
        # would no longer be the key that was compared with the Lease.
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
            listening
            for listening in (self.listen_socket, self._relay_socket)
            if listening is not None
        ]
        self._addresses = [
            f"{config.get('advertise')}:{listening.getsockname()[1]}"
            for listening in self._listen_sockets
        ]
        # The random part is needed because hosts made from one image may have the same name: each
        # would take the Lease for its own.
        identity = " ".join([f"{socket.gethostname()}_{secrets.token_hex(4)}", *self._addresses])
        namespace, _, name = str(config.get("lease")).partition("/")
        self._stop_requested = False
        self._stop_current: Callable[[], None] = lambda: None  # stops the current role
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
        """Be a follower until this replica is elected, then lead; until interrupted."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        # The handler is C's `_exit`, not a Python handler and not the default: it acts before any
        # Python thread does, and also in process 1.
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
        """Proxy connections to the leader until this replica is elected or must stop."""
        end_event, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop_current = partial(_set_event, loop, end_event)
        if self._stop_requested:
            return
        self._election.start(partial(_set_event, loop, end_event), _exit_at_once, _arm_watchdog)
        log.info("stands by", extra={"url": self._config.get("url")})
        await LeaderProxy(
            self._listen_sockets, self._leader_addresses, self._election.block_reason
        ).serve(end_event)
        self._stop_current = lambda: None

    def _run_leader(self) -> None:
        fyre_serve = FyreServe(self._config, self.listen_socket, self._relay_socket)
        self._stop_current = fyre_serve.stop
        if self._stop_requested:  # while the parts were being put together
            fyre_serve.stop()
        fyre_serve.serve()

    def _on_sigterm(self, *_: object) -> None:
        """Handle SIGTERM.

        While uvicorn serves, it handles the signal itself, and raises it again when it has stopped.
        """
        self._stop_requested = True
        self._stop_current()

    def _leader_addresses(self) -> list[Address] | None:
        """Return the addresses of the leader; None if there is no leader to proxy to.

        A Lease with this replica's own addresses counts as none: it is from before a restart, or
        ``advertise`` is wrong.
        """
        _, *addresses = self._election.current_holder().split() or [""]
        if len(addresses) != len(self._listen_sockets) or addresses == self._addresses:
            return None
        split = [address.rpartition(":") for address in addresses]
        if not all(
            port.isdecimal() and len(port) <= 5 and int(port) < 65536 for _, _, port in split
        ):
            return None  # no replica of Fyre wrote this Lease
        return [(host.strip("[]"), int(port)) for host, _, port in split]


def _set_event(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    # the loop is closed if this replica must stop in the same moment in which it is elected
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)


def _arm_watchdog(seconds: float) -> None:
    """Make the kernel end this process after some seconds, unless it is called again before.

    A process that was paused for long must not do anything more when it continues. The timer ends
    two seconds early, so that the next leader has not started yet; the election itself ends the
    process earlier, and logs why.
    """
    signal.setitimer(signal.ITIMER_REAL, max(seconds - 2, 0.001))


def _exit_at_once() -> NoReturn:
    """Exit at once, as if killed, when the Lease is lost: nothing needs a clean end."""
    os._exit(1)
