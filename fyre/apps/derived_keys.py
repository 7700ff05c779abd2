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

SecretSource = Callable[[str], bytes]
"""The name of a secret → hex digits, the same at every start."""


def read_or_create_secret(path: Path) -> bytes:
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


def secrets_from_folder(folder: Path) -> SecretSource:
    """Each in a file of that folder."""
    return lambda name: read_or_create_secret(folder / name)


def instance_name(secret_source: SecretSource) -> str:
    """The name that a receiver's Jobs carry: no secret, and another one where the secrets are others."""
    try:
        return f"fyre-{secret_source('instance')[:8].decode()}"
    except (
        UnicodeDecodeError
    ) as error:  # going on under another name would have all runs of before taken for lost
        hint = "the file `instance` in the state's folder: put it back as it was; its Jobs' names say how it began"
        raise UserError("the instance's name is not what Fyre wrote", hint=hint) from error


def secrets_from_key(shared_key: Secret) -> SecretSource:
    """Each an HMAC of its name; the key itself is used for nothing else."""
    shared = shared_key.read_secret().encode()
    return lambda name: hmac.new(shared, name.encode(), hashlib.sha256).hexdigest().encode()
