"""The address of a run's page: its key and a mark that only this receiver can make, so that nobody guesses one.

Who can read the repository reads the link in its statuses, and so the log; nobody else does.
"""

from __future__ import annotations

import hmac


def token(secret: bytes, key: str) -> str:
    """The part of the address that names the run."""
    return f"{key}-{hmac.new(secret, key.encode(errors='replace'), 'sha256').hexdigest()[:24]}"


def key_of(secret: bytes, named: str) -> str | None:
    """The run that an address names, or None when this receiver did not make it; takes the same time either way."""
    key = named.partition("-")[0]
    return (
        key
        if hmac.compare_digest(
            token(secret, key).encode(errors="replace"), named.encode(errors="replace")
        )
        else None
    )
