"""The address of a run's page: its key and a mark that only this receiver can make, so that nobody guesses one.

Who can read the repository reads the link in its statuses, and so the log; nobody else does.
"""

from __future__ import annotations

import hmac


def run_token(secret: bytes, run_key: str) -> str:
    """The part of the address that names the run."""
    return (
        f"{run_key}-{hmac.new(secret, run_key.encode(errors='replace'), 'sha256').hexdigest()[:24]}"
    )


def run_key_from_token(secret: bytes, page_token: str) -> str | None:
    """The run that an address names, or None when this receiver did not make it; takes the same time either way."""
    key = page_token.partition("-")[0]
    return (
        key
        if hmac.compare_digest(
            run_token(secret, key).encode(errors="replace"), page_token.encode(errors="replace")
        )
        else None
    )
