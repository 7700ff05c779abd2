"""Ask an image's registry for the current digest of a tag, by the OCI distribution API.

https://github.com/opencontainers/distribution-spec and
https://distribution.github.io/distribution/spec/auth/token/.
Passwords and tokens are sent only in headers, and over plain HTTP to another machine only if the
caller allows it.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fyre import http_session
from fyre.errors import TransientError, UserError
from fyre.message import image_reference
from fyre.message.image_reference import ImageReference

if TYPE_CHECKING:
    import requests

REQUEST_TIMEOUT = 10
"""Time limit of one request, in seconds."""

RegistryCredentials = tuple[str, str]
"""User and password; a personal access token counts as a password."""

_MANIFEST_MEDIA_TYPES = ", ".join([
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
])  # fmt: skip
_DOCKER_HUB_REGISTRY = "registry-1.docker.io"
_DOCKER_HUB_CONFIG_KEY = "https://index.docker.io/v1/"


def resolve_digest(
    image: str, *, credentials: RegistryCredentials | None = None, insecure: bool = False
) -> str:
    """Return the current digest (``sha256:…``) of an image.

    A reference that has a digest costs no request. Plain HTTP is used for this machine, and with
    ``insecure`` for private addresses.

    Raises ``UserError`` (no such image, not allowed, not a registry) or ``TransientError``.
    """
    reference = image_reference.parse_reference(image)
    if reference.digest:
        return reference.digest
    on_docker_hub = reference.host == image_reference.DOCKER_HUB
    scheme = _url_scheme(reference.host, insecure=insecure)
    host = _DOCKER_HUB_REGISTRY if on_docker_hub else reference.host
    url = f"{scheme}://{host}/v2/{reference.path}/manifests/{reference.tag}"
    response = _send_request("HEAD", url, {"Accept": _MANIFEST_MEDIA_TYPES})
    if response.status_code == 401:
        authorization = _authorization_header(response, reference, credentials)
        response = _send_request("HEAD", url, {"Accept": _MANIFEST_MEDIA_TYPES} | authorization)
    return _digest_from_response(response, image, reference)


def read_docker_credentials(image: str) -> RegistryCredentials | None:
    """Return the credentials that ``docker login`` stored for the image's registry.

    They are read from ``auths`` in config.json; helper programs are not used.
    """
    config_path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    host = image_reference.parse_reference(image).host
    try:
        auths = json.loads(config_path.read_text(encoding="utf-8"))["auths"]
        entry = (
            auths.get(host)
            or auths.get(f"https://{host}")
            or (auths[_DOCKER_HUB_CONFIG_KEY] if host == "docker.io" else {})
        )
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None  # there are none, or the file is broken, which is docker's to report
    return (user, password) if user and password else None


def _url_scheme(host: str, *, insecure: bool) -> str:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "http" if name == "localhost" else "https"
    return "http" if address.is_loopback or (insecure and address.is_private) else "https"


def _send_request(
    method: str, url: str, headers: dict[str, str], **request_options: dict[str, str]
) -> requests.Response:
    """Send one request; raise ``UserError`` or ``TransientError`` if there is no answer."""
    import requests

    host = urlsplit(url).netloc
    try:
        with http_session.open_session() as session:
            return session.request(
                method,
                url,
                headers=headers,
                timeout=REQUEST_TIMEOUT,
                # mypy can't tell ``request_options`` from the other keywords
                **request_options,  # type: ignore[arg-type]
            )
    except requests.exceptions.SSLError as error:
        raise UserError(
            f"{host} is not trusted", hint="its certificate is not valid here"
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise TransientError(f"{host} can't be reached") from error
    except requests.RequestException as error:
        raise UserError(f"{host} does not answer as a registry does") from error


def _authorization_header(
    response: requests.Response, reference: ImageReference, credentials: RegistryCredentials | None
) -> dict[str, str]:
    """Return the header that answers a 401.

    It holds a token from the server that the registry names, else user and password.
    """
    scheme, _, challenge = response.headers.get("WWW-Authenticate", "").partition(" ")
    basic = _basic_auth_header(credentials) if credentials else {}
    if scheme.lower() != "bearer":
        return basic
    from requests.utils import parse_dict_header

    # requests' stubs leave this function out
    parameters: dict[str, str | None] = parse_dict_header(challenge)  # type: ignore[no-untyped-call]
    realm = parameters.get("realm") or ""
    if urlsplit(realm).scheme != "https" and urlsplit(response.url).scheme != "http":
        raise UserError(
            f"{reference.host} sends us for a token to {realm[:80] or 'nowhere'}",
            hint="that must be https",
        )
    query = {
        "service": parameters.get("service") or "",
        "scope": f"repository:{reference.path}:pull",
    }
    return _bearer_header(_send_request("GET", realm, basic, params=query), reference)


def _basic_auth_header(credentials: RegistryCredentials) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"}


def _bearer_header(response: requests.Response, reference: ImageReference) -> dict[str, str]:
    """Return the header with a token.

    It is empty if no token is granted: then the registry's own answer says why.
    """
    _raise_if_transient(response, reference)
    try:
        document = response.json() if response.ok else {}
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{reference.host} does not answer as a registry does: its token is none"
        ) from error
    return {"Authorization": f"Bearer {token}"} if token else {}


def _raise_if_transient(response: requests.Response, reference: ImageReference) -> None:
    if response.status_code == 429 or response.status_code >= 500:
        raise TransientError(f"{reference.host} answers {response.status_code}")


def _digest_from_response(
    response: requests.Response, image: str, reference: ImageReference
) -> str:
    _raise_if_transient(response, reference)
    if response.status_code in (401, 403):
        raise UserError(
            f"{reference.host} does not show us {image}",
            hint="is it spelt right? docker login, if private",
        )
    if response.status_code == 404:
        raise UserError(f"{reference.host} has no {image}", hint="look at the name and the tag")
    digest = image_reference.find_digest(response.headers.get("Docker-Content-Digest", ""))
    if not response.ok or not digest:
        raise UserError(
            f"{reference.host} does not answer as a registry does (HTTP {response.status_code})",
            hint=image,
        )
    return digest
