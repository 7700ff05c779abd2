"""Webhooks: every event reaches the receiver, in each repository in its order, however often the server dies.

An event is told again until the receiver has taken it. A repository that waits holds up no other one.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fyre.backoff import Backoff
from fyre.git.cat_file import ObjectReader
from fyre.local_forge import auth, gc
from fyre.local_forge.api.common_json import ForgeUrls
from fyre.local_forge.database import ForgeDatabase
from fyre.local_forge.storage import ref_updates
from fyre.local_forge.storage.repository_store import (
    BareRepository,
    RepositoryStore,
    set_default_branch,
)
from fyre.local_forge.webhooks import webhook_delivery
from fyre.local_forge.webhooks.webhook_sender import WebhookSender
from fyre.runs.run import ZERO_SHA

log = logging.getLogger(__name__)

WORKER_COUNT = 3
SWEEP_INTERVAL = 15.0
"""Seconds between looks at all repositories: for pushes that came by the file system, and not through the forge."""

BACKOFF = Backoff(0.1, 30.0)
"""How long to wait after a failed delivery."""


@dataclass
class Outbox:
    """Tells one receiver of everything that happens in the repositories. Thread-safe."""

    database: ForgeDatabase
    repositories: RepositoryStore
    objects: ObjectReader
    webhook_secret: bytes
    receiver_url: str = ""
    _due_at: dict[str, float] = field(default_factory=dict)  # repositories to look at, and when
    _busy_repos: set[str] = field(default_factory=set)
    _pauses: dict[str, float] = field(
        default_factory=dict
    )  # the last one of each that fails, in seconds
    _last_pushers: dict[str, str] = field(default_factory=dict)
    _redeliveries: list[tuple[str, int]] = field(
        default_factory=list
    )  # deliveries that somebody wants once more
    _collect_lock: threading.Lock = field(default_factory=threading.Lock)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, receiver_url: str, base_url: str) -> None:
        """Begin with whatever is undelivered."""
        self.receiver_url = receiver_url
        webhook_delivery.recover_comment_events(self.database, self.repositories, self.objects)
        parts = urlsplit(base_url)
        urls = ForgeUrls(f"{parts.scheme}://{parts.netloc}")
        self._threads = [
            threading.Thread(target=self._sweep_loop, name="outbox-sweep", daemon=True)
        ]
        for number in range(WORKER_COUNT):
            arguments = (WebhookSender(receiver_url), urls)
            self._threads.append(
                threading.Thread(
                    target=self._delivery_loop, args=arguments, name=f"outbox-{number}", daemon=True
                )
            )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop; a delivery under way is given a moment, and is made again if it does not make it."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=2)

    def schedule_repo(self, name: str, actor: str = "") -> None:
        """Something may have happened in a repository, by ``actor``."""
        with self._changed:
            self._due_at[name] = 0.0
            if actor:
                self._last_pushers[name] = actor
            self._changed.notify()

    def queue_redelivery(self, name: str, delivery_id: int) -> None:
        """Send a delivery once more, as it was."""
        with self._changed:
            self._redeliveries.append((name, delivery_id))
        self.schedule_repo(name)

    def collect_pushes(self, repo: BareRepository) -> None:
        """Read what happened in a repository until now, and give it its default branch with the first push."""
        with self._changed:
            deleter = self._last_pushers.get(repo.name, "")
        with self._collect_lock:  # whoever comes second finds HEAD settled too
            if ref_updates.collect_ref_updates(
                repo, self.database, deleter or auth.local_user().login
            ):
                self._choose_default_branch(repo)

    def _choose_default_branch(self, repo: BareRepository) -> None:
        if self.objects.find_commit_sha(repo.git_dir, "HEAD") is not None:
            return
        rows = self.database.fetch_rows(
            "select ref from positions where repo = ? and ref like 'refs/heads/%' and sha != ?",
            repo.id,
            ZERO_SHA,
        )
        born = [row["ref"].removeprefix("refs/heads/") for row in rows]
        chosen = next((name for name in ("main", "master", *born) if name in born), None)
        if chosen is not None:
            set_default_branch(repo.git_dir, chosen)

    def _sweep_loop(self) -> None:
        while True:
            bares = list(self.repositories)
            with self._changed:
                for bare in bares:
                    self._due_at.setdefault(bare.name, 0.0)  # never sooner than its backoff says
                self._changed.notify_all()
            gc.gc_idle_repositories([bare.git_dir for bare in bares], self._stopped)
            if self._stopped.wait(SWEEP_INTERVAL):
                return

    def _delivery_loop(self, sender: WebhookSender, urls: ForgeUrls) -> None:
        while (name := self._next_repo()) is not None:
            try:
                told = self._deliver_pending(
                    name,
                    webhook_delivery.WebhookDeliverer(
                        self.database, sender, urls, self.webhook_secret
                    ),
                )
            except Exception:
                # A repository that is broken, a disk that is full: the others are served, and this one again later.
                if not self._stopped.is_set():
                    log.exception("webhooks of %s", name)
                told = False
            with self._changed:
                self._busy_repos.discard(name)
                if told:
                    self._pauses.pop(name, None)
                else:
                    self._pauses[name] = pause = BACKOFF.after(self._pauses.get(name, 0.0))
                    self._due_at.setdefault(name, time.monotonic() + pause)
                self._changed.notify()
        sender.close()

    def _next_repo(self) -> str | None:
        """Wait for a repository that is due and nobody's; None to stop."""
        with self._changed:
            while not self._stopped.is_set():
                now = time.monotonic()
                waiting = {
                    name: at for name, at in self._due_at.items() if name not in self._busy_repos
                }
                ready = min(waiting, key=waiting.__getitem__, default=None)
                if ready is not None and waiting[ready] <= now:
                    del self._due_at[ready]
                    self._busy_repos.add(ready)
                    return ready
                self._changed.wait(waiting[ready] - now if ready is not None else None)
        return None

    def _deliver_pending(self, name: str, deliverer: webhook_delivery.WebhookDeliverer) -> bool:
        """Deliver all that there is; False when the receiver would not take one."""
        bare = self.repositories.find_repo(name)
        if bare is None:
            return True
        self.collect_pushes(bare)
        for delivery in self._pop_redeliveries(name):
            deliverer.resend_delivery(bare, delivery)
        while not self._stopped.is_set():
            event = deliverer.next_event(bare)
            if event is None:
                return True
            if not deliverer.deliver_event(bare, event):
                return False
        return True

    def _pop_redeliveries(self, name: str) -> list[int]:
        with self._changed:
            mine = [delivery for of, delivery in self._redeliveries if of == name]
            self._redeliveries = [pair for pair in self._redeliveries if pair[0] != name]
        return mine
