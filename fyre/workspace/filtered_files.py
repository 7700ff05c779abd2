"""Find the files that a run's checkout would write with other bytes than the work tree has."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from fyre.git import git_command

_LINE_END_ATTRIBUTES = ("text", "crlf")
"""What has git take line ends away when it stores a file: the blob is the smaller one then."""

_OTHER_ATTRIBUTES = ("eol", "filter", "ident", "working-tree-encoding")
"""What may change bytes in a checkout too, or bytes but not the size; see gitattributes(5)."""

_CHECKOUT_CONFIG = "[core]\n\trepositoryformatversion = 1\n\tattributesFile = /dev/null\n"
_SHA256_CONFIG = "[extensions]\n\tobjectFormat = sha256\n"
_CHECKOUT_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
    "GIT_ATTR_NOSYSTEM": "1",
}
"""Configuration as a run's checkout has it: none, so that no filter of a person's runs."""


@dataclass(frozen=True, slots=True)
class FilteredFiles:
    """Paths of files that a checkout writes with other bytes, in order."""

    changed: tuple[str, ...] = ()
    lfs_files: tuple[str, ...] = ()  # of Git LFS: an engine that has their content may write it


def find_filtered(
    top: Path, objects_dir: Path, index_file: str, blobs: Mapping[str, str]
) -> FilteredFiles:
    """Return the files that a run would see with other bytes.

    ``blobs`` has the hash of each path below ``top`` that is in ``index_file``. Only attributes let
    a blob have other bytes than the file that it was made of.
    """
    line_ends, others, lfs_files = _paths_by_attribute(top, list(blobs))
    file_sizes = _regular_file_sizes(top, [*line_ends, *others])
    blob_sizes = _read_blob_sizes(top, {blobs[path] for path in file_sizes})
    found = {
        path
        for path in line_ends
        if path in file_sizes and file_sizes[path] != blob_sizes[blobs[path]]
    }
    doubtful = [path for path in others if path in file_sizes]
    found |= _find_other_bytes(top, objects_dir, index_file, doubtful, len(next(iter(blobs), "")))
    return FilteredFiles(
        tuple(path for path in blobs if path in found and path not in lfs_files),
        tuple(path for path in blobs if path in found and path in lfs_files),
    )


def find_other_sizes(top: Path, blobs: Mapping[str, str]) -> list[str]:
    """Return the paths of the files that have another size than their blob."""
    file_sizes = _regular_file_sizes(top, blobs)
    blob_sizes = _read_blob_sizes(top, {blobs[path] for path in file_sizes})
    return [path for path, size in file_sizes.items() if size != blob_sizes[blobs[path]]]


def _paths_by_attribute(
    top: Path, paths: Sequence[str]
) -> tuple[list[str], list[str], frozenset[str]]:
    """Return the paths where only line ends may be taken away, and those where more may change.

    And those of the latter that belong to Git LFS.
    """
    if not paths:
        return [], [], frozenset()
    fields = git_command.git_output(
        "check-attr", "-z", "--stdin", "--all", cwd=top, stdin=_encode_paths(paths)
    ).split("\0")
    line_ends: dict[str, None] = {}
    others: dict[str, None] = {}
    lfs_files = set()
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if value == "unset":
            continue
        if name in _LINE_END_ATTRIBUTES or (name, value) == ("eol", "lf"):
            line_ends[path] = None
        elif name in _OTHER_ATTRIBUTES:
            others[path] = None
        if (name, value) == ("filter", "lfs"):
            lfs_files.add(path)
    return [path for path in line_ends if path not in others], list(others), frozenset(lfs_files)


def _regular_file_sizes(top: Path, paths: Iterable[str]) -> dict[str, int]:
    """Return the size of each path that is a file, and no link."""
    sizes = {}
    for path in paths:
        try:
            status = os.lstat(f"{top}/{path}")
        except OSError:  # deleted meanwhile
            continue
        if S_ISREG(status.st_mode):
            sizes[path] = status.st_size
    return sizes


def _read_blob_sizes(top: Path, blobs: Iterable[str]) -> dict[str, int]:
    shas = list(blobs)
    if not shas:
        return {}
    text = git_command.git_output(
        "cat-file", "--batch-check=%(objectsize)", cwd=top, stdin="\n".join(shas).encode()
    )
    return dict(zip(shas, map(int, text.split()), strict=True))


def _find_other_bytes(
    top: Path, objects_dir: Path, index_file: str, paths: Sequence[str], hash_length: int
) -> set[str]:
    """Return those of the paths that a checkout writes with other bytes, by writing them."""
    if not paths:
        return set()
    with tempfile.TemporaryDirectory(prefix="fyre-") as folder:
        git_dir, files = Path(folder, "git"), Path(folder, "files")
        (git_dir / "refs").mkdir(parents=True)
        files.mkdir()
        (git_dir / "HEAD").write_text("ref: refs/heads/none\n")
        is_sha256 = hash_length == 64
        (git_dir / "config").write_text(_CHECKOUT_CONFIG + (_SHA256_CONFIG if is_sha256 else ""))
        env = {
            **_CHECKOUT_ENV,
            "GIT_DIR": str(git_dir),
            "GIT_OBJECT_DIRECTORY": str(objects_dir),
            "GIT_INDEX_FILE": index_file,
            "GIT_WORK_TREE": str(files),
        }
        git_command.git_output(
            "checkout-index", "-z", "--stdin", cwd=files, env=env, stdin=_encode_paths(paths)
        )
        return {
            path
            for path in paths
            if not filecmp.cmp(f"{top}/{path}", f"{files}/{path}", shallow=False)
        }


def _encode_paths(paths: Sequence[str]) -> bytes:
    return "".join(path + "\0" for path in paths).encode(errors="surrogateescape")
