"""The parts of a checkout that its own git objects lack: submodules, and files of Git LFS.

They are taken from where they already are on this machine: beside a person's clone, or in the local
forge. Nothing is fetched from anywhere. What is nowhere is named.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Iterator
from typing import Any

from fyre.engines.local import checkout
from fyre.regular_files import read_beginning

SUBMODULES = "submodules"
LFS_FILES = "Git LFS files"
"""Names of what a checkout lacks, as a status says them."""

_NAMED_MAX = 3
_PATH_MAX = 40  # characters of a path that is named

_SUBMODULE_MODE = b"160000"
_INDEX_SUBMODULE = b"\0\0\xe0\0"  # that mode in an index; other fields may hold these bytes too
_INDEX_ENTRY = re.compile(rb"([0-7]{6}) ([0-9a-f]+) 0\t(.+)\Z", re.DOTALL)
_CONFIG_ENTRY = re.compile(r"submodule\.(.+)\.(path|url)\n(.*)\Z", re.DOTALL)
_ENTRIES_MAX = 100_000
_PATHS_AT_ONCE = 200  # of a command line, each of up to 4096 bytes
_DEPTH_MAX = 16  # submodules of submodules
_SUBMODULES_MAX = 1000  # of all depths: two in each of 16 depths would be 65,536 checkouts

_POINTER_BYTES = 1024
_POINTER = re.compile(
    rb"version https?://[^\n]+\n(ext-[^\n]+\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n"
)
_COPY_BYTES = 1 << 20

_FORGE_FILE = "fyre.json"  # which every repository of the local forge has
_NAME_PART = re.compile(r"(?![.-])[A-Za-z0-9._-]{1,100}", re.ASCII)


class CodeParts:
    """The parts of one checkout; ``deadline`` is of ``time.monotonic``.

    Every method raises ``CheckoutError`` at the deadline.
    """

    def __init__(self, job: dict[str, Any], deadline: float | None) -> None:
        self.job = job
        self.deadline = deadline
        self._missing: dict[str, list[str]] = {SUBMODULES: [], LFS_FILES: []}  # their paths
        self._submodules_tried = 0
        self._draft = ""

    def add_to(self, work_dir: str) -> list[str]:
        """Write the parts into a checkout, and return what is nowhere, as a status says it."""
        # No file of the commit can be there, and a file's own name may have no room for more.
        self._draft = os.path.join(work_dir, ".git/fyre-lfs-object")
        self._add_parts(work_dir, self.job["git_dir"], "", 0)
        return [_name_missing(kind, paths) for kind, paths in self._missing.items() if paths]

    def _add_parts(self, work_dir: str, git_dir: str, prefix: str, depth: int) -> None:
        """Write the parts of the checkout of a repository, which is a submodule at ``prefix``."""
        if _index_holds(work_dir, b".gitattributes"):
            self._add_lfs_files(work_dir, git_dir, prefix)
        if not _index_holds(work_dir, _INDEX_SUBMODULE):
            return
        submodules = self._entries(work_dir, _SUBMODULE_MODE)
        known = self._known_submodules(work_dir) if submodules else {}
        for path, sha in submodules.items():
            directory = os.path.join(work_dir, os.fsdecode(path))
            name, url = known.get(os.fsdecode(path), ("", ""))
            source = self._write_submodule(directory, sha, _find_sources(git_dir, name, url))
            inside = prefix + os.fsdecode(path)
            if source and depth < _DEPTH_MAX:
                self._add_parts(directory, source, f"{inside}/", depth + 1)
            else:
                self._missing[SUBMODULES].append(inside)

    def _add_lfs_files(self, work_dir: str, git_dir: str, prefix: str) -> None:
        replaced = []
        for path in map(os.fsdecode, self._entries(work_dir, b"100", ":(top,attr:filter=lfs)")):
            is_missing = self._replace_pointer(os.path.join(work_dir, path), git_dir)
            if is_missing:
                self._missing[LFS_FILES].append(prefix + path)
            elif is_missing is not None:
                replaced.append(path)
        self._hide_from_status(work_dir, replaced)

    def _write_submodule(self, directory: str, sha: str, sources: Iterator[str]) -> str:
        """Write the commit of a submodule, and return the repository that has it; "" for none."""
        for git_dir in sources:
            self._submodules_tried += 1
            if self._submodules_tried > _SUBMODULES_MAX:
                return ""
            if checkout.write_files(self.job, directory, sha, git_dir, self.deadline) is None:
                return git_dir
            checkout.remove_tree(directory)
            os.mkdir(directory)
        return ""

    def _hide_from_status(self, work_dir: str, paths: list[str]) -> None:
        """Have git take these files for unchanged, as they are where git-lfs has written them."""
        for start in range(0, len(paths), _PATHS_AT_ONCE):
            some = paths[start : start + _PATHS_AT_ONCE]
            git_args = ["update-index", "--assume-unchanged", "--", *some]
            checkout.run_git(git_args, work_dir, self.job, self.deadline, lambda _: None)

    def _replace_pointer(self, path: str, git_dir: str) -> bool | None:
        """Replace a pointer to an LFS object by that object, if it is beside the git objects.

        Return True if the object is missing, None for what is no pointer.
        """
        pointer = _POINTER.fullmatch(read_beginning(path, _POINTER_BYTES + 1))
        if pointer is None:
            return None
        extension, oid, size = pointer[1], pointer[2].decode(), int(pointer[3])
        stored = os.path.join(git_dir, "lfs/objects", oid[:2], oid[2:4], oid)
        return bool(extension) or not self._copy_object(stored, path, oid, size)

    def _copy_object(self, stored: str, path: str, oid: str, size: int) -> bool:
        """Copy an object over its pointer; return False if it is not there, or is damaged."""
        try:
            source = os.open(stored, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(source, "rb", buffering=0) as reader:
            if os.fstat(source).st_size != size:
                return False
            digest = hashlib.sha256()
            with open(os.open(self._draft, flags, os.stat(path).st_mode), "wb") as writer:
                while data := reader.read(_COPY_BYTES):
                    digest.update(data)
                    writer.write(data)
                    checkout.raise_at_deadline(self.deadline, self.job)
        if digest.hexdigest() != oid:
            os.unlink(self._draft)
            return False
        os.rename(self._draft, path)
        return True

    def _entries(self, work_dir: str, mode: bytes, *pathspecs: str) -> dict[bytes, str]:
        """Return paths of the index with such a mode, and their objects; not without a bound."""
        found: dict[bytes, str] = {}
        rest = b""

        def read(data: bytes) -> None:
            nonlocal rest
            *entries, rest = (rest + data).split(b"\0")
            for entry in map(_INDEX_ENTRY.search, entries):
                if entry and entry[1].startswith(mode) and len(found) < _ENTRIES_MAX:
                    found[entry[3]] = entry[2].decode()

        git_args = ["ls-files", "-z", "--stage", "--", *pathspecs]
        checkout.run_git(git_args, work_dir, self.job, self.deadline, read)
        return found

    def _known_submodules(self, work_dir: str) -> dict[str, tuple[str, str]]:
        """Return the name and the URL of the submodules in .gitmodules, by their paths."""
        if os.path.islink(os.path.join(work_dir, ".gitmodules")):
            return {}
        output = bytearray()
        pattern = r"^submodule\..*\.(path|url)$"
        git_args = ["config", "-z", "-f", ".gitmodules", "--get-regexp", pattern]
        if checkout.run_git(git_args, work_dir, self.job, self.deadline, output.extend):
            return {}
        values: dict[str, dict[str, str]] = {}
        for entry in map(_CONFIG_ENTRY.match, os.fsdecode(bytes(output)).split("\0")):
            if entry:
                values.setdefault(entry[1], {})[entry[2]] = entry[3]
        return {
            value["path"]: (name, value.get("url", ""))
            for name, value in values.items()
            if "path" in value
        }


def _name_missing(kind: str, paths: list[str]) -> str:
    """Return what is missing with the first paths, and how many more there are."""
    named = ", ".join(map(_short_path, paths[:_NAMED_MAX]))
    more = f" and {len(paths) - _NAMED_MAX} more" if len(paths) > _NAMED_MAX else ""
    return f"{kind} ({named}{more})"


def _short_path(path: str) -> str:
    """Return the end of a path, which says most, as text of one line."""
    text = os.fsencode(path).decode(errors="replace")
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= _PATH_MAX else "…" + text[1 - _PATH_MAX :]


def _index_holds(work_dir: str, needle: bytes) -> bool:
    """Return True if those bytes are in the checkout's index: a quick look, no proof."""
    with (
        open(os.path.join(work_dir, ".git/index"), "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as index,
    ):
        return index.find(needle) >= 0


def _find_sources(git_dir: str, name: str, url: str) -> Iterator[str]:
    """Yield the repositories that may hold a submodule of the repository in ``git_dir``.

    In a person's clone they are inside it, in the local forge beside it. Any that has the commit
    will do, since a commit of that SHA is the same everywhere.
    """
    if name and ".." not in name.split("/") and not os.path.isabs(name):
        linked_trees = os.path.join(git_dir, "worktrees")
        trees = sorted(os.listdir(linked_trees)) if os.path.isdir(linked_trees) else []
        for place in (git_dir, *(os.path.join(linked_trees, tree) for tree in trees)):
            if _is_repository(inside := os.path.join(place, "modules", name)):
                yield inside
    if os.path.exists(os.path.join(git_dir, _FORGE_FILE)):
        owner_dir, repository = os.path.split(git_dir)
        root, owner = os.path.split(owner_dir)
        wanted = _repository_in_url(url, f"{owner}/{repository}")
        if wanted and _is_repository(beside := os.path.join(root, wanted + ".git")):
            yield beside


def _is_repository(git_dir: str) -> bool:
    return os.path.isdir(os.path.join(git_dir, "objects"))


def _repository_in_url(url: str, base: str) -> str:
    """Return ``OWNER/REPO`` of a submodule's URL, which may be relative to ``base``; else ""."""
    if url.startswith(("./", "../")):
        url = os.path.normpath(os.path.join(base, url))
    parts = re.split("[/:]", url.rstrip("/").removesuffix(".git"))
    valid = len(parts) > 1 and parts[0] != ".." and all(map(_NAME_PART.fullmatch, parts[-2:]))
    return "/".join(parts[-2:]) if valid else ""
