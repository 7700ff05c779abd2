"""What the admin allows. Pure; the defaults are those of ``fyre up``, where the person is the admin."""

from __future__ import annotations

from dataclasses import dataclass

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of what a push may start."""

    history: float = 7 * DAY
    """Seconds that engines remember a run. A commit made longer ago is not launched by a push: it may have run before
    and be forgotten, and importing a repository must launch nothing."""

    ahead: float = 600.0
    """Seconds that the clock that minted a Fyre-Id may be ahead of ours."""

    runs_per_push: int = 1000
    """A push that asks for more is refused whole."""

    lab: str = "refs/heads/fyre/"
    """Refs of lab notebooks: only commits with a Fyre-From launch there."""
