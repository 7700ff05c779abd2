"""The embedded forge: everything that it holds, under one directory."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from fyre.errors import UserError
from fyre.git.cat_file import Objects
from fyre.local_forge import auth, gc
from fyre.local_forge.api.check_run_json import CHECKS
from fyre.local_forge.api.commit_comment_json import COMMENTS
from fyre.local_forge.api.pull_json import CONVERSATIONS
from fyre.local_forge.database import Store
from fyre.local_forge.storage.notes import Notes
from fyre.local_forge.storage.repository_store import Bare, Shelf
from fyre.local_forge.storage.stored_notes import (
    CHECK_NOTE,
    COMMENT_NOTE,
    CONVERSATION_NOTE,
    STATUS_NOTE,
)
from fyre.local_forge.webhooks.outbox import Outbox

STATUSES = "refs/notes/fyre/statuses"


class Forge:
    """A small GitHub on one machine. ``base_url`` is how others reach it, for the links in webhooks.

    Thread-safe. ``start`` begins to deliver webhooks; without it everything but that works.
    """

    def __init__(self, root: Path, *, base_url: str | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self.base_url = base_url.rstrip("/") if base_url else None
        self.service_token = auth.secret_file(root / "service-token")
        self.webhook_secret = auth.secret_file(root / "webhook-secret")
        self.store = Store(root / "forge.db")
        self.objects = Objects()
        self.shelf = Shelf(root / "repositories", self.store.next_id)
        self.shelf.root.mkdir(exist_ok=True)
        self.statuses = Notes(STATUSES, self.objects, STATUS_NOTE)
        self.comments = Notes(COMMENTS, self.objects, COMMENT_NOTE)
        self.checks = Notes(CHECKS, self.objects, CHECK_NOTE)
        self.conversations = Notes(CONVERSATIONS, self.objects, CONVERSATION_NOTE)
        self.outbox = Outbox(self.store, self.shelf, self.objects, self.webhook_secret.encode())
        self._turns = [threading.Lock() for _ in range(32)]
        self._lock_file: int | None = None

    def git_dir(self, repository_name: str) -> Path:
        """The bare repository of ``owner/repo``, born or not. Raises ``repositories.BadNameError``."""
        return self.shelf.git_dir(repository_name)

    def turn(self, bare: Bare) -> threading.Lock:
        """Whoever writes notes of a repository takes turns by this; more repositories than locks share some."""
        return self._turns[bare.id % len(self._turns)]

    def start(self, receiver_url: str) -> None:
        """Deliver webhooks to ``receiver_url``, those of before first. Raises ``UserError`` if another forge does."""
        self._lock()
        for bare in self.shelf:
            gc.unlock(bare.git_dir, ours=(STATUSES, COMMENTS, CONVERSATIONS, CHECKS))
        self.outbox.start(receiver_url, self.base_url or receiver_url.rpartition("/")[0])

    def stop(self) -> None:
        """Stop delivering and close every file; what is undelivered goes out after the next start."""
        self.outbox.stop()
        self.objects.close()
        self.store.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _lock(self) -> None:
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise UserError(
                f"another forge serves {self.root}", hint="stop it, or choose another --root"
            ) from error
        self._lock_file = descriptor
