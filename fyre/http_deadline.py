"""Bound HTTP requests in total, the reading of their answers included.

The time-out of requests is that of one read: an answer that sends a byte now and then would hold
its reader for ever. So a timer closes the connection at the deadline, whatever is read from it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # requests takes most of the time of a short command
    from requests.adapters import HTTPAdapter

REQUEST_SECONDS = 60.0
"""Seconds for one request, with its retries and the reading of its answer."""

_current = threading.local()


class Deadline:
    """The end of the time that one thread's requests have together."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._connection: Any = None  # urllib3's
        self._socket: Any = None
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._cut)
        self._timer.daemon = True

    def start(self) -> None:
        """Let the time begin."""
        self._timer.start()

    def cancel(self) -> None:
        """Leave the connections alone from now on."""
        self._timer.cancel()
        with self._lock:
            self._connection = self._socket = None

    def watch(self, connection: Any) -> None:  # noqa: ANN401 - urllib3's
        """Cut this connection at the end. Raises ``TimeoutError`` after it."""
        with self._lock:
            if self.is_over:
                raise TimeoutError("no time is left for this request")
            # Its socket, as a connection that is to be closed lets go of it before the body.
            self._connection, self._socket = connection, connection.sock

    def _cut(self) -> None:
        with self._lock:
            self.is_over = True
            for one in {self._socket, getattr(self._connection, "sock", None)}:
                inner = getattr(one, "socket", one)  # that of TLS within TLS
                if isinstance(inner, socket.socket):
                    # Not TLS's own: the other thread may be reading, and has to see an end.
                    with suppress(OSError):
                        socket.socket.shutdown(inner, socket.SHUT_RDWR)


@contextmanager
def bound_requests(seconds: float) -> Iterator[Deadline]:
    """Give what this thread requests in this block so many seconds together.

    Within another such block, that one's time holds. Requests are bounded by it if they go through
    an adapter of ``bounded_adapter``; so is the body of a streamed answer.
    """
    outer: Deadline | None = getattr(_current, "deadline", None)
    if outer is not None:
        yield outer
        return
    deadline = Deadline(seconds)
    deadline.start()
    _current.deadline = deadline
    try:
        yield deadline
    finally:
        _current.deadline = None
        deadline.cancel()


def bounded_adapter(seconds: float = REQUEST_SECONDS, **settings: Any) -> HTTPAdapter:  # noqa: ANN401 - requests'
    """Return an adapter of requests that bounds each request; ``settings`` are requests' own.

    A request that is cut raises requests' ``ReadTimeout``. Of a streamed answer only the headers
    are bounded, and its body by a ``bound_requests`` around it.
    """
    return _adapter_class()(seconds, **settings)


@cache
def _adapter_class() -> Callable[..., HTTPAdapter]:
    """Return the class, made late: requests takes most of the time of a short command."""
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter

    class BoundedAdapter(HTTPAdapter):
        """Sends requests that end in time."""

        def __init__(self, seconds: float, **settings: Any) -> None:  # noqa: ANN401 - requests'
            super().__init__(**settings)
            self._seconds = seconds

        def get_connection_with_tls_context(self, *args: Any, **settings: Any) -> Any:  # noqa: ANN401 - urllib3's
            """Return the pool, whose connections can be cut."""
            pool: Any = super().get_connection_with_tls_context(*args, **settings)
            pool.ConnectionCls = _connection_class(pool.ConnectionCls)
            return pool

        def send(
            self,
            request: requests.PreparedRequest,
            stream: bool = False,  # noqa: FBT001, FBT002 - requests'
            *args: Any,  # noqa: ANN401 - requests'
            **settings: Any,  # noqa: ANN401 - requests'
        ) -> requests.Response:
            """Send a request, and read its answer unless it is to be streamed."""
            with bound_requests(self._seconds) as deadline:
                try:
                    response = super().send(request, stream, *args, **settings)
                    if not stream:
                        _ = response.content  # which keeps it
                except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                    if deadline.is_over:
                        raise _cut_off(request) from error
                    raise
                if deadline.is_over:  # a body without a length ends like any other
                    response.close()
                    raise _cut_off(request)
                return response

    def _cut_off(request: requests.PreparedRequest) -> requests.ReadTimeout:
        return requests.ReadTimeout("the answer took too long", request=request)

    return BoundedAdapter


@cache
def _connection_class(base: Any) -> Any:  # noqa: ANN401 - urllib3's classes
    """Return a class of urllib3's connections that are cut at their thread's deadline."""
    if getattr(base, "is_bounded", False):
        return base

    class BoundedConnection(base):  # type: ignore[misc] # one of several
        """A connection that is watched while it is made, and while an answer is awaited."""

        is_bounded = True

        def connect(self) -> None:
            """Connect; a proxy and TLS answer here, too."""
            _watch(self)
            super().connect()

        def request(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - urllib3's
            """Send the request."""
            _watch(self)
            super().request(*args, **settings)

        def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's
            """Return the answer once its headers are there."""
            _watch(self)
            return super().getresponse()

    return BoundedConnection


def _watch(connection: Any) -> None:  # noqa: ANN401 - urllib3's
    deadline: Deadline | None = getattr(_current, "deadline", None)
    if deadline is not None:
        deadline.watch(connection)
