"""``fyre serve`` as one of several: all of them are doors, one of them leads, and plans and reports alone.

So no invariant needs a lock across machines. Nothing but the Lease says who leads, and whoever comes to lead derives
what is to be done from the forge and the cluster, as after any restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from typing import NoReturn

from fyre import clusters, httpserver
from fyre.config import Config
from fyre.engines.kubernetes.api import Api
from fyre.engines.kubernetes.lease import Election
from fyre.errors import TryAgainError, UserError
from fyre.serving import Serve
from fyre.standby import Address, Standby

log = logging.getLogger(__name__)


class Replica:
    """One receiver of several."""

    def __init__(self, config: Config) -> None:
        """Raises ``UserError`` when an address can't be had, or the cluster does not let us hold the lease."""
        self._config = config
        self.socket = httpserver.listen(*config.listen, "listen says which address")
        relay = config.get("relay")
        self._relay = clusters.relay_socket(relay) if relay else None
        self._doors = [door for door in (self.socket, self._relay) if door is not None]
        namespace, _, name = str(config.get("lease")).partition("/")
        try:
            api = Api(config.get("kubeconfig"), config.get("context"))
            self._election = Election(api, namespace, name, self._identity())
        except TryAgainError as error:
            raise UserError(str(error), hint="is the API server there? a pod is started again by itself") from error

    def serve(self) -> None:
        """Be a door until it is this one's turn to lead, then lead; until interrupted."""
        try:
            if not asyncio.run(self._stand_by()):
                log.info("stopped")
                return
            # uvicorn stops on it, and raises it anew when it has stopped: that it did is no failure.
            signal.signal(signal.SIGTERM, lambda *_: None)
            Serve(self._config, self.socket, self._relay).serve()
        finally:
            self._election.resign()

    async def _stand_by(self) -> bool:
        """Hand on until it is our turn: True. False when we were told to stop."""
        turn, told, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _set, told, turn)
        self._election.start(lambda: _wake(loop, turn), _end)
        log.info("stands by", extra={"url": self._config.get("url")})
        await Standby(self._doors, self._leader).serve(turn)
        return not told.is_set()

    def _identity(self) -> str:
        """Pod, and where the others reach its doors."""
        host = self._config.get("advertise")
        return " ".join([socket.gethostname(), *(f"{host}:{door.getsockname()[1]}" for door in self._doors)])

    def _leader(self) -> list[Address] | None:
        _, *addresses = self._election.holder().split() or [""]
        if len(addresses) != len(self._doors) or self._election.holder() == self._identity():
            return None
        split = [address.rpartition(":") for address in addresses]
        return [(host.strip("[]"), int(port)) for host, _, port in split]


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


def _set(*events: asyncio.Event) -> None:
    for event in events:
        event.set()


def _end() -> NoReturn:
    """Whoever may no longer lead stops in this instant, as if killed: nothing of ours needs more to stay right."""
    os._exit(1)
