"""Secrets of our own making, which the addresses of pages and the keys of the relay are made with.

Each is kept in a file; or, where several receivers are to make the same, derived from one key that they share.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from fyre.apps.secret_file import Secret
from fyre.errors import UserError

Own = Callable[[str], bytes]
"""The name of a secret → hex digits, the same at every start."""


def kept(path: Path) -> bytes:
    """Random hex digits, made on first use and kept for this user alone."""
    if (
        not path.exists() or not path.stat().st_size
    ):  # a disk that was full when it was made: nothing is no secret
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.new")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        draft.replace(path)
    return path.read_bytes()


def kept_in(folder: Path) -> Own:
    """Each in a file of that folder."""
    return lambda name: kept(folder / name)


def instance(own: Own) -> str:
    """The name that a receiver's Jobs carry: no secret, and another one where the secrets are others."""
    try:
        return f"fyre-{own('instance')[:8].decode()}"
    except (
        UnicodeDecodeError
    ) as error:  # going on under another name would have all runs of before taken for lost
        hint = "the file `instance` in the state's folder: put it back as it was; its Jobs' names say how it began"
        raise UserError("the instance's name is not what Fyre wrote", hint=hint) from error


def derived(key: Secret) -> Own:
    """Each an HMAC of its name; the key itself is used for nothing else."""
    shared = key.read().encode()
    return lambda name: hmac.new(shared, name.encode(), hashlib.sha256).hexdigest().encode()
