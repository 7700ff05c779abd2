"""Jobs and pods as they change: listed in pages, then watched, by the library's informer.

The library resumes after a lost watch and lists again after 410. It would also send hundreds of
requests a second while the API server is away (seen with 37.0), so the pace is kept in the function
that it lists and watches with. That function declares no return type: with one, the library would
make JSON of each object again and parse it. Without one, it leaves it to us to remember how far the
watch has come.
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
"""Seconds after which the server ends a watch and it is begun again.

So a dead connection is not trusted for ever.
"""

_BACKOFF = Backoff(0.2, 10.0)  # between two requests; the first pause while none fails


class Informer:
    """The objects of one kind in one namespace.

    ``on_event(event, object)`` is called for each change, one at a time.
    """

    def __init__(
        self,
        cluster: api_client.KubernetesClient,
        kind: str,
        namespace: str,
        selector: str,
        on_event: Callable[[str, KubeObject], None],
    ) -> None:
        self._list_function = cluster.list_function(kind)
        self._description = f"{kind} in {namespace}"
        self.synced = threading.Event()
        self._stopped = threading.Event()
        self._failures = 0
        self._requested_at = 0.0
        self._resource_version = ""  # of the last event of this watch; "" right after a list
        self._watching = False
        self._response: Any = None
        make_informer: Any = informer.SharedInformer  # the library has no types
        self._shared_informer = make_informer(
            self._list_or_watch, namespace=namespace, label_selector=selector
        )
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED, informer.BOOKMARK):
            self._shared_informer.add_event_handler(event, self._remember_version)
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED):
            self._shared_informer.add_event_handler(
                event, partial(_dispatch_event, on_event, event)
            )
        self._shared_informer.add_event_handler(informer.ERROR, self._on_error)
        # The library logs a traceback for each try; ``_on_error`` logs it once.
        logging.getLogger("kubernetes.informer").setLevel(logging.CRITICAL)

    def start(self) -> None:
        """List, then watch, in a thread; ``synced`` is set once the whole list was handed on."""
        self._shared_informer.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        # The library overlooks an answer that comes while it is being stopped, and would wait for
        # its end.
        _shut_down_connection(self._response)
        self._shared_informer.stop()

    def _list_or_watch(  # the parameters are the library's
        self,
        *,
        watch: bool = False,
        resource_version: str = "",
        _preload_content: bool = True,
        **query: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """List or watch, as the library asks."""
        self._pace_requests()
        if self._stopped.is_set():
            raise _StoppedError
        if not watch:
            self._resource_version, self._watching = "", False
            return self._list_pages(query)
        self._watching = True
        self.synced.set()
        response = self._list_function(
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
        self._response = response
        if self._stopped.is_set():
            _shut_down_connection(response)
        if self._failures:
            log.warning("%s: the watch works again", self._description)
            self._failures = 0
        return response

    def _list_pages(self, query: dict[str, Any]) -> Any:  # noqa: ANN401 - the library's list
        """List all objects, page by page."""
        items: list[KubeObject] = []
        continue_token = ""
        while True:
            page = api_client.request_object(
                partial(
                    self._list_function,
                    limit=PAGE_SIZE,
                    _continue=continue_token or None,
                    **api_client.RAW_RESPONSE,
                    **query,
                )
            )
            items += map(pod_facts.strip_unused, page["items"])
            continue_token = page["metadata"].get("continue", "")
            if not continue_token:
                version = page["metadata"]["resourceVersion"]
                metadata = SimpleNamespace(resource_version=version)
                return SimpleNamespace(items=items, metadata=metadata)

    def _remember_version(self, obj: KubeObject) -> None:
        """Remember how far the watch has come; objects of a list say nothing about that."""
        if self._watching:
            self._resource_version = obj["metadata"]["resourceVersion"]

    def _pace_requests(self) -> None:
        """Wait between two requests; longer after failures."""
        pause = _BACKOFF.nth(self._failures)
        self._stopped.wait(max(0.0, self._requested_at + pause - time.monotonic()))
        self._requested_at = time.monotonic()

    def _on_error(self, error: object) -> None:
        """Log the first of several failures; the library tries again by itself."""
        self._failures += 1
        if self._failures == 1 and not self._stopped.is_set():
            message = " ".join(str(error).split())[:200]
            log.warning("%s: the watch failed, tried again: %s", self._description, message)


class _StoppedError(Exception):
    """Raised instead of a further request."""


def _shut_down_connection(response: Any) -> None:  # noqa: ANN401 - urllib3's response
    """Make the reader of a response come to its end; closing would wait for the reader."""
    connection = getattr(response, "connection", None)
    if connection is not None and connection.sock is not None:
        with suppress(OSError):  # it has ended already
            connection.sock.shutdown(socket.SHUT_RDWR)


def _dispatch_event(
    on_event: Callable[[str, KubeObject], None], event: str, obj: KubeObject
) -> None:
    try:
        on_event(event, pod_facts.strip_unused(obj))
    except Exception:
        # One object that can't be read must not stop the events of the others; and the library
        # would not report the error.
        name = obj.get("metadata", {}).get("name")
        log.exception("the event of %s could not be handled", name)
