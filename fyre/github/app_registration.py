"""Register a GitHub App: serve a page that sends the manifest, and exchange the code it returns.

The page is served on 127.0.0.1 alone, at an address that nobody can guess; a code is accepted once,
and only with the state that was sent along.
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

from fyre import http_session
from fyre.errors import TransientError, UserError
from fyre.github import app_manifest
from fyre.github.app_manifest import AppOptions, CreatedApp

CODE_LIFETIME = 3600.0
"""Seconds that GitHub gives for the whole flow."""

REQUEST_TIMEOUT = 30
"""Seconds for one request."""

_TRIES = 3
_PAGE_TEMPLATE = """<!doctype html><meta charset="utf-8"><title>Fyre</title>
<style>
body{{font:16px/1.5 system-ui;max-width:40em;margin:4em auto;padding:0 1em}}button{{font:inherit}}
</style>
<h1>{title}</h1>{body}
"""

_FORM_TEMPLATE = """<form method="post" action="{action}">
<input type="hidden" name="manifest" value="{manifest}">
<p>A GitHub App for {owner} on {host}, with these rights and no others: {rights}.</p>
<p>The forge shows you its name, which you may change; then its key comes back to this machine.</p>
<button>Go on</button></form>"""


class AppRegistration:
    """One registration: a page on this machine, and its result. Serves until it is closed."""

    def __init__(self, options: AppOptions) -> None:
        self.options = options
        self.state, self._path = secrets.token_urlsafe(32), f"/{secrets.token_urlsafe(32)}"
        self._codes: queue.Queue[str | None] = queue.Queue()
        self._mutex, self._taken = threading.Lock(), False
        self._outcome: queue.Queue[tuple[str, str]] = queue.Queue()  # a title, and HTML
        self._server = _PageServer(("127.0.0.1", 0), _PageHandler)
        self._server.registration = self
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="app page", daemon=True
        ).start()

    @property
    def start_url(self) -> str:
        """URL of the page that begins the registration."""
        return self.base_url + self._path

    def form_page(self) -> str:
        """Return the page: a form that sends the manifest to the forge."""
        manifest = app_manifest.build_manifest(self.options, f"{self.base_url}/created")
        rights = ", ".join(
            f"{name.replace('_', ' ')}: {access}"
            for name, access in manifest["default_permissions"].items()
        )
        org = self.options.org
        form = _FORM_TEMPLATE.format(
            action=html.escape(app_manifest.registration_url(self.options, self.state)),
            manifest=html.escape(json.dumps(manifest)),
            owner=html.escape(f"the organisation {org}" if org else "your account"),
            host=html.escape(self.options.host),
            rights=html.escape(rights),
        )
        return render_page("Register Fyre as a GitHub App", form)

    def accept_pasted(self, text: str) -> bool:
        """Accept what somebody pasted; return False if it is no answer to this registration."""
        code = app_manifest.extract_code(text, self.state)
        return code is not None and self.accept_code(code)

    def accept_code(self, code: str) -> bool:
        """Accept the code; return False if there was one already."""
        with self._mutex:
            is_first, self._taken = not self._taken, True
        if is_first:
            self._codes.put(code)
        return is_first

    def wait_for_code(self, timeout: float = CODE_LIFETIME) -> str:
        """Wait for the code and return it. Raises ``UserError`` if none comes in time."""
        try:
            code = self._codes.get(timeout=timeout)
        except queue.Empty:
            code = None
        if code is None:
            raise UserError(
                "nobody came back with an answer", hint="begin again: the code is good for an hour"
            )
        return code

    def set_result(self, title: str, body: str) -> None:
        """Set what is shown to the browser that brought the code: a title, and HTML."""
        self._outcome.put((title, body))

    def wait_for_result(self) -> tuple[str, str]:
        """Wait for ``set_result``, and return the title and the HTML."""
        with suppress(queue.Empty):
            return self._outcome.get(timeout=REQUEST_TIMEOUT * _TRIES + 10)
        return "Look at the terminal", "<p>It says how this ended.</p>"

    def is_form_path(self, path: str) -> bool:
        """Return True if the path is that of the form."""
        return hmac.compare_digest(path.encode(), self._path.encode())

    def close(self) -> None:
        """Stop serving; a browser that waits for the result is told that none will come."""
        self.set_result("This was cancelled", "<p>Look at the terminal.</p>")
        self._server.shutdown()
        self._server.server_close()


def render_page(title: str, body: str) -> str:
    """Return a page; ``body`` is HTML."""
    return _PAGE_TEMPLATE.format(title=html.escape(title), body=body)


def exchange_code(api: str, code: str) -> CreatedApp:
    """Return the App that a code stands for; the code is good for one exchange.

    Raises ``UserError`` or ``TransientError``.
    """
    import requests

    url = f"{api}/app-manifests/{quote(code, safe='')}/conversions"
    headers = {"Accept": "application/vnd.github+json"}
    for tries_left in reversed(range(_TRIES)):
        try:
            with http_session.open_session() as session:
                response = session.post(
                    url, headers=headers, timeout=REQUEST_TIMEOUT, allow_redirects=False
                )
        except requests.ConnectionError:
            if not tries_left:
                # No cause: it holds the code.
                raise TransientError(f"{api} can't be reached") from None
            continue
        except requests.RequestException:
            raise TransientError(f"{api} gave no answer") from None
        if response.status_code < 500 or not tries_left:
            break
    return _created_app(response)


def _created_app(response: Any) -> CreatedApp:  # noqa: ANN401 - requests' own, imported lazily
    """Return the App in a response to the exchange. Raises ``UserError``."""
    if response.status_code == 201:
        try:
            return app_manifest.parse_created_app(response.json())
        except ValueError:
            return app_manifest.parse_created_app(None)
    hint = (
        "begin again; if the App is there by now, delete it, "
        "or have its settings page make a new private key"
    )
    if response.status_code == 404:
        raise UserError(
            "the forge does not know that code: it is good for one hour and one exchange", hint=hint
        )
    raise UserError(f"the forge refused the exchange: HTTP {response.status_code}", hint=hint)


class _PageServer(ThreadingHTTPServer):
    """Server that waits for its last response, so that the browser is told how it ended."""

    daemon_threads = False
    registration: AppRegistration


class _PageHandler(BaseHTTPRequestHandler):
    """Serves the page, and the address to which the forge sends the browser back."""

    server: _PageServer
    server_version, sys_version = "fyre", ""
    timeout = 5  # seconds; browsers open connections that they never use

    def do_GET(self) -> None:
        """Respond to this machine's own name alone.

        A page elsewhere may point a name of its own at this machine.
        """
        registration, parts = self.server.registration, urlsplit(self.path)
        if self.headers.get("Host", "") != registration.base_url.removeprefix("http://"):
            self._send_page(421, render_page("Wrong host", ""))
        elif registration.is_form_path(parts.path):
            self._send_page(200, registration.form_page())
        elif parts.path == "/created":
            self._handle_created(registration, parse_qs(parts.query))
        else:
            self._send_page(404, render_page("Not found", ""))

    def log_message(self, *_: object) -> None:
        """Log nothing: there is a code in the address."""

    def _handle_created(self, registration: AppRegistration, query: dict[str, list[str]]) -> None:
        """Accept the code that the browser brings, and show how it ended."""
        code, state = (query.get(name, [""])[0] for name in ("code", "state"))
        if not code or not hmac.compare_digest(state.encode(), registration.state.encode()):
            self._send_page(
                400, render_page("This is not the answer to this question", "<p>Begin again.</p>")
            )
        elif not registration.accept_code(code):
            self._send_page(
                410, render_page("That was answered already", "<p>Look at the terminal.</p>")
            )
        else:
            self._send_page(200, render_page(*registration.wait_for_result()))

    def _send_page(self, status: int, text: str) -> None:
        """Send a page."""
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
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
