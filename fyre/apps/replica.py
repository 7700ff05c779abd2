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
from fyre.apps.derived_keys import derived, instance
from fyre.apps.secret_file import Secret
from fyre.apps.serve import Serve
from fyre.engines.kubernetes.api_client import Api
from fyre.engines.kubernetes.leader_election import Election
from fyre.errors import TryAgainError, UserError
from fyre.server import http_server
from fyre.server.leader_proxy import Address, Standby

log = logging.getLogger(__name__)


class Replica:
    """One receiver of several."""

    def __init__(self, config: Config) -> None:
        """Raises ``UserError`` when an address can't be had, or the cluster does not let us hold the lease."""
        if config.key is None:
            raise RuntimeError("a checked configuration with a lease has a key")
        # Read once: one that is replaced in its file while we stand by is another one than the Lease was compared with.
        key = Secret(config.key.what, config.key.origin, value=config.key.read())
        self._config = replace(config, key=key)
        self.socket = http_server.listen(*config.listen, "listen says which address")
        relay = config.get("relay")
        self._relay = kubernetes_runtime.relay_socket(relay) if relay else None
        self._doors = [door for door in (self.socket, self._relay) if door is not None]
        self._addresses = [
            f"{config.get('advertise')}:{door.getsockname()[1]}" for door in self._doors
        ]
        # The number: of two with the same name, as of hosts made from one image, each would take the lease for its own.
        identity = " ".join([f"{socket.gethostname()}_{secrets.token_hex(4)}", *self._addresses])
        namespace, _, name = str(config.get("lease")).partition("/")
        self._told = False
        self._stop: Callable[[], None] = lambda: None  # ends what is being done now
        try:
            api = Api(config.get("kubeconfig"), config.get("context"))
            self._election = Election(api, namespace, name, identity, instance(derived(key)))
        except TryAgainError as error:
            raise UserError(
                str(error), hint="is the API server there? a pod is started again by itself"
            ) from error

    def serve(self) -> None:
        """Be a door until it is this one's turn to lead, then lead; until interrupted."""
        signal.signal(signal.SIGTERM, self._on_term)
        # C's handler, not Python's, and not the default: it acts before a thread of ours does, and in process 1 too.
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGALRM, ctypes.cast(libc["_exit"], ctypes.c_void_p))
        try:
            asyncio.run(self._stand_by())
            if self._told:
                log.info("stopped")
            else:
                self._lead()
        finally:
            self._election.resign()
            signal.setitimer(signal.ITIMER_REAL, 0)

    async def _stand_by(self) -> None:
        """Hand on until it is our turn, or we are told to stop."""
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = partial(_wake, loop, end)
        if self._told:
            return
        self._election.start(partial(_wake, loop, end), _end, _live_for)
        log.info("stands by", extra={"url": self._config.get("url")})
        await Standby(self._doors, self._leader, self._election.refusal).serve(end)
        self._stop = lambda: None

    def _lead(self) -> None:
        served = Serve(self._config, self.socket, self._relay)
        self._stop = served.stop
        if self._told:  # while all of it was put together
            served.stop()
        served.serve()

    def _on_term(self, *_: object) -> None:
        """Of the whole life, uvicorn's own time excepted: it raises the signal anew when it has stopped."""
        self._told = True
        self._stop()

    def _leader(self) -> list[Address] | None:
        """Where whoever leads is reached; nobody, where that is this one: its last life's lease, or a wrong name."""
        _, *addresses = self._election.holder().split() or [""]
        if len(addresses) != len(self._doors) or addresses == self._addresses:
            return None
        split = [address.rpartition(":") for address in addresses]
        if not all(
            port.isdecimal() and len(port) <= 5 and int(port) < 65536 for _, _, port in split
        ):  # a lease that is not of ours
            return None
        return [(host.strip("[]"), int(port)) for host, _, port in split]


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(
        RuntimeError
    ):  # closed: we were told to stop in the moment in which we came to lead
        loop.call_soon_threadsafe(event.set)


def _live_for(seconds: float) -> None:
    """Have the kernel end us when that is over: who was stopped for long must not do one thing more when it goes on.

    Two seconds before, so that the next leader has not even begun; the election itself ends us earlier, and says why.
    """
    signal.setitimer(signal.ITIMER_REAL, max(seconds - 2, 0.001))


def _end() -> NoReturn:
    """Whoever may no longer lead stops in this instant, as if killed: nothing of ours needs more to stay right."""
    os._exit(1)
