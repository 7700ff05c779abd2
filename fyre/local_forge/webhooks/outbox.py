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
from fyre.git.cat_file import Objects
from fyre.local_forge import auth, gc
from fyre.local_forge.api.common_json import Urls
from fyre.local_forge.database import Store
from fyre.local_forge.storage import ref_updates
from fyre.local_forge.storage.repository_store import Bare, Shelf, point_head
from fyre.local_forge.webhooks import webhook_delivery
from fyre.local_forge.webhooks.webhook_sender import Sender
from fyre.runs.run import ZERO_SHA

log = logging.getLogger(__name__)

WORKERS = 3
SWEEP = 15.0
"""Seconds between looks at all repositories: for pushes that came by the file system, and not through the forge."""

BACKOFF = Backoff(0.1, 30.0)
"""How long to wait after a failed delivery."""


@dataclass
class Outbox:
    """Tells one receiver of everything that happens in the repositories. Thread-safe."""

    store: Store
    shelf: Shelf
    objects: Objects
    secret: bytes
    receiver_url: str = ""
    _due: dict[str, float] = field(default_factory=dict)  # repositories to look at, and when
    _busy: set[str] = field(default_factory=set)
    _pauses: dict[str, float] = field(
        default_factory=dict
    )  # the last one of each that fails, in seconds
    _deleters: dict[str, str] = field(default_factory=dict)
    _again: list[tuple[str, int]] = field(
        default_factory=list
    )  # deliveries that somebody wants once more
    _collecting: threading.Lock = field(default_factory=threading.Lock)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, receiver_url: str, base_url: str) -> None:
        """Begin with whatever is undelivered."""
        self.receiver_url = receiver_url
        webhook_delivery.settle_comments(self.store, self.shelf, self.objects)
        parts = urlsplit(base_url)
        urls = Urls(f"{parts.scheme}://{parts.netloc}")
        self._threads = [
            threading.Thread(target=self._sweep_for_ever, name="outbox-sweep", daemon=True)
        ]
        for number in range(WORKERS):
            arguments = (Sender(receiver_url), urls)
            self._threads.append(
                threading.Thread(
                    target=self._work, args=arguments, name=f"outbox-{number}", daemon=True
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

    def wake(self, name: str, actor: str = "") -> None:
        """Something may have happened in a repository, by ``actor``."""
        with self._changed:
            self._due[name] = 0.0
            if actor:
                self._deleters[name] = actor
            self._changed.notify()

    def redeliver(self, name: str, delivery: int) -> None:
        """Send a delivery once more, as it was."""
        with self._changed:
            self._again.append((name, delivery))
        self.wake(name)

    def collect(self, bare: Bare) -> None:
        """Read what happened in a repository until now, and give it its default branch with the first push."""
        with self._changed:
            deleter = self._deleters.get(bare.name, "")
        with self._collecting:  # whoever comes second finds HEAD settled too
            if ref_updates.collect(bare, self.store, deleter or auth.local_user().login):
                self._settle_head(bare)

    def _settle_head(self, bare: Bare) -> None:
        if self.objects.commit(bare.git_dir, "HEAD") is not None:
            return
        rows = self.store.ask(
            "select ref from positions where repo = ? and ref like 'refs/heads/%' and sha != ?",
            bare.id,
            ZERO_SHA,
        )
        born = [row["ref"].removeprefix("refs/heads/") for row in rows]
        chosen = next((name for name in ("main", "master", *born) if name in born), None)
        if chosen is not None:
            point_head(bare.git_dir, chosen)

    def _sweep_for_ever(self) -> None:
        while True:
            bares = list(self.shelf)
            with self._changed:
                for bare in bares:
                    self._due.setdefault(bare.name, 0.0)  # never sooner than its backoff says
                self._changed.notify_all()
            gc.sweep([bare.git_dir for bare in bares], self._stopped)
            if self._stopped.wait(SWEEP):
                return

    def _work(self, sender: Sender, urls: Urls) -> None:
        while (name := self._next()) is not None:
            try:
                told = self._serve(
                    name, webhook_delivery.Teller(self.store, sender, urls, self.secret)
                )
            except Exception:
                # A repository that is broken, a disk that is full: the others are served, and this one again later.
                if not self._stopped.is_set():
                    log.exception("webhooks of %s", name)
                told = False
            with self._changed:
                self._busy.discard(name)
                if told:
                    self._pauses.pop(name, None)
                else:
                    self._pauses[name] = pause = BACKOFF.after(self._pauses.get(name, 0.0))
                    self._due.setdefault(name, time.monotonic() + pause)
                self._changed.notify()
        sender.close()

    def _next(self) -> str | None:
        """Wait for a repository that is due and nobody's; None to stop."""
        with self._changed:
            while not self._stopped.is_set():
                now = time.monotonic()
                waiting = {name: at for name, at in self._due.items() if name not in self._busy}
                ready = min(waiting, key=waiting.__getitem__, default=None)
                if ready is not None and waiting[ready] <= now:
                    del self._due[ready]
                    self._busy.add(ready)
                    return ready
                self._changed.wait(waiting[ready] - now if ready is not None else None)
        return None

    def _serve(self, name: str, teller: webhook_delivery.Teller) -> bool:
        """Deliver all that there is; False when the receiver would not take one."""
        bare = self.shelf.find(name)
        if bare is None:
            return True
        self.collect(bare)
        for delivery in self._asked_again(name):
            teller.repeat(bare, delivery)
        while not self._stopped.is_set():
            event = teller.next_event(bare)
            if event is None:
                return True
            if not teller.tell(bare, event):
                return False
        return True

    def _asked_again(self, name: str) -> list[int]:
        with self._changed:
            mine = [delivery for of, delivery in self._again if of == name]
            self._again = [pair for pair in self._again if pair[0] != name]
        return mine
