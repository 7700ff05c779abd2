"""Sign and verify the tokens with which a pod uploads the outputs of its run. Pure.

A token is good for one run, and for as long as the run has no outcome: whoever takes an upload asks
for that. It is HMAC-SHA256 over the key of the run, so no token is stored.
"""

from __future__ import annotations

import hmac

_MAC_PURPOSE = b"fyre upload token 1\0"
"""Whatever else the same secret signs can never be used as a token."""


def create_upload_token(secret: bytes, run_key: str) -> str:
    """Return the token of a run. Raises ``ValueError`` if the secret is empty."""
    if not secret:
        raise ValueError("an upload token needs a secret")
    return hmac.digest(secret, _MAC_PURPOSE + run_key.encode(), "sha256").hex()


def is_upload_token(secret: bytes, run_key: str, token: str) -> bool:
    """Return True if a token is that run's."""
    expected = create_upload_token(secret, run_key)
    return hmac.compare_digest(expected.encode(), token.encode())
