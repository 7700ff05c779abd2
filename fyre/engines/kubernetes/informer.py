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
from fyre.engines.kubernetes.pod_facts import KubeObject

log = logging.getLogger(__name__)

PAGE_SIZE = 500
"""Objects in one answer: an API server holds a whole page in memory, and so do we."""

WATCH_TIMEOUT = 290
"""Seconds after which a watch is ended by the server and begun again, so that a dead one is not believed for ever."""

_BACKOFF = Backoff(0.2, 10.0)  # between two requests: the first pause as long as none fails


class Informer:
    """The objects of one kind in one namespace; ``changed(event, object)`` is called for each, one at a time."""

    def __init__(self, cluster: api_client.KubernetesClient, kind: str, namespace: str, selector: str,
                 on_event: Callable[[str, KubeObject], None]) -> None:  # fmt: skip
        self._list_function = cluster.list_function(kind)
        self._description = f"{kind} in {namespace}"
        self.synced = threading.Event()
        self._stopped = threading.Event()
        self._failures = 0
        self._requested_at = 0.0
        self._resource_version = ""  # of the last event of this watch; "" right after a list
        self._watching = False
        self._response: Any = None
        shared: Any = informer.SharedInformer  # it comes without types
        self._shared_informer = shared(
            self._list_or_watch, namespace=namespace, label_selector=selector
        )
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED, informer.BOOKMARK):
            self._shared_informer.add_event_handler(event, self._remember_version)
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED):
            self._shared_informer.add_event_handler(
                event, partial(_dispatch_event, on_event, event)
            )
        self._shared_informer.add_event_handler(informer.ERROR, self._on_error)
        logging.getLogger("kubernetes.informer").setLevel(
            logging.CRITICAL
        )  # a traceback a try; we say it once

    def start(self) -> None:
        """List, then watch, in a thread of its own; ``synced`` is set once the list was handed on."""
        self._shared_informer.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        _shut_down_connection(
            self._response
        )  # the informer overlooks one that comes while it is being stopped, and waits for its end
        self._shared_informer.stop()

    def _list_or_watch(  # what the informer hands on, and wants to have
        self,
        *,
        watch: bool = False,
        resource_version: str = "",
        _preload_content: bool = True,
        **query: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """What the informer calls for both."""
        self._pace_requests()
        if self._stopped.is_set():
            raise _StoppedError
        if not watch:
            self._resource_version, self._watching = "", False
            return self._list_pages(query)
        self._watching = True
        self.synced.set()
        answer = self._list_function(
            watch=True,
            resource_version=self._resource_version or resource_version,
            allow_watch_bookmarks=True,
            timeout_seconds=WATCH_TIMEOUT,
            _preload_content=False,
            _request_timeout=(
                api_client.REQUEST_TIMEOUT[0],
                WATCH_TIMEOUT + api_client.REQUEST_TIMEOUT[1],
            ),
            **query,
        )
        self._response = answer
        if self._stopped.is_set():
            _shut_down_connection(answer)
        if self._failures:
            log.warning("%s: watched again", self._description)
            self._failures = 0
        return answer

    def _list_pages(self, query: dict[str, Any]) -> Any:  # noqa: ANN401 - like the library's list objects
        items: list[KubeObject] = []
        more = ""
        while True:
            page = api_client.request_object(
                partial(
                    self._list_function,
                    limit=PAGE_SIZE,
                    _continue=more or None,
                    **api_client.RAW_RESPONSE,
                    **query,
                )
            )
            items += map(pod_facts.strip_unused, page["items"])
            more = page["metadata"].get("continue", "")
            if not more:
                version = page["metadata"]["resourceVersion"]
                return SimpleNamespace(
                    items=items, metadata=SimpleNamespace(resource_version=version)
                )

    def _remember_version(self, obj: KubeObject) -> None:
        """How far the watch has come; what is handed on from a list says nothing about that."""
        if self._watching:
            self._resource_version = obj["metadata"]["resourceVersion"]

    def _pace_requests(self) -> None:
        """Wait between two requests; longer after failures."""
        pause = _BACKOFF.nth(self._failures)
        self._stopped.wait(max(0.0, self._requested_at + pause - time.monotonic()))
        self._requested_at = time.monotonic()

    def _on_error(self, error: object) -> None:
        """The informer tries again by itself; that is said once."""
        self._failures += 1
        if self._failures == 1 and not self._stopped.is_set():
            log.warning(
                "%s: no news for now: %s", self._description, " ".join(str(error).split())[:200]
            )


class _StoppedError(Exception):
    """Nothing more is asked."""


def _shut_down_connection(response: Any) -> None:  # noqa: ANN401 - urllib3's response
    """Have whoever reads it come to its end; closing would wait for them."""
    connection = getattr(response, "connection", None)
    if connection is not None and connection.sock is not None:
        with suppress(OSError):  # it is at its end already
            connection.sock.shutdown(socket.SHUT_RDWR)


def _dispatch_event(
    on_event: Callable[[str, KubeObject], None], event: str, obj: KubeObject
) -> None:
    try:
        on_event(event, pod_facts.strip_unused(obj))
    except Exception:
        # One object that nobody can read must not keep the news of the others away; the informer would not say so.
        log.exception("what became of %s was not understood", obj.get("metadata", {}).get("name"))
