"""A small proxy before a server, which does to its clients what a bad network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

_ANSWERS = {
    "503": b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s",
    "507": b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s",
    "garbage": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
}
_BODIES = {
    "503": b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>",
    "403": b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request "
    b"time and the current time is too large.</Message></Error>",
    "507": b"",
    "garbage": b"<html>Please log in to the network</html>",
}


class FaultProxy:
    """Passes connections on, unless ``mode`` says otherwise.

    Modes: "" passes; an answer above; ``cut`` breaks each connection off after 100,000 bytes;
    ``refuse`` closes each at once; ``hang`` never answers.
    """

    def __init__(self, port: int) -> None:
        self._target, self._mode = port, ""
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept_loop, daemon=True).start()

    @contextlib.contextmanager
    def fault(self, mode: str) -> Iterator[None]:
        """Have a fault for a while; connections that are open are closed before and after."""
        self._set_mode(mode)
        try:
            yield
        finally:
            self._set_mode("")

    def close(self) -> None:
        self._listener.close()
        self._set_mode("refuse")

    def _set_mode(self, mode: str) -> None:
        self._mode = mode
        for one in [*self._open]:
            _shut(one)

    def _accept_loop(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        mode = self._mode
        with contextlib.suppress(OSError):
            if mode in _ANSWERS:
                self._answer(client, mode)
            elif mode == "hang":
                while client.recv(65536):
                    pass
            elif mode != "refuse":
                self._pass_on(client, 100_000 if mode == "cut" else None)
        _shut(client)
        self._open.discard(client)

    def _answer(self, client: socket.socket, mode: str) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
            head += piece
        body = b"" if head.startswith(b"HEAD") else _BODIES[mode]
        client.sendall(_ANSWERS[mode] % (len(_BODIES[mode]), body))
        client.shutdown(socket.SHUT_WR)
        client.settimeout(5)
        while client.recv(65536):  # the rest of the request, or a reset would eat the answer
            pass

    def _pass_on(self, client: socket.socket, limit: int | None) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        self._open.add(server)
        back = threading.Thread(target=_copy, args=(server, client, None), daemon=True)
        back.start()
        _copy(client, server, limit)
        if limit is None:
            back.join()
        _shut(server)
        self._open.discard(server)


def _copy(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    count = 0
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
            count += len(piece)
            if limit is not None and count > limit:
                return
        target.shutdown(socket.SHUT_WR)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        one.close()
