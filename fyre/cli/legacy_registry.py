"""What a tag means now: the digest, asked of the image's registry by the OCI distribution API.

https://github.com/opencontainers/distribution-spec and https://distribution.github.io/distribution/spec/auth/token/.
Passwords and tokens travel in headers alone, and never over plain HTTP to another machine unless told.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fyre.errors import TryAgainError, UserError
from fyre.message import image_reference
from fyre.message.image_reference import Reference

if TYPE_CHECKING:
    import requests

TIMEOUT = 10
"""Seconds for one request."""

Credentials = tuple[str, str]
"""User and password; a personal access token is a password."""

_MANIFESTS = ", ".join([
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
])  # fmt: skip
_HUB = "registry-1.docker.io"
_HUB_IN_CONFIG = "https://index.docker.io/v1/"


def digest(image: str, *, credentials: Credentials | None = None, insecure: bool = False) -> str:
    """The digest (``sha256:…``) that a reference stands for now; no request where it names one itself.

    Plain HTTP is spoken with this machine, and with ``insecure`` with private addresses.
    Raises ``UserError`` (no such image, not allowed, not a registry) or ``TryAgainError``.
    """
    wanted = image_reference.parse(image)
    if wanted.digest:
        return wanted.digest
    base = f"{_scheme(wanted.host, insecure=insecure)}://{_HUB if wanted.host == image_reference.DOCKER_HUB else wanted.host}"
    url = f"{base}/v2/{wanted.path}/manifests/{wanted.tag}"
    answer = _ask("HEAD", url, {"Accept": _MANIFESTS})
    if answer.status_code == 401:
        granted = _authorization(answer, wanted, credentials)
        answer = _ask("HEAD", url, {"Accept": _MANIFESTS} | granted)
    return _told(answer, image, wanted)


def credentials_of(image: str) -> Credentials | None:
    """What ``docker login`` wrote down for the image's registry: ``auths`` in config.json, no helper programs."""
    place = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    host = image_reference.parse(image).host
    try:
        auths = json.loads(place.read_text(encoding="utf-8"))["auths"]
        held = (
            auths.get(host)
            or auths.get(f"https://{host}")
            or (auths[_HUB_IN_CONFIG] if host == "docker.io" else {})
        )
        user, _, password = base64.b64decode(held["auth"], validate=True).decode().partition(":")
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None  # there is none, or it is another program's to say what is wrong with it
    return (user, password) if user and password else None


def _scheme(host: str, *, insecure: bool) -> str:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "http" if name == "localhost" else "https"
    return "http" if address.is_loopback or (insecure and address.is_private) else "https"


def _ask(
    method: str, url: str, headers: dict[str, str], **more: dict[str, str]
) -> requests.Response:
    """One request. Raises ``UserError`` or ``TryAgainError`` where the registry does not come to an answer."""
    import requests

    host = urlsplit(url).netloc
    try:
        # An ``auth`` that adds nothing keeps requests from sending what ~/.netrc holds.
        return requests.request(
            method,
            url,
            headers=headers,
            timeout=TIMEOUT,
            auth=lambda sent: sent,
            **more,  # type: ignore[arg-type]  # mypy can't tell ``more`` from the other keywords
        )
    except requests.exceptions.SSLError as error:
        raise UserError(
            f"{host} is not trusted", hint="its certificate is not valid here"
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise TryAgainError(f"{host} can't be reached ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise UserError(
            f"{host} does not answer as a registry does ({type(error).__name__})"
        ) from error


def _authorization(
    refused: requests.Response, wanted: Reference, credentials: Credentials | None
) -> dict[str, str]:
    """The header that answers a 401: a token from where the registry sends us, else user and password."""
    scheme, _, challenge = refused.headers.get("WWW-Authenticate", "").partition(" ")
    basic = _basic(credentials) if credentials else {}
    if scheme.lower() != "bearer":
        return basic
    from requests.utils import parse_dict_header

    told: dict[str, str | None] = parse_dict_header(challenge)  # type: ignore[no-untyped-call]  # requests' stubs leave it out
    realm = told.get("realm") or ""
    if urlsplit(realm).scheme != "https" and urlsplit(refused.url).scheme != "http":
        raise UserError(
            f"{wanted.host} sends us for a token to {realm[:80] or 'nowhere'}",
            hint="that must be https",
        )
    query = {"service": told.get("service") or "", "scope": f"repository:{wanted.path}:pull"}
    return _token(_ask("GET", realm, basic, params=query), wanted)


def _basic(credentials: Credentials) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"}


def _token(answer: requests.Response, wanted: Reference) -> dict[str, str]:
    """The header of a token; empty where there is none for us, and the registry's own answer says why."""
    _passing(answer, wanted)
    try:
        said = answer.json() if answer.ok else {}
        token = said.get("token") or said.get("access_token")
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{wanted.host} does not answer as a registry does: its token is none"
        ) from error
    return {"Authorization": f"Bearer {token}"} if token else {}


def _passing(answer: requests.Response, wanted: Reference) -> None:
    if answer.status_code == 429 or answer.status_code >= 500:
        raise TryAgainError(f"{wanted.host} answers {answer.status_code}")


def _told(answer: requests.Response, image: str, wanted: Reference) -> str:
    _passing(answer, wanted)
    if answer.status_code in (401, 403):
        raise UserError(
            f"{wanted.host} does not show us {image}",
            hint="is it spelt right? docker login, if private",
        )
    if answer.status_code == 404:
        raise UserError(f"{wanted.host} has no {image}", hint="look at the name and the tag")
    found = image_reference.digest(answer.headers.get("Docker-Content-Digest", ""))
    if not answer.ok or not found:
        raise UserError(
            f"{wanted.host} does not answer as a registry does (HTTP {answer.status_code})",
            hint=image,
        )
    return found
