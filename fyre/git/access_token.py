"""The key with which a pod fetches its code from the git relay: says itself what it is good for. Pure.

``PAYLOAD.MAC``, both in URL-safe base64. The payload is ``EXPIRES:ID,ID:RUN`` and the MAC is HMAC-SHA256 over it, so
nothing is stored for a key, and every replica that knows the secret honours it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

TOKEN_LENGTH_MAX = 4096
"""Characters; what is longer is no key of ours and is not looked into."""

_MAC_PURPOSE = (
    b"fyre relay key 1\0"  # the same secret signing other things elsewhere never makes a key
)


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a key is good for: these repositories, for this run, until ``expires`` (seconds since the epoch)."""

    repository_ids: frozenset[int]
    run_key: str
    expires_at: float


def create_access_token(
    secret: bytes, repository_ids: tuple[int, ...], run_key: str, expires_at: float
) -> str:
    """A key for a run and its repositories (the submodules' too). ``expires`` is in seconds since the epoch.

    Raises ``ValueError`` without a secret, and where the repositories are too many for a header.
    """
    if not secret:
        raise ValueError("a relay key needs a secret")
    payload = _encode_base64url(
        f"{int(expires_at)}:{','.join(map(str, repository_ids))}:{run_key}".encode()
    )
    key = f"{payload}.{_compute_mac(secret, payload)}"
    if len(key) > TOKEN_LENGTH_MAX:
        raise ValueError(f"a relay key for {len(repository_ids)} repositories is too long")
    return key


def verify_access_token(secrets: Sequence[bytes], token: str, now: float) -> TokenClaims | None:
    """What a key grants at that moment; None for one that is forged or expired. Any one of the secrets will do."""
    payload, dot, mac = token.partition(".")
    if not dot or len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        return None
    if not any(
        hmac.compare_digest(_compute_mac(secret, payload), mac) for secret in secrets if secret
    ):
        return None
    try:
        expires, ids, run_key = (
            urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode().split(":", 2)
        )
        found = TokenClaims(
            frozenset(int(number) for number in ids.split(",") if number), run_key, float(expires)
        )
    except ValueError:  # signed by a Fyre that says it otherwise
        return None
    return found if now < found.expires_at else None


def authorized_run_key(
    secrets: Sequence[bytes], token: str, repository_id: int, now: float
) -> str | None:
    """The run's key where this key is good for that repository now; else None."""
    found = verify_access_token(secrets, token, now)
    return found.run_key if found is not None and repository_id in found.repository_ids else None


def _compute_mac(secret: bytes, payload: str) -> str:
    return _encode_base64url(hmac.digest(secret, _MAC_PURPOSE + payload.encode(), "sha256"))


def _encode_base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
