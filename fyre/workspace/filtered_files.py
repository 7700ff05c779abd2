"""Find the files that git stores with other bytes than the work tree has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fyre.git import git_command

_FILTER_ATTRIBUTES = ("text", "crlf", "eol", "filter", "ident", "working-tree-encoding")
"""Attributes by which git stores other bytes than the work tree has; see gitattributes(5)."""


def find_filtered(top: Path, paths: Sequence[str], blobs: Mapping[str, str]) -> list[str]:
    """Return those of the paths whose blob has other bytes than the file.

    ``blobs`` has the hash of each path below ``top`` as git stores it.
    """
    suspects = [
        path
        for path in _paths_with_filter(top, paths)
        if path in blobs and "\n" not in path and _is_regular_file(top / path)
    ]
    if not suspects:
        return []
    hashes = git_command.git_output(
        "hash-object", "--no-filters", "--stdin-paths",
        cwd=top, stdin=_encode_paths(suspects, "\n"),
    ).split()  # fmt: skip
    return [path for path, sha in zip(suspects, hashes, strict=True) if sha != blobs[path]]


def _paths_with_filter(top: Path, paths: Sequence[str]) -> list[str]:
    """Return those of the paths that have an attribute by which git may change bytes."""
    if not paths:
        return []
    fields = git_command.git_output(
        "check-attr", "-z", "--stdin", *_FILTER_ATTRIBUTES,
        cwd=top, stdin=_encode_paths(paths, "\0"),
    ).split("\0")  # fmt: skip
    values = zip(fields[::3], fields[2::3], strict=False)
    return list(dict.fromkeys(path for path, value in values if value[:3] != "uns"))


def _encode_paths(paths: Sequence[str], end: str) -> bytes:
    return "".join(path + end for path in paths).encode(errors="surrogateescape")


def _is_regular_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
