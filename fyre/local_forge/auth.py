"""Authenticate users: a token, or git's user name, to a user.

Who may use the forge at all is decided before, by ``fyre.local_forge.access_gate``. Here a token
only says who somebody is. Only the service token can't be guessed: statuses by ``fyre[bot]`` are
Fyre's own.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hmac
import os
import re
import secrets
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fyre.errors import UserError
from fyre.regular_files import NotRegularFileError, read_regular

SERVICE_LOGIN = "fyre[bot]"
"""The login of the service token's user."""

USER_TOKEN_PREFIX = "user:"  # noqa: S105 - no secret
"""A token ``user:NAME`` authenticates as NAME: local teams and tests choose their names."""

ACCESS_TOKEN_FILE = "access-token"  # noqa: S105 - no secret
"""The file, under the root, of the token for everybody but the user who runs ``fyre up``."""

_BOT_SUFFIX = "[bot]"
"""The end of a GitHub App's login."""

_LOGIN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}(?:\[bot\])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """A user with a login."""

    login: str

    @property
    def id(self) -> int:
        """A stable number derived from the login, which is all that is known of a user."""
        return zlib.crc32(self.login.encode())

    @property
    def type(self) -> str:
        """``User`` or ``Bot``, as GitHub calls them."""
        return "Bot" if self.login.endswith(_BOT_SUFFIX) else "User"


def load_or_create_secret(path: Path) -> str:
    """Return the secret of a file that only this user can read; create it on first use.

    Raises ``UserError`` for a file that is not this user's to read or to close to others.
    """
    try:
        _refuse_strangers_file(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        secret = read_regular(path).decode().strip()
        if secret:
            return secret
        path.unlink()  # the disk was full when it was made: that is no secret
    except FileNotFoundError:
        pass
    except NotRegularFileError as error:
        raise UserError(f"{path} is no regular file", hint="move it away") from error
    except PermissionError as error:
        raise UserError(
            f"{path} belongs to another user", hint="--root names a folder of your own"
        ) from error
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was faster
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        secret = secrets.token_hex(20)
        file.write(secret + "\n")
    return secret


def _refuse_strangers_file(path: Path) -> None:
    """Raise ``UserError`` for a secret that another user may have put there, and so knows."""
    owners = {path.lstat().st_uid, path.stat().st_uid} - {os.geteuid(), 0}
    if owners and path.parent.stat().st_mode & stat.S_IWOTH:
        raise UserError(
            f"{path} belongs to another user, in a folder in which everybody may write",
            hint="--root names a folder of your own",
        )


def local_user() -> User:
    """Return the user who runs this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in containers
        name = ""
    return User(valid_login(name) or "local")


def valid_login(text: str) -> str:
    """Return the text if it is a valid login, else ""."""
    return text if _LOGIN_PATTERN.fullmatch(text) else ""


def authenticate_user(authorization: str, service_token: str) -> User | None:
    """Return the user of an Authorization header (``token``, ``Bearer``, ``Basic``).

    None if it names none.
    """
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "basic":
        value = _decode_basic_auth(value)[1]
    elif scheme.lower() not in ("token", "bearer"):
        return None
    return _user_from_token(value.strip(), service_token)


def authenticate_pusher(authorization: str, service_token: str) -> User:
    """Return the user who pushes with git.

    It is the name given for Basic authentication, else the token's user, else the local user. Git
    sends a name only when the server asks for one, and this one never does: ``http.extraHeader``
    sets it.
    """
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return authenticate_user(authorization, service_token) or local_user()
    name, password = _decode_basic_auth(value)
    if hmac.compare_digest(password.encode(), service_token.encode()):
        return User(SERVICE_LOGIN)
    if name == "x-access-token":  # GitHub's user name for "the password is a token"
        return _user_from_token(password, service_token) or local_user()
    return User(name) if name.lower() != SERVICE_LOGIN and valid_login(name) else local_user()


def gives_token(authorization: str, tokens: Sequence[str]) -> bool:
    """Return True if an Authorization header gives one of these tokens, for Basic as password."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "basic":
        value = _decode_basic_auth(value)[1]
    elif scheme.lower() not in ("token", "bearer"):
        return False
    given = value.strip().encode()
    return any(hmac.compare_digest(given, token.encode()) for token in tokens if token)


def _user_from_token(token: str, service_token: str) -> User | None:
    if not token:
        return None
    if hmac.compare_digest(token.encode(), service_token.encode()):
        return User(SERVICE_LOGIN)
    claimed = token.removeprefix(USER_TOKEN_PREFIX) if token.startswith(USER_TOKEN_PREFIX) else ""
    if claimed.lower() == SERVICE_LOGIN:
        return None  # only the service token gives that name
    return User(claimed) if valid_login(claimed) else local_user()


def _decode_basic_auth(value: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return name, password
