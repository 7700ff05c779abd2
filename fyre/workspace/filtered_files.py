"""Find the files that a run's checkout would write with other bytes than the work tree has."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from stat import S_ISREG

from fyre.git import git_command

_WITH_LINE_ENDS = (":(exclude,attr:!text !crlf !eol)", ":(exclude,attr:-text)")
"""Paths where git takes line ends away when it stores a file; see gitattributes(5)."""

_WITH_CONTENT = (":(exclude,attr:!filter !ident !working-tree-encoding)",)
"""Paths where git may store, or write, other bytes of any kind."""

_CONTENT_ATTRIBUTES = frozenset({"filter", "ident", "working-tree-encoding"})
_MAX_WRITTEN_FILES = 1_000
_MAX_WRITTEN_BYTES = 64 * 1024 * 1024
"""Bounds of what is written below $TMPDIR to be compared, however large the repository is."""

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
    not_compared: int = 0  # number of files that would have to be written, beyond the bounds


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """An index to which the work tree was added, and where its blobs are."""

    top: Path
    objects_dir: Path
    index_file: str

    def list_files(self, *options: str) -> list[str]:
        """Return what `git ls-files` says of each path; ``options`` may name attributes."""
        env = {"GIT_INDEX_FILE": self.index_file, "GIT_LITERAL_PATHSPECS": "0"}
        text = git_command.git_output("ls-files", "-z", *options, cwd=self.top, env=env)
        return text.split("\0")[:-1]


class _Check(Enum):
    """The evidence that a checkout writes a file with other bytes, or with the same."""

    SAME = auto()
    OTHER = auto()
    SIZE = auto()  # the bytes are other ones exactly where the size is
    SIZE_AND_BYTES = auto()  # other bytes may have the same size
    BYTES = auto()


_UNCLEAR = (_Check.SIZE, _Check.SIZE_AND_BYTES, _Check.BYTES)


def find_filtered(index: StoredIndex, blobs: Mapping[str, str]) -> FilteredFiles:
    """Return the files that a run would see with other bytes.

    ``blobs`` has the hash of each file that was added. Only attributes let a blob have other bytes
    than its file. Sizes and line ends decide most cases. The other files are written and compared,
    those that HEAD has otherwise first, up to ``_MAX_WRITTEN_FILES`` and ``_MAX_WRITTEN_BYTES``.
    """
    attributes = _read_content_attributes(index)
    checks = dict.fromkeys(index.list_files(*_WITH_LINE_ENDS), _Check.SIZE)
    checks.update(_check_line_ends(index))
    checks.update((path, _check_content(values)) for path, values in attributes.items())
    found = {path for path, check in checks.items() if check is _Check.OTHER and path in blobs}
    unclear = [path for path, check in checks.items() if check in _UNCLEAR and path in blobs]
    file_sizes = _regular_file_sizes(index.top, unclear)
    blob_sizes = _read_blob_sizes(index.top, {blobs[path] for path in file_sizes})
    doubtful = {}
    for path, file_size in file_sizes.items():
        blob_size = blob_sizes[blobs[path]]
        if file_size != blob_size and checks[path] is not _Check.BYTES:
            found.add(path)
        elif checks[path] is not _Check.SIZE:
            doubtful[path] = blob_size
    written = _choose_written(index, doubtful)
    found |= _find_other_bytes(index, written, len(next(iter(blobs), "")))
    lfs_files = {path for path in found if attributes.get(path, {}).get("filter") == "lfs"}
    return FilteredFiles(
        tuple(path for path in blobs if path in found and path not in lfs_files),
        tuple(path for path in blobs if path in lfs_files),
        len(doubtful) - len(written),
    )


def find_other_sizes(top: Path, blobs: Mapping[str, str]) -> list[str]:
    """Return the paths of the files that have another size than their blob."""
    file_sizes = _regular_file_sizes(top, blobs)
    blob_sizes = _read_blob_sizes(top, {blobs[path] for path in file_sizes})
    return [path for path, size in file_sizes.items() if size != blob_sizes[blobs[path]]]


def _read_content_attributes(index: StoredIndex) -> dict[str, dict[str, str]]:
    """Return the attributes of the files where more than line ends may change."""
    paths = index.list_files(*_WITH_CONTENT)
    if not paths:
        return {}
    fields = git_command.git_output(
        "check-attr", "-z", "--stdin", "eol", *_CONTENT_ATTRIBUTES,
        cwd=index.top, stdin=_encode_paths(paths),
    ).split("\0")  # fmt: skip
    attributes: dict[str, dict[str, str]] = {}
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if value not in ("unset", "unspecified"):
            attributes.setdefault(path, {})[name] = value
    return {
        path: values
        for path, values in attributes.items()
        if not _CONTENT_ATTRIBUTES.isdisjoint(values)
    }


def _check_content(attributes: Mapping[str, str]) -> _Check:
    """Return the check of a file with a content attribute: a checkout runs no filter."""
    changes_in_checkout = {"ident", "working-tree-encoding"} & set(attributes)
    if changes_in_checkout or attributes.get("eol") == "crlf":
        return _Check.BYTES
    return _Check.SIZE_AND_BYTES


def _check_line_ends(index: StoredIndex) -> dict[str, _Check]:
    """Return the checks of the files in which a checkout may write CRLF."""
    checks = {}
    for entry in index.list_files("--eol", ":(attr:eol=crlf)"):
        fields, _, path = entry.partition("\t")
        blob_ends, file_ends, attribute = fields.split(maxsplit=2)
        is_auto = "auto" in attribute  # where a blob with a CR is left as it is
        if "eol=crlf" not in attribute:
            checks[path] = _Check.SIZE
        elif file_ends == "w/":  # deleted meanwhile
            checks[path] = _Check.SAME
        elif blob_ends == "i/lf" or (blob_ends == "i/mixed" and not is_auto):
            checks[path] = _Check.SAME if file_ends == "w/crlf" else _Check.OTHER
        elif blob_ends == "i/-text" and not is_auto:
            checks[path] = _Check.BYTES
        else:
            checks[path] = _Check.SIZE
    return checks


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
        "cat-file", "--batch-check=%(objectsize)", "--buffer",
        cwd=top, stdin="\n".join(shas).encode(),
    )  # fmt: skip
    return dict(zip(shas, map(int, text.split()), strict=True))


def _choose_written(index: StoredIndex, sizes: Mapping[str, int]) -> list[str]:
    """Return those of the files that are within the bounds, those that HEAD has otherwise first."""
    paths = list(sizes)
    if len(paths) > _MAX_WRITTEN_FILES or sum(sizes.values()) > _MAX_WRITTEN_BYTES:
        changed = _list_changed(index)
        paths.sort(key=lambda path: path not in changed)
    written: list[str] = []
    free_bytes = _MAX_WRITTEN_BYTES
    for path in paths:
        if len(written) < _MAX_WRITTEN_FILES and sizes[path] <= free_bytes:
            written.append(path)
            free_bytes -= sizes[path]
    return written


def _list_changed(index: StoredIndex) -> frozenset[str]:
    """Return the paths that HEAD has otherwise; none on an unborn branch."""
    result = git_command.run_git(
        "diff-index", "--cached", "--name-only", "--no-renames", "-z", "HEAD",
        cwd=index.top, env={"GIT_INDEX_FILE": index.index_file}, check=False,
    )  # fmt: skip
    return frozenset(result.stdout.decode(errors="surrogateescape").split("\0"))


def _find_other_bytes(index: StoredIndex, paths: Sequence[str], hash_length: int) -> set[str]:
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
            "GIT_OBJECT_DIRECTORY": str(index.objects_dir),
            "GIT_INDEX_FILE": index.index_file,
            "GIT_WORK_TREE": str(files),
        }
        git_command.git_output(
            "checkout-index", "-z", "--stdin", cwd=files, env=env, stdin=_encode_paths(paths)
        )
        return {
            path for path in paths if _has_other_bytes(f"{index.top}/{path}", f"{files}/{path}")
        }


def _has_other_bytes(file: str, written: str) -> bool:
    try:
        return not filecmp.cmp(file, written, shallow=False)
    except OSError:  # deleted meanwhile, or it can't be read any more
        return False


def _encode_paths(paths: Sequence[str]) -> bytes:
    return "".join(path + "\0" for path in paths).encode(errors="surrogateescape")
