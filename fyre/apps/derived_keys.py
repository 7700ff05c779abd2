"""Secrets that Fyre makes itself: for run pages, the keys of the git relay, signatures of Jobs.

Each is stored in a file, or is derived from one key that several receivers share.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from fyre.apps.secret_file import Secret
from fyre.engines.factory import SecretSource
from fyre.errors import UserError

JOB_SECRET, RELAY_SECRET, UPLOAD_SECRET = "jobs.secret", "relay.secret", "upload.secret"
"""The names of the secrets that sign Jobs, and the tokens with which pods fetch their code, and
upload their outputs."""


def read_or_create_secret(path: Path) -> bytes:
    """Return random hex digits, made on first use in a file that only this user can read."""
    # the file may be empty because the disk was full when it was made: that is no secret
    if not path.exists() or not path.stat().st_size:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.new")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        draft.replace(path)
    return path.read_bytes()


def secrets_from_folder(folder: Path) -> SecretSource:
    """Return a source that keeps each secret in a file of that folder."""
    return lambda name: read_or_create_secret(folder / name)


def instance_name(secret_source: SecretSource) -> str:
    """Return the name that marks the Jobs of this installation.

    It is not secret, and differs between installations with different secrets.

    Raises ``UserError`` if the stored name is damaged.
    """
    try:
        return f"fyre-{secret_source('instance')[:8].decode()}"
    except UnicodeDecodeError as error:
        # under another name, all earlier runs would be taken for lost
        hint = (
            "the file `instance` in the state's folder: put it back as it was; "
            "its Jobs' names say how it began"
        )
        raise UserError("the instance's name is not what Fyre wrote", hint=hint) from error


def secrets_from_key(shared_key: Secret) -> SecretSource:
    """Return a source that makes each secret as an HMAC of its name.

    The key itself is used for nothing else.
    """
    key = shared_key.read_secret().encode()
    return lambda name: hmac.new(key, name.encode(), hashlib.sha256).hexdigest().encode()
