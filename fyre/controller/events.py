"""The controller's events: a reason to look at a commit, at a comment, or at everything.

A new kind of event is added in two places: to ``ControllerEvent``, and to the ``match`` of
``Controller._process_by_kind``, where mypy asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fyre.github.client import RefUpdates
from fyre.github.webhook import CommentEvent, PullRequestEvent, PushEvent, RerequestEvent
from fyre.runs.run import Repository


@dataclass(frozen=True, slots=True)
class SweepEvent:
    """Ask the forge for the pushes and comments of late, and plan all of them again."""


@dataclass(frozen=True, slots=True)
class SweptPushesEvent:
    """A sweep has listed the updates of a repository's refs: the new ones are planned."""

    repository: Repository
    listed: RefUpdates


@dataclass(frozen=True, slots=True)
class RunEndEvent:
    """A run has ended: its commit is planned again.

    ``repository`` has the name that it had when the run was launched.
    """

    repository: Repository
    sha: str
    key: str


ForgeEvent = PushEvent | CommentEvent | RerequestEvent | PullRequestEvent
"""The events that the forge reports, by a webhook or to a sweep."""

ControllerEvent = ForgeEvent | SweepEvent | SweptPushesEvent | RunEndEvent
