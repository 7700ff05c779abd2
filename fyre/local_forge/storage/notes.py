"""Records about commits, kept as git notes: one JSON line each, newest last, readable by ``git notes --ref=… show``.

Written in-process (a blob, two trees, a commit, one ref) because a push of 500 commits brings a thousand of them.
Nothing is cached: what is read is what the repository says, whoever wrote it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fyre.git.cat_file import ObjectReader
from fyre.local_forge.storage import loose_objects
from fyre.stored_form import StoredForm, UnreadableError, parse_json, warn_once

NoteRecord = dict[str, Any]

LOCK_TIMEOUT = 10.0
"""Seconds to wait for another process that holds the ref's lock; git itself holds it for milliseconds."""


class RefLockedError(OSError):
    """The notes ref stayed locked by somebody else."""


@dataclass(frozen=True)
class GitNotes:
    """The notes under one ref, in any repository. Safe between threads and with other git processes."""

    ref: str  # refs/notes/fyre/statuses
    objects: ObjectReader
    form: StoredForm

    def read_commit_notes(self, git_dir: Path, sha: str) -> list[NoteRecord]:
        """The records of a commit, oldest first; lines that are none of these are somebody else's and skipped."""
        return self._records(self._read_note(git_dir, self.ref, sha))

    def add_commit_note(
        self, git_dir: Path, sha: str, record: NoteRecord, check: Callable[[list[NoteRecord]], None]
    ) -> None:
        """Add a record; ``check`` sees those already there and may raise. Once this returns it is on disk."""
        with _RefLock(git_dir / self.ref) as lock:
            tip = self.objects.find_object(git_dir, self.ref)
            before = self._read_note(git_dir, tip.sha, sha) if tip is not None else b""
            check(self._records(before))
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            blob = loose_objects.write_object(git_dir, b"blob", before + line)
            tree = self._insert_note(git_dir, tip.sha if tip is not None else "", sha, blob)
            lock.move_ref(
                loose_objects.write_object(
                    git_dir, b"commit", _encode_commit(tree.hex(), tip.sha if tip else "")
                ).hex()
            )

    def iter_notes(self, git_dir: Path) -> Iterator[tuple[str, NoteRecord]]:
        """Every record with the SHA that it is about, in no order."""
        yield from self._walk_tree(git_dir, f"{self.ref}^{{tree}}", "")

    def _walk_tree(
        self, git_dir: Path, tree_name: str, prefix: str
    ) -> Iterator[tuple[str, NoteRecord]]:
        tree = self.objects.find_object(git_dir, tree_name)
        for part, (mode, digest) in loose_objects.parse_tree(
            tree.content if tree is not None else b""
        ).items():
            sha = prefix + part.decode(errors="replace")
            if mode == loose_objects.TREE_MODE:
                yield from self._walk_tree(git_dir, digest.hex(), sha)
            else:
                blob = self.objects.find_object(git_dir, digest.hex())
                yield from (
                    (sha, record)
                    for record in self._records(blob.content if blob is not None else b"")
                )

    def _records(self, content: bytes) -> list[NoteRecord]:
        found: list[NoteRecord] = []
        for line in content.split(b"\n"):
            if not line.startswith(b"{"):
                continue
            try:
                record: Any = parse_json(line)
                self.form.decode(record)
            except UnreadableError as error:
                warn_once(f"a line of {self.ref}", str(error))
            else:
                found.append(record)
        return found

    def _read_note(self, git_dir: Path, tip: str, sha: str) -> bytes:
        """A commit's note, at our own fan-out or where ``git notes`` would put it in a small or a huge tree."""
        for path in (f"{sha[:2]}/{sha[2:]}", sha, f"{sha[:2]}/{sha[2:4]}/{sha[4:]}"):
            found = self.objects.find_object(git_dir, f"{tip}:{path}")
            if found is not None and found.type == "blob":
                return (
                    found.content
                    if found.content.endswith(b"\n") or not found.content
                    else found.content + b"\n"
                )
        return b""

    def _insert_note(self, git_dir: Path, tip: str, sha: str, blob: bytes) -> bytes:
        """The root tree with this note in its place: ``ab/cdef…``, and no longer in a flat one."""
        root = self._read_tree(git_dir, f"{tip}^{{tree}}") if tip else {}
        fan, rest = sha[:2].encode(), sha[2:].encode()
        branch = self._read_tree(git_dir, root[fan][1].hex()) if fan in root else {}
        branch[rest] = (loose_objects.BLOB_MODE, blob)
        root.pop(sha.encode(), None)
        root[fan] = (
            loose_objects.TREE_MODE,
            loose_objects.write_object(git_dir, b"tree", loose_objects.encode_tree(branch)),
        )
        return loose_objects.write_object(git_dir, b"tree", loose_objects.encode_tree(root))

    def _read_tree(self, git_dir: Path, tree_name: str) -> dict[bytes, tuple[bytes, bytes]]:
        found = self.objects.find_object(git_dir, tree_name)
        if found is None:
            raise OSError(f"{git_dir} lacks the tree {tree_name}")
        return loose_objects.parse_tree(found.content)


class _RefLock:
    """A ref's lock file, as git takes it: whoever creates it may move the ref."""

    def __init__(self, ref: Path) -> None:
        self._ref_path = ref
        self._lock_path = ref.with_name(ref.name + ".lock")

    def __enter__(self) -> _RefLock:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                self._ref_path.parent.mkdir(
                    parents=True, exist_ok=True
                )  # git removes empty directories
                os.close(os.open(self._lock_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            except (FileExistsError, FileNotFoundError) as error:
                if time.monotonic() > deadline:
                    raise RefLockedError(f"{self._lock_path} is held by another process") from error
                time.sleep(0.002)
            else:
                return self

    def move_ref(self, sha: str) -> None:
        """Move the ref, and let go."""
        self._lock_path.write_text(sha + "\n")
        self._lock_path.rename(self._ref_path)

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is not None:
            self._lock_path.unlink(missing_ok=True)


def _encode_commit(tree: str, parent: str) -> bytes:
    who = f"fyre <fyre@localhost> {int(time.time())} +0000"
    parents = f"parent {parent}\n" if parent else ""
    return f"tree {tree}\n{parents}author {who}\ncommitter {who}\n\nNotes added by fyre\n".encode()
