"""The receiver's loop: take what was heard, ask the plan, do what it says. One thread, one commit at a time.

A commit that can't be dealt with is quarantined: it gets an ``error`` status or is tried again later, and never
stops the commits after it.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from fyre import plan, status
from fyre import policy as policies
from fyre.errors import TryAgainError, UserError
from fyre.forge import Activity, NotFoundError
from fyre.plan import Heard
from fyre.receiver import orders
from fyre.receiver.hands import Hands
from fyre.receiver.swept import Swept
from fyre.receiver.webhook import Nothing, Push, Said
from fyre.run import Repository

log = logging.getLogger(__name__)

BACKFILL = 24 * 3600.0
"""Seconds that the sweep at the start looks back."""

FIRST_MAX = 10_000
"""Commits that are looked at where there is nothing to compare a push with; GitHub's compare API lists as many."""

RETRY = (0.5, 60.0)
"""Seconds until something that may pass is tried again: the first time, and at most."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Ask the forge what was pushed lately, and plan it all again."""


@dataclass(frozen=True, slots=True)
class Again:
    """Part of a push, to be tried once more: these SHAs of it only."""

    push: Push
    shas: tuple[str, ...]
    pause: float


Event = Push | Said | Sweep | Again


@dataclass
class Receiver:
    """The loop and what waits for it."""

    hands: Hands
    sweep_every: float = 300.0  # seconds
    backfill: float = BACKFILL
    swept_at: float = 0.0  # seconds since the epoch: the end of the last sweep; 0 before the first
    _events: queue.Queue[Event | None] = field(default_factory=queue.Queue)
    _later: list[tuple[float, int, Event]] = field(default_factory=list)
    _numbers: Iterable[int] = field(default_factory=count)
    _swept: dict[int, Swept] = field(default_factory=dict)  # by the repository's id
    _thread: threading.Thread | None = None
    _stopping: bool = False

    def start(self) -> None:
        """Sweep once, then listen; the sweep heals whatever was lost while nobody listened."""
        self.hands.ledger.start()
        self.hear(Sweep())
        self._thread = threading.Thread(target=self._listen, name="receiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the commit that is in hand, and stop; what waits is found again by the next sweep."""
        self._stopping = True
        self._events.put(None)
        if self._thread is not None:
            self._thread.join()
        self.hands.ledger.stop()

    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread is not None and self._thread.is_alive()

    def waiting(self) -> int:
        """How many events wait for their turn, those that are tried again included."""
        return self._events.qsize() + len(self._later)

    def deal_with(self, event: Event | Nothing) -> None:
        """Deal with one event, and with what has to be tried again, to the end: for who has no loop."""
        if not isinstance(event, Nothing):
            self._deal_with(event)
        while self._later:
            due, _, again = heapq.heappop(self._later)
            time.sleep(max(0.0, due - time.monotonic()))
            self._deal_with(again)

    def hear(self, event: Event | Nothing) -> None:
        """Take an event; returns at once."""
        if not isinstance(event, Nothing):
            self._events.put(event)

    def _listen(self) -> None:
        sweep_at = time.monotonic() + self.sweep_every
        while True:
            due = min([sweep_at, *(entry[0] for entry in self._later[:1])])
            try:
                event = self._events.get(timeout=max(0.0, due - time.monotonic()))
                if event is None:
                    return
                self._deal_with(event)
            except queue.Empty:
                while self._later and self._later[0][0] <= time.monotonic():
                    self._deal_with(heapq.heappop(self._later)[2])
                if time.monotonic() >= sweep_at:
                    self._deal_with(Sweep())
                    sweep_at = time.monotonic() + self.sweep_every

    def _deal_with(self, event: Event) -> bool:
        """One event; whatever is wrong with it must not end the loop. False where a part of it is still to be done."""
        try:
            match event:
                case Push() | Said() if not policies.serves(self.hands.policy, event.repository.name):
                    log.info("%s is not served", event.repository.name)  # and is told nothing: nobody asked Fyre there
                case Push():
                    return self._push(event, self._shas(event))
                case Again(push, shas, pause):
                    return self._push(push, shas, pause)
                case Said():
                    orders.obey(self.hands, event)
                case Sweep():
                    self._sweep()
        except TryAgainError as error:
            log.warning("tried again later: %s", error)
            self._put_off(event, RETRY[1] / 10)
            return False
        except UserError as error:
            log.warning("given up: %s", error)
        except Exception:
            # Quarantine: the next event is none the wiser.
            log.exception("the receiver met a bug")
            return False
        return True

    def _put_off(self, event: Event, pause: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + pause, next(iter(self._numbers)), event))

    def _shas(self, push: Push) -> tuple[str, ...]:
        """Every commit that a push brought to its branch, oldest first, whether or not another branch had it.

        A payload lists them all, unless it was cut; a new branch is compared with the default one.
        """
        if push.shas and not push.cut and not push.created:
            return push.shas
        base = push.repository.default_branch if push.created else push.before
        try:
            if push.ref == f"refs/heads/{base}":  # the first push of all: there is nothing to compare it with
                listed = self.hands.source.history(push.repository, push.after, FIRST_MAX)
            else:
                listed = self.hands.forge.between(push.repository, base, push.after)
        except NotFoundError:  # no default branch yet, or a base that is gone
            listed = self.hands.source.history(push.repository, push.after, FIRST_MAX)
        return tuple(dict.fromkeys((*push.shas, *listed)))

    def _push(self, push: Push, shas: Iterable[str], pause: float = RETRY[0]) -> bool:
        """These commits of a push; False where some are put off."""
        heard, failed = [], []
        for sha in shas:
            if self._stopping:  # before anything is launched: half a push could slip under the cap
                return False
            try:
                one = self.hands.hears(push.repository, sha, push.ref, push.actor, push.after)
                if one is not None:
                    heard.append(one)
            except TryAgainError as error:
                log.warning("%s is read again later: %s", sha, error)
                failed.append(sha)
            except NotFoundError as error:
                self._unreadable(push, sha, error)
            except Exception:
                # Quarantine: a commit that nobody can read must not take its push along.
                log.exception("commit %s met a bug", sha)
                poisoned = status.malformed("fyre/run", "it can't be read; the log of Fyre says more")
                self.hands.ledger.want(push.repository, sha, poisoned)
        failed += [one.commit.sha for one in self._capped(heard) if not self._stopping and not self._commit(one)]
        if failed:
            self._put_off(Again(push, tuple(failed), min(pause * 2, RETRY[1])), pause)
        return not failed and not self._stopping

    def _capped(self, heard: list[Heard]) -> list[Heard]:
        """A push over its cap is refused whole: nobody wants a random half of it."""
        now, hands = self.hands.clock(), self.hands
        young = [one for one in heard if now - one.commit.committed_at <= hands.policy.history]
        new = [one for one in young if not hands.index.at(one.repository.id, one.commit.sha)]
        new = [one for one in new if not plan.only_passing_by(one, hands.policy)]
        total = sum(len(one.asked.runs) for one in new)
        over = hands.over(new[0].repository, total) if total else ""
        return [replace(one, over=over) for one in heard] if over else heard

    def _commit(self, heard: Heard) -> bool:
        """Plan one commit and do it; False when it has to be tried again."""
        repository, sha = heard.repository, heard.commit.sha
        try:
            for action in self.hands.decide(heard):
                self.hands.do(repository, action)
        except TryAgainError as error:
            log.warning("%s is tried again later: %s", sha, error)
            return False
        except Exception:
            # Quarantine per commit: say so on the SHA and go on with the others.
            log.exception("commit %s met a bug", sha)
            for name in heard.asked.names:
                self.hands.ledger.want(
                    repository, sha, status.malformed(f"fyre/{name}", "a bug in Fyre; its log says more")
                )
        return True

    def _unreadable(self, push: Push, sha: str, error: UserError) -> None:
        """A SHA that can't be had: say so where it was pushed, if that is still possible."""
        log.warning("%s", error)
        if sha == push.after:
            self.hands.ledger.want(push.repository, sha, status.malformed("fyre/run", error.message))

    def _sweep(self) -> None:
        """Plan again what the forge says was pushed since the last sweep; at the start, ``BACKFILL`` back."""
        found = self.hands.forge.repositories()
        for repository in (one for one in found if policies.serves(self.hands.policy, one.name)):
            if self._stopping:
                return
            try:
                self._sweep_one(repository)
            except (UserError, TryAgainError) as error:  # the others are swept all the same
                log.warning("%s is swept later: %s", repository.name, error)
        self.swept_at = self.hands.clock()

    def _sweep_one(self, repository: Repository) -> None:
        """Plan what was pushed there and is not dealt with; what fails is asked for again by the next sweep."""
        before = self._swept.get(repository.id, Swept())
        since = max(before.since, self.hands.clock() - self.backfill)
        seen = self.hands.forge.activity(repository, since, before.tag)
        new = [one for one in seen.entries if one not in before.done]
        failed = [one for one in new if not self._planned(repository, one)]
        self._swept[repository.id] = before.after(seen, failed)

    def _planned(self, repository: Repository, seen: Activity) -> bool:
        """Plan one entry; False where a part of it is still to be done."""
        push = _as_push(repository, seen.ref, seen.before, seen.after, seen.actor)
        return push is None or (not self._stopping and self._deal_with(push))


def _as_push(repository: Repository, ref: str, before: str, after: str, actor: str) -> Push | None:
    """The push behind an entry of the activity API, if it can launch anything."""
    from fyre.git import ZERO

    if not ref.startswith("refs/heads/") or ref.startswith("refs/heads/gh-readonly-queue/") or after == ZERO:
        return None
    return Push(repository, ref, before, after, actor, ())
