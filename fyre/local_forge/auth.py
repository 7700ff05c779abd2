"""Who is speaking: a token to a user.

Everything here listens on the loopback and trusts the people of its machine, so a token says who somebody is and
keeps nobody out. Only the service token can't be guessed: statuses under ``fyre[bot]`` are Fyre's own.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hmac
import os
import re
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path

SERVICE_LOGIN = "fyre[bot]"
"""The login of the service token's user."""

USER_TOKEN_PREFIX = "user:"  # noqa: S105
"""A token ``user:NAME`` speaks for NAME: local teams and tests say who they are."""

_BOT_SUFFIX = "[bot]"
"""What the login of a GitHub App ends with."""

_LOGIN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}(?:\[bot\])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a login."""

    login: str

    @property
    def id(self) -> int:
        """A number that stays: logins are all there is to know of a user."""
        return zlib.crc32(self.login.encode())

    @property
    def type(self) -> str:
        """GitHub's word: ``User`` or ``Bot``."""
        return "Bot" if self.login.endswith(_BOT_SUFFIX) else "User"


def load_or_create_secret(path: Path) -> str:
    """A secret that only this user can read, minted on first use."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        minted = secrets.token_hex(20)
        file.write(minted + "\n")
    return minted


def local_user() -> User:
    """Whoever runs this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in containers
        name = ""
    return User(valid_login(name) or "local")


def valid_login(text: str) -> str:
    """The text if it can be a login, else ""."""
    return text if _LOGIN_PATTERN.fullmatch(text) else ""


def authenticate_user(authorization: str, service_token: str) -> User | None:
    """The user of an Authorization header (``token``, ``Bearer``, ``Basic``); None where it names nobody."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "basic":
        value = _decode_basic_auth(value)[1]
    elif scheme.lower() not in ("token", "bearer"):
        return None
    return _user_from_token(value.strip(), service_token)


def authenticate_pusher(authorization: str, service_token: str) -> User:
    """Who pushes with git: the name given for Basic authentication, else the token's user, else the local user.

    Git sends a name only when it is asked for one, and nobody is asked here: ``http.extraHeader`` says it.
    """
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return authenticate_user(authorization, service_token) or local_user()
    name, password = _decode_basic_auth(value)
    if hmac.compare_digest(password.encode(), service_token.encode()):
        return User(SERVICE_LOGIN)
    if name == "x-access-token":  # GitHub's name for "the password says it all"
        return _user_from_token(password, service_token) or local_user()
    return User(name) if name.lower() != SERVICE_LOGIN and valid_login(name) else local_user()


def _user_from_token(token: str, service_token: str) -> User | None:
    if not token:
        return None
    if hmac.compare_digest(token.encode(), service_token.encode()):
        return User(SERVICE_LOGIN)
    claimed = token.removeprefix(USER_TOKEN_PREFIX) if token.startswith(USER_TOKEN_PREFIX) else ""
    if claimed.lower() == SERVICE_LOGIN:
        return None  # that name is had by the token alone
    return User(claimed) if valid_login(claimed) else local_user()


def _decode_basic_auth(value: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return name, password
