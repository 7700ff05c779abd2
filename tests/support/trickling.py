"""A server whose answers never end: a byte now and then, so that no single read takes long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ANSWERS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body without a length": (b"HTTP/1.0 200 OK\r\n\r\n", b" "),
}
"""What trickles: what is sent at once, and again and again."""


@dataclass
class Trickling:
    """The server, and the first line of each request. ``answer`` names one of ``ANSWERS``."""

    listener: socket.socket
    answer: str = "a body"
    requests: list[bytes] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        """Answer each connection in a thread of its own, until the listener is closed."""
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._trickle, args=(client,), daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _trickle(self, client: socket.socket) -> None:
        begin, piece = ANSWERS[self.answer]
        with client:
            try:
                if request := client.recv(65536):
                    self.requests.append(request.partition(b"\r\n")[0])
                    client.sendall(begin)
                while not self._stopped.wait(0.02):
                    client.sendall(piece)
            except OSError:
                return  # it was cut, as it should be


@contextmanager
def trickling() -> Iterator[Trickling]:
    server = Trickling(socket.create_server(("127.0.0.1", 0)))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
