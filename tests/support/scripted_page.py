"""A run's page on a receiver that answers as a test says, or falls silent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ScriptedPage:
    """What the page answers, and how often it was asked."""

    url: str = ""
    facts: list[dict[str, Any] | None] = field(default_factory=list)
    """The answers in their order, the last one for good; None is a 500."""

    log: bytes | None = None
    """What comes of the log before the silence; with None not even the head of an answer."""

    log_start: str = "0"
    log_type: str = "text/plain; charset=utf-8"
    credentials: list[str] = field(default_factory=list)
    """The ``Authorization`` of each request, "" without one."""

    log_requests: int = 0
    _silence: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.credentials.append(handler.headers.get("Authorization", ""))
        if handler.path.startswith("/run/log"):
            self._answer_log(handler)
            return
        facts = self.facts.pop(0) if len(self.facts) > 1 else (self.facts or [None])[0]
        body = json.dumps(facts).encode()
        handler.send_response(500 if facts is None else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _answer_log(self, handler: BaseHTTPRequestHandler) -> None:
        self.log_requests += 1
        if self.log is not None:
            offset = int(handler.path.partition("offset=")[2].partition("&")[0])
            handler.send_response(200)
            handler.send_header("Fyre-Log-Start", self.log_start)
            handler.send_header("Content-Type", self.log_type)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            if data := self.log[offset:]:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._silence.wait(60)
        handler.close_connection = True

    def end_silence(self) -> None:
        self._silence.set()


@contextmanager
def scripted_page(**script: Any) -> Iterator[ScriptedPage]:
    """Serve the page until the block ends."""
    page = ScriptedPage(**script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Ignore it: the client of a silent answer has gone."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        page.url = f"http://127.0.0.1:{server.server_port}/run"
        try:
            yield page
        finally:
            page.end_silence()
            server.shutdown()
            thread.join()
