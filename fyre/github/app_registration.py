"""Registering a GitHub App: a page on this machine that sends the manifest, and the exchange of what comes back.

The page is served on 127.0.0.1 alone, at an address that nobody can guess; what comes back counts once, and only with
the state that was sent along.
"""

from __future__ import annotations

import hmac
import html
import json
import queue
import secrets
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from fyre.errors import TryAgainError, UserError
from fyre.github import app_manifest
from fyre.github.app_manifest import App, Wish

HOUR = 3600.0
"""Seconds that GitHub gives the whole of it."""

TIMEOUT = 30
"""Seconds for one request."""

_TRIES = 3
_PAGE = """<!doctype html><meta charset="utf-8"><title>Fyre</title>
<style>body{{font:16px/1.5 system-ui;max-width:40em;margin:4em auto;padding:0 1em}}button{{font:inherit}}</style>
<h1>{title}</h1>{body}
"""

_FORM = """<form method="post" action="{action}"><input type="hidden" name="manifest" value="{manifest}">
<p>A GitHub App for {whose} on {host}, with these rights and no others: {rights}.</p>
<p>The forge shows you its name, which you may change; then its key comes back to this machine.</p>
<button>Go on</button></form>"""


class Registration:
    """One question to the forge and its answer. Serves until it is closed."""

    def __init__(self, wanted: Wish) -> None:
        self.wanted = wanted
        self.state, self._path = secrets.token_urlsafe(32), f"/{secrets.token_urlsafe(32)}"
        self._codes: queue.Queue[str | None] = queue.Queue()
        self._mutex, self._taken = threading.Lock(), False
        self._outcome: queue.Queue[tuple[str, str]] = (
            queue.Queue()
        )  # for the page: a title, and HTML
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registration = self
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="app page", daemon=True
        ).start()

    @property
    def address(self) -> str:
        """Of the page that begins it."""
        return self.base + self._path

    def form(self) -> str:
        """The page: a form that sends the manifest to the forge."""
        told = app_manifest.manifest(self.wanted, f"{self.base}/created")
        rights = ", ".join(
            f"{name.replace('_', ' ')}: {much}"
            for name, much in told["default_permissions"].items()
        )
        return page("Register Fyre as a GitHub App", _FORM.format(
            action=html.escape(app_manifest.form_address(self.wanted, self.state)),
            manifest=html.escape(json.dumps(told)),
            whose=html.escape(f"the organisation {self.wanted.org}" if self.wanted.org else "your account"),
            host=html.escape(self.wanted.host),
            rights=html.escape(rights),
        ))  # fmt: skip

    def paste(self, text: str) -> bool:
        """Take what somebody pasted; False where it is no answer to this question."""
        code = app_manifest.code_of(text, self.state)
        return code is not None and self.take(code)

    def take(self, code: str) -> bool:
        """Take the code; False where there was one already."""
        with self._mutex:
            first, self._taken = not self._taken, True
        if first:
            self._codes.put(code)
        return first

    def code(self, seconds: float = HOUR) -> str:
        """The code, once it is there. Raises ``UserError`` when nobody comes in time."""
        try:
            found = self._codes.get(timeout=seconds)
        except queue.Empty:
            found = None
        if found is None:
            raise UserError(
                "nobody came back with an answer", hint="begin again: the forge gives it an hour"
            )
        return found

    def tell(self, title: str, body: str) -> None:
        """What the browser is shown that brought the code."""
        self._outcome.put((title, body))

    def told(self) -> tuple[str, str]:
        """What ``tell`` was told."""
        with suppress(queue.Empty):
            return self._outcome.get(timeout=TIMEOUT * _TRIES + 10)
        return "Look at the terminal", "<p>It says how this ended.</p>"

    def serves(self, path: str) -> bool:
        """Whether a path is the page's own."""
        return hmac.compare_digest(path.encode(), self._path.encode())

    def close(self) -> None:
        """Serve no more; a browser that waits to be told how it ended is told that nobody will."""
        self.tell("This was broken off", "<p>Look at the terminal.</p>")
        self._server.shutdown()
        self._server.server_close()


def page(title: str, body: str) -> str:
    """A page; ``body`` is HTML."""
    return _PAGE.format(title=html.escape(title), body=body)


def exchange(api: str, code: str) -> App:
    """The App that a code stands for. Raises ``UserError``, ``TryAgainError``; the code is good for one exchange."""
    import requests

    url = f"{api}/app-manifests/{quote(code, safe='')}/conversions"
    headers = {"Accept": "application/vnd.github+json"}
    for left in reversed(range(_TRIES)):
        try:
            answer = requests.post(url, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except requests.ConnectionError as error:
            if not left:
                raise TryAgainError(
                    f"{api} can't be reached ({type(error).__name__})"
                ) from None  # it holds the code
            continue
        except requests.RequestException as error:
            raise TryAgainError(f"{api} gave no answer ({type(error).__name__})") from None
        if answer.status_code < 500 or not left:
            break
    return _meaning(answer)


def _meaning(answer: Any) -> App:  # noqa: ANN401 - requests' own, imported lazily
    if answer.status_code == 201:
        try:
            return app_manifest.read(answer.json())
        except ValueError:
            return app_manifest.read(None)
    hint = "begin again; if the App is there by now, delete it, or have its settings page make a new private key"
    if answer.status_code == 404:
        raise UserError(
            "the forge does not know that code: it is good for one hour and one exchange", hint=hint
        )
    raise UserError(f"the forge refused the exchange: HTTP {answer.status_code}", hint=hint)


class _Server(ThreadingHTTPServer):
    """Waits for its last answer: the browser is to be told how it ended."""

    daemon_threads = False
    registration: Registration


class _Handler(BaseHTTPRequestHandler):
    """The page, and where the forge sends the browser back to."""

    server: _Server
    server_version, sys_version = "fyre", ""
    timeout = 5  # browsers open connections that they never use

    def do_GET(self) -> None:
        """Answer, to this machine's own name alone: a page elsewhere may point a name of its own at it."""
        registration, parts = self.server.registration, urlsplit(self.path)
        if self.headers.get("Host", "") != registration.base.removeprefix("http://"):
            self._answer(421, page("Not here", ""))
        elif registration.serves(parts.path):
            self._answer(200, registration.form())
        elif parts.path == "/created":
            self._created(registration, parse_qs(parts.query))
        else:
            self._answer(404, page("Nothing is here", ""))

    def log_message(self, *_: object) -> None:
        """Nothing: there is a code in the address."""

    def _created(self, registration: Registration, given: dict[str, list[str]]) -> None:
        code, state = (given.get(name, [""])[0] for name in ("code", "state"))
        if not code or not hmac.compare_digest(state.encode(), registration.state.encode()):
            self._answer(400, page("That is no answer to this question", "<p>Begin again.</p>"))
        elif not registration.take(code):
            self._answer(410, page("That was answered already", "<p>Look at the terminal.</p>"))
        else:
            self._answer(200, page(*registration.told()))

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
}
