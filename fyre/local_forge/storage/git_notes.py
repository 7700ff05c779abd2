"""Records about commits, stored as git notes: one JSON line each, newest last.

``git notes --ref=… show`` shows them. They are written in-process (a blob, two trees, a commit, one
ref), because a push of 500 commits brings a thousand of them. Nothing is cached: each read returns
what the repository holds, whoever wrote it.
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
"""Seconds to wait for another process that holds the ref's lock.

Git itself holds it for milliseconds.
"""


class RefLockedError(OSError):
    """The notes ref stayed locked by another process."""


@dataclass(frozen=True)
class GitNotes:
    """The notes under one ref, in any repository.

    Safe between threads and with other git processes.
    """

    ref: str  # refs/notes/fyre/statuses
    objects: ObjectReader
    form: StoredForm

    def read_commit_notes(self, git_dir: Path, sha: str) -> list[NoteRecord]:
        """Return the records of a commit, oldest first.

        Lines that don't have this form were written by somebody else and are skipped.
        """
        return self._parse_records(self._read_note(git_dir, self.ref, sha))

    def add_commit_note(
        self, git_dir: Path, sha: str, record: NoteRecord, check: Callable[[list[NoteRecord]], None]
    ) -> None:
        """Add a record. Once this returns, it is on disk.

        ``check`` is called with the existing records and may raise.
        """
        with _RefLock(git_dir / self.ref) as lock:
            tip = self.objects.find_object(git_dir, self.ref)
            tip_sha = tip.sha if tip is not None else ""
            note = self._read_note(git_dir, tip_sha, sha) if tip_sha else b""
            check(self._parse_records(note))
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            blob = loose_objects.write_object(git_dir, b"blob", note + line)
            tree = self._insert_note(git_dir, tip_sha, sha, blob)
            content = _encode_commit(tree.hex(), tip_sha)
            lock.move_ref(loose_objects.write_object(git_dir, b"commit", content).hex())

    def iter_notes(self, git_dir: Path) -> Iterator[tuple[str, NoteRecord]]:
        """Yield every record with the SHA of its commit, in no order."""
        yield from self._walk_tree(git_dir, f"{self.ref}^{{tree}}", "")

    def _walk_tree(
        self, git_dir: Path, tree_name: str, prefix: str
    ) -> Iterator[tuple[str, NoteRecord]]:
        tree = self.objects.find_object(git_dir, tree_name)
        entries = loose_objects.parse_tree(tree.content if tree is not None else b"")
        for name, (mode, digest) in entries.items():
            sha = prefix + name.decode(errors="replace")
            if mode == loose_objects.TREE_MODE:
                yield from self._walk_tree(git_dir, digest.hex(), sha)
            else:
                blob = self.objects.find_object(git_dir, digest.hex())
                note = blob.content if blob is not None else b""
                yield from ((sha, record) for record in self._parse_records(note))

    def _parse_records(self, content: bytes) -> list[NoteRecord]:
        records: list[NoteRecord] = []
        for line in content.split(b"\n"):
            if not line.startswith(b"{"):
                continue
            try:
                record: Any = parse_json(line)
                self.form.decode(record)
            except UnreadableError as error:
                warn_once(f"a line of {self.ref}", str(error))
            else:
                records.append(record)
        return records

    def _read_note(self, git_dir: Path, tip: str, sha: str) -> bytes:
        """Return a commit's note.

        Looks at our own fan-out, and at the paths that ``git notes`` uses in a small or a huge
        tree.
        """
        for path in (f"{sha[:2]}/{sha[2:]}", sha, f"{sha[:2]}/{sha[2:4]}/{sha[4:]}"):
            blob = self.objects.find_object(git_dir, f"{tip}:{path}")
            if blob is not None and blob.type == "blob":
                complete = blob.content.endswith(b"\n") or not blob.content
                return blob.content if complete else blob.content + b"\n"
        return b""

    def _insert_note(self, git_dir: Path, tip: str, sha: str, blob: bytes) -> bytes:
        """Write the root tree with this note at ``ab/cdef…`` and return its SHA.

        A note at the flat path is removed.
        """
        root = self._read_tree(git_dir, f"{tip}^{{tree}}") if tip else {}
        directory, name = sha[:2].encode(), sha[2:].encode()
        subtree = self._read_tree(git_dir, root[directory][1].hex()) if directory in root else {}
        subtree[name] = (loose_objects.BLOB_MODE, blob)
        root.pop(sha.encode(), None)
        content = loose_objects.encode_tree(subtree)
        digest = loose_objects.write_object(git_dir, b"tree", content)
        root[directory] = (loose_objects.TREE_MODE, digest)
        return loose_objects.write_object(git_dir, b"tree", loose_objects.encode_tree(root))

    def _read_tree(self, git_dir: Path, tree_name: str) -> dict[bytes, tuple[bytes, bytes]]:
        tree = self.objects.find_object(git_dir, tree_name)
        if tree is None:
            raise OSError(f"{git_dir} lacks the tree {tree_name}")
        return loose_objects.parse_tree(tree.content)


class _RefLock:
    """A ref's lock file, as git takes it: the process that creates it may move the ref."""

    def __init__(self, ref: Path) -> None:
        self._ref_path = ref
        self._lock_path = ref.with_name(ref.name + ".lock")

    def __enter__(self) -> _RefLock:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                # Git removes empty directories.
                self._ref_path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self._lock_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except (FileExistsError, FileNotFoundError) as error:
                if time.monotonic() > deadline:
                    raise RefLockedError(f"{self._lock_path} is held by another process") from error
                time.sleep(0.002)
            else:
                return self

    def move_ref(self, sha: str) -> None:
        """Move the ref, and release the lock."""
        self._lock_path.write_text(sha + "\n")
        self._lock_path.rename(self._ref_path)

    def __exit__(self, error_type: object, *_: object) -> None:
        if error_type is not None:
            self._lock_path.unlink(missing_ok=True)


def _encode_commit(tree: str, parent: str) -> bytes:
    person = f"fyre <fyre@localhost> {int(time.time())} +0000"
    parents = f"parent {parent}\n" if parent else ""
    people = f"author {person}\ncommitter {person}\n"
    return f"tree {tree}\n{parents}{people}\nNotes added by fyre\n".encode()
