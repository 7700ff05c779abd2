"""Find the origins of pushed commits, and remember for a while what GitHub says of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fyre.controller.ttl_cache import TTLCache
from fyre.github.client import GitHubClient
from fyre.github.commit_origin import PushedCommit, find_origin
from fyre.github.origin_questions import OriginQuestions, has_no_pulls
from fyre.runs.access import CommitOrigin
from fyre.runs.plan import CommitEvent
from fyre.runs.run import Repository

ANSWER_TTL = 60.0
"""Seconds for which GitHub's answer about a commit or a pull request is kept."""

UPSTREAM_TTL = 600.0
"""Seconds for which it is kept what a repository is a fork of: that hardly ever changes."""


class OriginFacts:
    """The origins that were found lately. Thread-safe."""

    def __init__(self) -> None:
        self._origins = TTLCache(ANSWER_TTL, 10_000)
        self._upstreams = TTLCache(UPSTREAM_TTL, 1_000)
        self._answers = TTLCache(ANSWER_TTL, 200)
        """Few, as each may hold the messages of 250 commits."""

    def find(
        self,
        forge: GitHubClient,
        event: CommitEvent,
        is_known_without_pulls: Callable[[Repository], bool],
    ) -> CommitOrigin:
        """Return the origin of a pushed commit. Raises what ``find_origin`` raises."""
        repository, sha, trigger = event.repository, event.commit.sha, event.trigger
        branch = trigger.ref.removeprefix("refs/heads/")

        def is_without_pulls() -> bool:
            """Ask once for all commits of a push; what brought them was there before it."""
            if is_known_without_pulls(repository):
                return True
            if sha == trigger.head_sha:  # often its only commit, which costs one request as it is
                return False
            key = (repository.id, trigger.head_sha)
            return self._origins.get(key, partial(has_no_pulls, forge, repository))

        ask = partial(
            find_origin,
            OriginQuestions(forge, repository, self._answers.get, self._upstreams.get),
            PushedCommit(sha, event.commit.message, trigger.actor, branch),
            is_without_pulls=is_without_pulls,
        )
        return self._origins.get((repository.id, sha, trigger.actor, branch), ask)
