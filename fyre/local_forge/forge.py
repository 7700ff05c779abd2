"""The local forge: everything it stores, in one directory."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

from fyre.errors import UserError
from fyre.git.cat_file import ObjectReader
from fyre.local_forge import auth, gc, machine_trouble
from fyre.local_forge.api.check_run_json import CHECK_RUNS_REF
from fyre.local_forge.api.commit_comment_json import COMMIT_COMMENTS_REF
from fyre.local_forge.api.pull_json import ISSUE_COMMENTS_REF
from fyre.local_forge.database import ForgeDatabase
from fyre.local_forge.storage.git_notes import GitNotes
from fyre.local_forge.storage.note_forms import (
    CHECK_NOTE,
    COMMENT_NOTE,
    CONVERSATION_NOTE,
    STATUS_NOTE,
)
from fyre.local_forge.storage.repository_store import BareRepository, RepositoryStore
from fyre.local_forge.webhooks.outbox import Outbox
from fyre.regular_files import open_regular

STATUSES_REF = "refs/notes/fyre/statuses"
UNFINISHED_OBJECTS = "lfs/tmp"
"""The folder of the Git LFS objects that are arriving, in each repository."""


class LocalForge:
    """A small GitHub on one machine. Thread-safe.

    ``base_url`` is the address that clients use, for the links in webhooks. ``start`` begins to
    deliver webhooks; everything else works without it.
    """

    def __init__(self, root: Path, *, base_url: str | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self.base_url = base_url.rstrip("/") if base_url else None
        self.service_token = auth.load_or_create_secret(root / "service-token")
        self.access_token = auth.load_or_create_secret(root / auth.ACCESS_TOKEN_FILE)
        self.webhook_secret = auth.load_or_create_secret(root / "webhook-secret")
        self.database = ForgeDatabase(root / "forge.db")
        self.objects = ObjectReader()
        self.repositories = RepositoryStore(root / "repositories", self.database.next_id)
        self.repositories.root.mkdir(exist_ok=True, mode=0o700)
        self.repositories.root.chmod(0o700)  # an earlier version let everybody read it
        self.statuses = GitNotes(STATUSES_REF, self.objects, STATUS_NOTE)
        self.commit_comments = GitNotes(COMMIT_COMMENTS_REF, self.objects, COMMENT_NOTE)
        self.check_runs = GitNotes(CHECK_RUNS_REF, self.objects, CHECK_NOTE)
        self.issue_comments = GitNotes(ISSUE_COMMENTS_REF, self.objects, CONVERSATION_NOTE)
        self.outbox = Outbox(
            self.database,
            self.repositories,
            self.objects,
            self.webhook_secret.encode(),
            machine_trouble.TroubleLog(root),
        )
        self._notes_locks = [threading.Lock() for _ in range(32)]
        self._lock_descriptor: int | None = None

    def repository_git_dir(self, repository_name: str) -> Path:
        """Return the path of the bare repository ``owner/repo``, which need not exist yet.

        Raises ``BadNameError``.
        """
        return self.repositories.git_dir_for_name(repository_name)

    def notes_lock(self, repo: BareRepository) -> threading.Lock:
        """Return the lock to hold while writing a repository's notes.

        There may be more repositories than locks, so some repositories share one.
        """
        return self._notes_locks[repo.id % len(self._notes_locks)]

    def start(self, receiver_url: str) -> None:
        """Start to deliver webhooks to ``receiver_url``, beginning with those not delivered before.

        Raises ``UserError`` if another forge serves this directory.
        """
        self._lock_root()
        for repo in self.repositories:
            shutil.rmtree(repo.git_dir / UNFINISHED_OBJECTS, ignore_errors=True)
            gc.remove_stale_locks(
                repo.git_dir,
                forge_refs=(STATUSES_REF, COMMIT_COMMENTS_REF, ISSUE_COMMENTS_REF, CHECK_RUNS_REF),
            )
        self.outbox.start(receiver_url, self.base_url or receiver_url.rpartition("/")[0])

    def stop(self) -> None:
        """Stop delivering and close every file.

        Undelivered events go out after the next start.
        """
        self.outbox.stop()
        self.objects.close()
        self.database.close()
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def _lock_root(self) -> None:
        path = self.root / "lock"
        try:
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise UserError(
                f"{path} can't be used as a lock: {error.strerror}",
                hint="move it away, or use another --root",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise UserError(
                f"another forge serves {self.root}", hint="stop it, or choose another --root"
            ) from error
        self._lock_descriptor = descriptor
