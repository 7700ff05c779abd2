"""How far a repository is swept: what of the forge's answers is dealt with, and need not be planned again."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

from fyre.forge import Activities, Activity

LATE = 60.0
"""Seconds that an update may come to the forge's list after a newer one."""


@dataclass(frozen=True, slots=True)
class Swept:
    """Everything before ``since`` (seconds since the epoch) is dealt with, and of what came after, ``done``."""

    since: float = 0.0
    done: frozenset[Activity] = frozenset()
    tag: str = ""  # of an answer of which nothing is left to do: only that one need not be heard again

    def after(self, seen: Activities, failed: Collection[Activity]) -> Swept:
        """How far it is swept after an answer, of which ``failed`` is to be planned again. Pure.

        What was done lately is remembered: more may come of that time, and of the newest second in any case.
        """
        if not seen.entries:
            return Swept(self.since, self.done, seen.tag)
        since = max(self.since, max(one.at for one in seen.entries) - LATE)
        since = min(since, *(one.at for one in failed)) if failed else since
        done = frozenset(one for one in seen.entries if one.at >= since) - frozenset(failed)
        return Swept(since, done, "" if failed else seen.tag)


DEALT_MAX = 10_000
"""Pushes that are remembered: more than come between two sweeps."""


@dataclass
class Dealt:
    """Pushes that were dealt with to the end, the newest so many: about those a sweep need not ask the forge again."""

    _known: dict[Hashable, None] = field(default_factory=dict)  # the oldest first

    def add(self, ident: Hashable) -> None:
        """One more."""
        self._known.pop(ident, None)
        self._known[ident] = None
        while len(self._known) > DEALT_MAX:
            del self._known[next(iter(self._known))]

    def __contains__(self, ident: Hashable) -> bool:
        return ident in self._known
