"""Make and check the token in the address of a run's page, so that nobody can guess an address.

It is the run's key and a MAC that only this installation can make. Whoever can read the repository
reads the link in its statuses, and so the log; nobody else does.
"""

from __future__ import annotations

import hmac


def run_token(secret: bytes, run_key: str) -> str:
    """Return the part of the address that names the run."""
    mac = hmac.new(secret, run_key.encode(errors="replace"), "sha256").hexdigest()
    return f"{run_key}-{mac[:24]}"


def run_key_from_token(secret: bytes, page_token: str) -> str | None:
    """Return the key of the run that an address names; None if this installation did not make it.

    It takes the same time either way.
    """
    run_key = page_token.partition("-")[0]
    expected = run_token(secret, run_key).encode(errors="replace")
    is_genuine = hmac.compare_digest(expected, page_token.encode(errors="replace"))
    return run_key if is_genuine else None
