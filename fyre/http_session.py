"""HTTP sessions that send the credentials they are given, and no others, and end in time.

requests adds a login of ``~/.netrc`` to each request that has none, over plain HTTP too, and after
a redirect even to one that has a credential. Every request of ours goes through a session from
here; PyGithub's go without such logins by themselves. ``fyre.http_deadline`` bounds each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from fyre import http_deadline

if TYPE_CHECKING:  # requests takes most of the time of a short command
    import requests


def open_session(seconds: float = http_deadline.REQUEST_SECONDS) -> requests.Session:
    """Return a session, to be closed by a ``with``; proxies and certificates are the machine's.

    Each request has so many seconds in total; of a streamed answer that is up to its headers.
    """
    import requests

    class PlainSession(requests.Session):
        """Sends no login of ``~/.netrc``, and each credential to one host only."""

        def rebuild_auth(
            self, prepared_request: requests.PreparedRequest, response: requests.Response
        ) -> None:
            """Remove the credential from a request that is redirected to another host."""
            before, after = str(response.request.url), str(prepared_request.url)
            if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
                prepared_request.headers.pop("Authorization", None)

    session = PlainSession()
    for prefix in ("https://", "http://"):
        session.mount(prefix, http_deadline.bounded_adapter(seconds))
    session.auth = lambda request: request  # adds nothing, and keeps requests from looking
    return session


def failed_url(error: Exception) -> SplitResult:
    """Return the URL that a failed request of requests went to; one without a host if none did."""
    return urlsplit(getattr(getattr(error, "request", None), "url", None) or "")


def _root_reason(error: Exception) -> object:
    """Return what urllib3 gave up for, below an error of requests."""
    cause = error.args[0] if error.args else None
    return getattr(cause, "reason", getattr(error, "reason", None))


def is_name_unknown(error: Exception) -> bool:
    """Return True if a request failed because no address is found for its host."""
    import urllib3

    return isinstance(_root_reason(error), urllib3.exceptions.NameResolutionError)


def describe_failure(error: Exception) -> str:
    """Return in plain words why a request of requests or urllib3 failed, for a person to read.

    No user, path or query of the address is in it.
    """
    import requests
    import urllib3

    url = failed_url(error)
    address = f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url.netloc else "its address"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {address} is not trusted here"
    if isinstance(error, requests.exceptions.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return f"{address} does not answer in time"
    if is_name_unknown(error):
        return f"this machine finds no address for the name {url.hostname or 'of the host'}"
    broken = requests.exceptions.ChunkedEncodingError | urllib3.exceptions.ProtocolError
    if isinstance(error, broken | ConnectionError):
        return "the connection broke off"
    return f"nothing answers at {address}"
