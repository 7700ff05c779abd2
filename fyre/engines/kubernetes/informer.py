"""Jobs and pods as they change, by the library's informer: listed in pages, trimmed, and asked for without haste.

The informer resumes after a lost watch and lists anew after 410; it would also ask hundreds of times a second while
the API server is away (seen with 37.0), so the pace is kept here, in the function that it lists and watches with.
That function says nothing of a return type: with one, the library makes JSON of each object once more and parses it
again. Without one it leaves it to us to remember how far the watch has come.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from kubernetes import informer

from fyre.backoff import Backoff
from fyre.engines.kubernetes import api_client, pod_facts
from fyre.engines.kubernetes.pod_facts import Object

log = logging.getLogger(__name__)

PAGE = 500
"""Objects in one answer: an API server holds a whole page in memory, and so do we."""

WATCH = 290
"""Seconds after which a watch is ended by the server and begun again, so that a dead one is not believed for ever."""

_BACKOFF = Backoff(0.2, 10.0)  # between two requests: the first pause as long as none fails


class Watch:
    """The objects of one kind in one namespace; ``changed(event, object)`` is called for each, one at a time."""

    def __init__(self, cluster: api_client.Api, kind: str, namespace: str, selector: str,
                 changed: Callable[[str, Object], None]) -> None:  # fmt: skip
        self._list = cluster.lister(kind)
        self._what = f"{kind} in {namespace}"
        self.synced = threading.Event()
        self._stopped = threading.Event()
        self._failures = 0
        self._asked_at = 0.0
        self._version = ""  # of the last event of this watch; "" right after a list
        self._watching = False
        self._answer: Any = None
        shared: Any = informer.SharedInformer  # it comes without types
        self._informer = shared(self._list_or_watch, namespace=namespace, label_selector=selector)
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED, informer.BOOKMARK):
            self._informer.add_event_handler(event, self._remember)
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED):
            self._informer.add_event_handler(event, partial(_hand_on, changed, event))
        self._informer.add_event_handler(informer.ERROR, self._failed)
        logging.getLogger("kubernetes.informer").setLevel(
            logging.CRITICAL
        )  # a traceback a try; we say it once

    def start(self) -> None:
        """List, then watch, in a thread of its own; ``synced`` is set once the list was handed on."""
        self._informer.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        _end(
            self._answer
        )  # the informer overlooks one that comes while it is being stopped, and waits for its end
        self._informer.stop()

    def _list_or_watch(  # what the informer hands on, and wants to have
        self,
        *,
        watch: bool = False,
        resource_version: str = "",
        _preload_content: bool = True,
        **where: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """What the informer calls for both."""
        self._keep_pace()
        if self._stopped.is_set():
            raise _StoppedError
        if not watch:
            self._version, self._watching = "", False
            return self._pages(where)
        self._watching = True
        self.synced.set()
        answer = self._list(
            watch=True,
            resource_version=self._version or resource_version,
            allow_watch_bookmarks=True,
            timeout_seconds=WATCH,
            _preload_content=False,
            _request_timeout=(api_client.TIMEOUT[0], WATCH + api_client.TIMEOUT[1]),
            **where,
        )
        self._answer = answer
        if self._stopped.is_set():
            _end(answer)
        if self._failures:
            log.warning("%s: watched again", self._what)
            self._failures = 0
        return answer

    def _pages(self, where: dict[str, Any]) -> Any:  # noqa: ANN401 - like the library's list objects
        items: list[Object] = []
        more = ""
        while True:
            page = api_client.answered(
                partial(self._list, limit=PAGE, _continue=more or None, **api_client.RAW, **where)
            )
            items += map(pod_facts.trimmed, page["items"])
            more = page["metadata"].get("continue", "")
            if not more:
                version = page["metadata"]["resourceVersion"]
                return SimpleNamespace(
                    items=items, metadata=SimpleNamespace(resource_version=version)
                )

    def _remember(self, thing: Object) -> None:
        """How far the watch has come; what is handed on from a list says nothing about that."""
        if self._watching:
            self._version = thing["metadata"]["resourceVersion"]

    def _keep_pace(self) -> None:
        """Wait between two requests; longer after failures."""
        pause = _BACKOFF.nth(self._failures)
        self._stopped.wait(max(0.0, self._asked_at + pause - time.monotonic()))
        self._asked_at = time.monotonic()

    def _failed(self, error: object) -> None:
        """The informer tries again by itself; that is said once."""
        self._failures += 1
        if self._failures == 1 and not self._stopped.is_set():
            log.warning("%s: no news for now: %s", self._what, " ".join(str(error).split())[:200])


class _StoppedError(Exception):
    """Nothing more is asked."""


def _end(answer: Any) -> None:  # noqa: ANN401 - urllib3's response
    """Have whoever reads it come to its end; closing would wait for them."""
    connection = getattr(answer, "connection", None)
    if connection is not None and connection.sock is not None:
        with suppress(OSError):  # it is at its end already
            connection.sock.shutdown(socket.SHUT_RDWR)


def _hand_on(changed: Callable[[str, Object], None], event: str, thing: Object) -> None:
    try:
        changed(event, pod_facts.trimmed(thing))
    except Exception:
        # One object that nobody can read must not keep the news of the others away; the informer would not say so.
        log.exception("what became of %s was not understood", thing.get("metadata", {}).get("name"))
