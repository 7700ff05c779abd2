"""Sign and verify the tokens with which a pod fetches its code from the git relay. Pure.

A token is ``PAYLOAD.MAC``, both in URL-safe base64. The payload is ``EXPIRES:ID,ID,:RUN`` and the
MAC is HMAC-SHA256 over it, so no token is stored, and every replica that knows the secret accepts
it. Versions that did not sign their Jobs wrote no comma after the last ID, and read it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

TOKEN_LENGTH_MAX = 4096
"""Characters; anything longer is no token of ours and is not parsed."""

# Whatever else the same secret signs can never be used as a token.
_MAC_PURPOSE = b"fyre relay key 1\0"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a token: it reads these repositories, for this run.

    ``expires_at`` is in seconds since the epoch.
    """

    repository_ids: frozenset[int]
    run_key: str
    expires_at: float
    # False for a token of a version that did not sign its Jobs.
    is_job_signed: bool = field(default=True, compare=False)


def create_access_token(
    secret: bytes, repository_ids: tuple[int, ...], run_key: str, expires_at: float
) -> str:
    """Create a token for a run and its repositories, the submodules' included.

    ``expires_at`` is in seconds since the epoch. Raises ``ValueError`` if the secret is empty, or
    there are too many repositories for a header.
    """
    if not secret:
        raise ValueError("an access token for the relay needs a secret")
    payload = _encode_base64url(
        f"{int(expires_at)}:{','.join(map(str, repository_ids))},:{run_key}".encode()
    )
    token = f"{payload}.{_compute_mac(secret, payload)}"
    if len(token) > TOKEN_LENGTH_MAX:
        raise ValueError(f"an access token for {len(repository_ids)} repositories is too long")
    return token


def verify_access_token(secrets: Sequence[bytes], token: str, now: float) -> TokenClaims | None:
    """Return the claims of a token; None if it is forged, or expired at ``now``.

    Any one of the secrets may have signed it.
    """
    payload, dot, mac = token.partition(".")
    if not dot or len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        return None
    if not any(
        hmac.compare_digest(_compute_mac(secret, payload), mac) for secret in secrets if secret
    ):
        return None
    try:
        text = urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
        expires, ids, run_key = text.split(":", 2)
        repository_ids = frozenset(int(number) for number in ids.split(",") if number)
        claims = TokenClaims(repository_ids, run_key, float(expires), ids.endswith(","))
    except ValueError:  # signed by a version of Fyre that uses another format
        return None
    return claims if now < claims.expires_at else None


def _compute_mac(secret: bytes, payload: str) -> str:
    return _encode_base64url(hmac.digest(secret, _MAC_PURPOSE + payload.encode(), "sha256"))


def _encode_base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
