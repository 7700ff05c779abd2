"""Say on a commit that the engine does not take a run of it for now, and why.

A run that the engine does not have has no record, so its status is one without a record. It begins
with ``waiting``, and the plan knows it by its end: the run is still to be launched.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from fyre.controller.ttl_cache import TTLCache
from fyre.errors import RefusedForNowError
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs import commit_status
from fyre.runs.run import Repository, Run
from fyre.runs.status_text import SEPARATOR

REPOST_INTERVAL = 600.0
"""Seconds between two statuses of one run at least: GitHub takes a thousand for a context in all.

A launch is tried again each minute, and two reasons may take turns."""

EQUAL_REFUSALS_MAX = 10
"""Refusals of one reason in a pass before like runs are not asked for any more in it.

A thousand runs under a quota of ten would be a thousand requests a minute."""

CommitKey = tuple[int, str]
"""The id of a repository, and a SHA: another repository may have the same commit."""

_NUMBERS = re.compile(r"\d+")


class EqualRefusals:
    """The refusals of a pass over one commit or many: after ten equal ones nothing more is asked.

    A push of a thousand commits with a run each is one pass.
    """

    def __init__(self) -> None:
        self._counts = Counter[tuple[object, str]]()
        self._hopeless: dict[object, RefusedForNowError] = {}  # by what a run needs

    def find(self, needs: object) -> RefusedForNowError | None:
        """Return the refusal that any run with these needs would get now; None if one may pass."""
        return self._hopeless.get(needs)

    def add(self, needs: object, refusal: RefusedForNowError) -> None:
        """Count a refusal; another number in its text makes it no other one."""
        reason = (needs, _NUMBERS.sub("", str(refusal)))
        self._counts[reason] += 1
        if self._counts[reason] >= EQUAL_REFUSALS_MAX:
            self._hopeless[needs] = refusal


class LaunchPass:
    """One try of a commit's launches: one that is refused for now keeps no other from its try.

    ``launch`` hands a run to the engine. ``equal`` is shared by the commits of one pass.
    """

    def __init__(self, launch: Callable[[Run], None], equal: EqualRefusals | None = None) -> None:
        self._launch, self._equal = launch, equal or EqualRefusals()
        self.refusals: dict[str, RefusedForNowError] = {}  # by context

    def launch(self, run: Run) -> RefusedForNowError | None:
        """Launch a run; return why it is refused for now, if it is.

        After ten equal refusals of runs that need the same it is taken as refused, unasked.
        """
        needs = (run.spec.profile, run.spec.resources)
        refusal = self._equal.find(needs) or self._ask(run)
        if refusal is None:
            return None
        self.refusals[run.context] = refusal
        self._equal.add(needs, refusal)
        return refusal

    def _ask(self, run: Run) -> RefusedForNowError | None:
        try:
            self._launch(run)
        except RefusedForNowError as error:
            return error
        return None

    def end(self) -> None:
        """Raise the first refusal, if there was one."""
        for refusal in self.refusals.values():
            raise refusal


class LaunchDelays:
    """The runs that the engine refused for now, and what was said about them. Thread-safe."""

    def __init__(self, reporter: StatusReporter) -> None:
        self._reporter = reporter
        self._reposted = TTLCache(REPOST_INTERVAL, 10_000)
        self._reasons: dict[CommitKey, dict[str, tuple[Repository, str]]] = {}  # then by context
        self._lock = threading.Lock()

    def tell(self, repository: Repository, sha: str, context: str, reason: str, told: str) -> None:
        """Queue the status of a refused run, unless what was ``told`` is as good.

        Another number in it is nothing new. One that is being posted at this moment may be posted
        twice.
        """
        with self._lock:
            reasons = self._reasons.setdefault((repository.id, sha), {})
            reasons[context] = (repository, reason)
        status = commit_status.delayed_status(context, reason)

        def post() -> bool:
            self._reporter.queue_status(repository, sha, status)
            return True

        if not told:
            post()
        elif not _says_the_same(told, status.description):
            self._reposted.get((repository.id, sha, context), post)

    def forget(self, repository: Repository, sha: str, context: str) -> None:
        """Forget a run that is not refused any more, or not wanted."""
        with self._lock:
            waiting = set(self._reasons.get((repository.id, sha), ()))
        self.forget_others(repository, sha, waiting - {context})

    def forget_others(self, repository: Repository, sha: str, refused: Collection[str]) -> None:
        """Forget of a commit what is not among these contexts: nobody tries to launch it."""
        key = (repository.id, sha)
        with self._lock:
            reasons = self._reasons.pop(key, {})
            kept = {context: told for context, told in reasons.items() if context in refused}
            if kept:
                self._reasons[key] = kept

    def give_up(self, commits: Iterable[CommitKey]) -> None:
        """Say of the refused runs of these commits that they are not tried any more."""
        for key in commits:
            with self._lock:
                reasons = self._reasons.pop(key, {})
            for context, (repository, reason) in reasons.items():
                status = commit_status.given_up_status(context, reason)
                self._reporter.queue_status(repository, key[1], status)


def _says_the_same(told: str, description: str) -> bool:
    """Return True if two statuses differ in numbers alone, and so in where their text is cut."""
    shorter, longer = sorted(map(_without_numbers, (told, description)), key=len)
    return longer.startswith(shorter)


def _without_numbers(description: str) -> str:
    text = description.rpartition(SEPARATOR)[0]
    return _NUMBERS.sub("", text.removesuffix("…"))
