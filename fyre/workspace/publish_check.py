"""Find new files that a person may not want to publish: large ones, and ones that look secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG

LARGE_BYTES = 10 * 1024 * 1024
"""Limit in bytes, for one new file and for all together.

``git config fyre.large 50m`` sets another limit.
"""

_SECRET_GLOBS = (
    ".env", ".env.*", "*.env", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "credentials", "credentials.*", "credentials*.json", "client_secret*",
    "*service*account*.json", "secrets.*", ".netrc", "_netrc", ".pgpass", ".npmrc",
    ".pypirc", ".git-credentials", ".htpasswd", ".dockercfg", "kubeconfig", "*.kubeconfig",
    ".vault-token", "*.tfstate",
)  # fmt: skip
_HARMLESS_GLOBS = (
    "*.example",
    "*.sample",
    "*.template",
    "*.dist",
    "*.py",
    "*.pub",
    "*.md",
    "*.rst",
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".docker"})
_PRIVATE_KEY_HEADER = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_SNIFF_BYTES = 16 * 1024  # bytes that are read of each new file


def find_suspect_files(
    top: Path, paths: Iterable[str], large_bytes: int = LARGE_BYTES
) -> Iterator[str]:
    """Yield a line for each file to ask the person about; ``paths`` are relative to ``top``."""
    total = count = 0
    one_is_large = False
    for path in paths:
        try:
            stat = (top / path).lstat()
        except OSError:
            continue  # deleted meanwhile: `git add` will report it
        size, count = stat.st_size, count + 1
        total += size
        name = path.encode(errors="replace").decode()
        if size > large_bytes:
            one_is_large = True
            yield f"{name} is large ({format_size(size)})"
        if reason := _secret_name_reason(path) or (
            S_ISREG(stat.st_mode) and _private_key_reason(top / path)
        ):
            yield f"{name} {reason}"
    if total > large_bytes and not one_is_large:
        yield f"{count} new files are large together ({format_size(total)})"


def format_size(size: int) -> str:
    """Return a number of bytes as text for people: ``25.0 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _secret_name_reason(path: str) -> str:
    *folders, name = path.lower().split("/")
    name_is_secret = any(fnmatch(name, glob) for glob in _SECRET_GLOBS) and not any(
        fnmatch(name, glob) for glob in _HARMLESS_GLOBS
    )
    return "looks secret by its name" if name_is_secret or _SECRET_FOLDERS & set(folders) else ""


def _private_key_reason(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return (
            "holds a private key"
            if _PRIVATE_KEY_HEADER.search(os.read(descriptor, _SNIFF_BYTES))
            else ""
        )
    finally:
        os.close(descriptor)
