"""Webhook outbox: every event reaches the receiver, in order for each repository, across crashes.

An event is sent again until the receiver accepts it. A repository that waits delays no other.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fyre.backoff import Backoff
from fyre.errors import LOCAL_TROUBLE
from fyre.git.cat_file import ObjectReader
from fyre.local_forge import auth, gc, machine_trouble
from fyre.local_forge.api.common_json import ForgeUrls
from fyre.local_forge.database import ForgeDatabase
from fyre.local_forge.machine_trouble import TroubleLog
from fyre.local_forge.storage import ref_updates
from fyre.local_forge.storage.repository_store import (
    BareRepository,
    RepositoryStore,
    set_default_branch,
)
from fyre.local_forge.webhooks import webhook_delivery
from fyre.local_forge.webhooks.webhook_sender import WebhookSender
from fyre.runs.policy import LAB_PREFIX
from fyre.runs.run import ZERO_SHA

log = logging.getLogger(__name__)

WORKER_COUNT = 3
SWEEP_INTERVAL = 15.0
"""Seconds between looks at all repositories.

They find pushes that came by the file system and not through the forge.
"""

BACKOFF = Backoff(0.1, 30.0)
"""Time to wait after a failed delivery."""


@dataclass
class Outbox:
    """Delivers everything that happens in the repositories to one receiver. Thread-safe."""

    database: ForgeDatabase
    repositories: RepositoryStore
    objects: ObjectReader
    webhook_secret: bytes
    trouble: TroubleLog
    receiver_url: str = ""
    _due_at: dict[str, float] = field(default_factory=dict)  # when to look at a repository
    _busy_repos: set[str] = field(default_factory=set)
    # The last pause of each repository whose deliveries fail, in seconds.
    _pauses: dict[str, float] = field(default_factory=dict)
    _last_pushers: dict[str, str] = field(default_factory=dict)
    _redeliveries: list[tuple[str, int]] = field(default_factory=list)  # requested by somebody
    _collect_lock: threading.Lock = field(default_factory=threading.Lock)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, receiver_url: str, base_url: str) -> None:
        """Start the threads; undelivered events go out first."""
        self.receiver_url = receiver_url
        webhook_delivery.recover_comment_events(self.database, self.repositories, self.objects)
        parts = urlsplit(base_url)
        urls = ForgeUrls(f"{parts.scheme}://{parts.netloc}")
        sweep = threading.Thread(target=self._sweep_loop, name="outbox-sweep", daemon=True)
        self._threads = [sweep]
        for number in range(WORKER_COUNT):
            arguments = (WebhookSender(receiver_url), urls)
            worker = threading.Thread(
                target=self._delivery_loop, args=arguments, name=f"outbox-{number}", daemon=True
            )
            self._threads.append(worker)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads.

        A delivery in progress gets 2 s to finish; if it does not, it is sent again after the next
        start.
        """
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=2)

    def schedule_repo(self, name: str, actor: str = "") -> None:
        """Have the workers look at a repository where ``actor`` may have changed something."""
        with self._changed:
            self._due_at[name] = 0.0
            if actor:
                self._last_pushers[name] = actor
            self._changed.notify()

    def queue_redelivery(self, name: str, delivery_id: int) -> None:
        """Queue a delivery to be sent again as it was."""
        with self._changed:
            self._redeliveries.append((name, delivery_id))
        self.schedule_repo(name)

    def collect_pushes(self, repo: BareRepository) -> None:
        """Read what was pushed to a repository until now.

        The first push of a branch that is no lab branch sets its default branch.
        """
        with self._changed:
            deleter = self._last_pushers.get(repo.name) or auth.local_user().login
        with self._collect_lock:  # the second caller finds HEAD set, too
            if ref_updates.collect_ref_updates(repo, self.database, deleter):
                self._choose_default_branch(repo)

    def _choose_default_branch(self, repo: BareRepository) -> None:
        is_born = self.objects.find_commit_sha(repo.git_dir, "HEAD") is not None
        if is_born and not f"refs/heads/{repo.default_branch}".startswith(LAB_PREFIX):
            return
        rows = self.database.fetch_rows(
            "select ref from positions where repo = ? and ref like 'refs/heads/%' and sha != ?",
            repo.id,
            ZERO_SHA,
        )
        refs = [row["ref"] for row in rows if not row["ref"].startswith(LAB_PREFIX)]
        branches = [ref.removeprefix("refs/heads/") for ref in refs]
        default = next((name for name in ("main", "master", *branches) if name in branches), None)
        if default is not None:
            set_default_branch(repo.git_dir, default)

    def _sweep_loop(self) -> None:
        while True:
            try:
                self._sweep()
            except LOCAL_TROUBLE as error:
                if not self.trouble.report(error):
                    log.error("a look at all repositories: %s", error)  # noqa: TRY400
            if self._stopped.wait(SWEEP_INTERVAL):
                return

    def _sweep(self) -> None:
        repos = list(self.repositories)
        with self._changed:
            for repo in repos:
                self._due_at.setdefault(repo.name, 0.0)  # does not shorten its backoff
            self._changed.notify_all()
        gc.gc_idle_repositories([repo.git_dir for repo in repos], self._stopped)

    def _delivery_loop(self, sender: WebhookSender, urls: ForgeUrls) -> None:
        while (name := self._next_repo()) is not None:
            deliverer = webhook_delivery.WebhookDeliverer(
                self.database, sender, urls, self.webhook_secret
            )
            try:
                delivered = self._deliver_pending(name, deliverer)
            except Exception as error:
                # A broken repository, a full disk: serve the others, and retry this one later.
                if not self._stopped.is_set():
                    self._log_failure(name, error)
                delivered = False
            else:
                self.trouble.report_success(name)
            with self._changed:
                self._busy_repos.discard(name)
                if delivered:
                    self._pauses.pop(name, None)
                else:
                    self._pauses[name] = pause = BACKOFF.after(self._pauses.get(name, 0.0))
                    self._due_at.setdefault(name, time.monotonic() + pause)
                self._changed.notify()
        sender.close()

    def _log_failure(self, name: str, error: Exception) -> None:
        if not self.trouble.report(error, name):
            traceback = None if isinstance(error, OSError) else error  # which names the file
            log.error("webhooks of %s: %s", name, error, exc_info=traceback)

    def _next_repo(self) -> str | None:
        """Wait for a repository that is due and that no worker holds; return None to stop."""
        with self._changed:
            while not self._stopped.is_set():
                now = time.monotonic()
                idle = {
                    name: at for name, at in self._due_at.items() if name not in self._busy_repos
                }
                first = min(idle, key=idle.__getitem__, default=None)
                if first is not None and idle[first] <= now:
                    del self._due_at[first]
                    self._busy_repos.add(first)
                    return first
                self._changed.wait(idle[first] - now if first is not None else None)
        return None

    def _deliver_pending(self, name: str, deliverer: webhook_delivery.WebhookDeliverer) -> bool:
        """Deliver all pending events; return False if the receiver refused one."""
        repo = self.repositories.find_repo(name)
        if repo is None:
            return True
        machine_trouble.reject_full_disk(self.trouble.root)
        self.collect_pushes(repo)
        for delivery_id in self._pop_redeliveries(name):
            deliverer.resend_delivery(repo, delivery_id)
        while not self._stopped.is_set():
            event = deliverer.next_event(repo)
            if event is None:
                return True
            if not deliverer.deliver_event(repo, event):
                return False
        return True

    def _pop_redeliveries(self, name: str) -> list[int]:
        with self._changed:
            delivery_ids = [number for repo, number in self._redeliveries if repo == name]
            self._redeliveries = [pair for pair in self._redeliveries if pair[0] != name]
        return delivery_ids
