"""Find new files that a person may not want to publish: large ones, and ones that look secret.

A file looks secret by its name, or since a small text holds what looks like a credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG

from fyre.errors import UserError
from fyre.git import git_command
from fyre.regular_files import read_beginning
from fyre.runs.results import format_bytes

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
_CODE_GLOBS = (
    "*.py", "*.pyi", "*.ipynb", "*.sh", "*.js", "*.mjs", "*.ts", "*.tsx", "*.jsx", "*.go", "*.rs",
    "*.c", "*.h", "*.cc", "*.cpp", "*.hpp", "*.cu", "*.java", "*.kt", "*.rb", "*.php", "*.pl",
    "*.r", "*.jl", "*.scala", "*.swift", "*.lua", "*.md", "*.rst", "*.html", "*.css", "*.svg",
    "*.example", "*.sample", "*.template", "*.dist", "*.lock", "*-lock.json", "*.csv", "*.tsv",
)  # fmt: skip
"""Files in which only tokens with their maker's prefix count: what is assigned to ``password`` in
code is mostly a call or a word of the text."""

_PRIVATE_KEY_HEADER = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_SNIFF_BYTES = 16 * 1024  # bytes that are read of each new file
_TEXT_BYTES_MAX = 64 * 1024
"""Bytes of a text that is read as a whole; a file with a credential is hardly ever longer."""

_SCANNED_BYTES_MAX = 16 * 1024 * 1024
"""Bytes that are looked through in all, a second or so."""

_QUOTED_KEY_END = re.compile(r"""["']\s*:\s*""")  # JSON's ``"token": …`` reads as ``token: …``


def find_suspect_files(
    top: Path, paths: Iterable[str], large_bytes: int = LARGE_BYTES
) -> Iterator[str]:
    """Yield a line for each file to ask the person about; ``paths`` are relative to ``top``."""
    total = count = 0
    one_is_large = False
    scanner = _ContentScanner()
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
            yield f"{name} is large ({format_bytes(size)})"
        if reason := _secret_name_reason(path) or (
            S_ISREG(stat.st_mode) and scanner.find_reason(top / path, size)
        ):
            yield f"{name} {reason}"
    if total > large_bytes and not one_is_large:
        yield f"{count} new files are large together ({format_bytes(total)})"


def file_sizes(top: Path, paths: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of each path that is there."""
    sizes = {}
    for path in paths:
        with suppress(OSError):  # deleted, perhaps only now: `git add` will report it
            sizes[path] = (top / path).lstat().st_size
    return sizes


def _secret_name_reason(path: str) -> str:
    *folders, name = path.lower().split("/")
    name_is_secret = any(fnmatch(name, glob) for glob in _SECRET_GLOBS) and not any(
        fnmatch(name, glob) for glob in _HARMLESS_GLOBS
    )
    return "looks secret by its name" if name_is_secret or _SECRET_FOLDERS & set(folders) else ""


def reject_credential_files(top: Path, paths: Iterable[str]) -> None:
    """Raise ``UserError`` if a new file holds what looks like a credential; that is never shown."""
    scanner = _ContentScanner()
    for path in paths:
        with suppress(OSError):  # deleted meanwhile: `git add` will report it
            stat = (top / path).lstat()
            reason = S_ISREG(stat.st_mode) and scanner.find_reason(top / path, stat.st_size)
            if reason:
                name = path.encode(errors="replace").decode()
                raise UserError(
                    f"the new file {name} {reason}, and commits are for ever",
                    hint="name it in .gitignore, or say --allow-credential (or `git add` it)",
                )


def read_large_limit(top: Path) -> int:
    """Return the bytes from which a new file is large: ``git config fyre.large``, or ours."""
    limit = git_command.git_output_or_none("config", "--type=int", "--get", "fyre.large", cwd=top)
    return int(limit) if limit else LARGE_BYTES


def reject_large_files(top: Path, paths: Iterable[str]) -> None:
    """Raise ``UserError`` for a large new file, or for new files that are large together."""
    sizes = file_sizes(top, paths)
    if sum(sizes.values()) <= read_large_limit(top):
        return
    largest = max(sizes, key=lambda path: sizes[path])
    name = largest.encode(errors="replace").decode()
    total = format_bytes(sum(sizes.values()))
    rest = f", {len(sizes)} new files together {total}" if len(sizes) > 1 else ""
    raise UserError(
        f"the new file {name} is large ({format_bytes(sizes[largest])}{rest}), "
        "and commits are for ever",
        hint="name it in .gitignore, or `git add` it; git config fyre.large 1g sets another limit",
    )


class _ContentScanner:
    """Looks into new files, up to a number of bytes in all."""

    def __init__(self) -> None:
        self._left = _SCANNED_BYTES_MAX

    def find_reason(self, path: Path, size: int) -> str:
        """Return what a file holds that is secret: "holds a GitHub token"; "" for nothing."""
        is_small = size <= min(_TEXT_BYTES_MAX, self._left)
        content = read_beginning(path, _TEXT_BYTES_MAX if is_small else _SNIFF_BYTES)
        if _PRIVATE_KEY_HEADER.search(content[:_SNIFF_BYTES]):
            return "holds a private key"
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        if not is_small or (b"\0" in content and encoding == "utf-8"):
            return ""
        self._left -= size
        from fyre.message import credential_scan  # only if there is a new file

        text = _QUOTED_KEY_END.sub(": ", content.decode(encoding, "replace"))
        is_code = any(fnmatch(path.name.lower(), glob) for glob in _CODE_GLOBS)
        find = credential_scan.find_tokens if is_code else credential_scan.find_credentials
        return next((f"holds {match.kind}" for match in find(text)), "")
