"""What the admin allows. Pure; the defaults are those of ``fyre up``, where the person is the admin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from fyre.profiles import Profile
from fyre.spec import Spec

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

    profiles: Mapping[str, Profile] | None = None
    """What runs may choose from; None where the engine has no profiles, as the local one."""

    namespace: str = "default"
    """Where runs go on a cluster."""

    namespaces: Mapping[str, str] = field(default_factory=dict)
    """Other namespaces, by globs of repositories' names; the first that fits counts."""

    queue_limit: float = DAY
    """Seconds that a run may wait for its place before Fyre gives it up."""

    image_grace: float = 60.0
    """Seconds that what somebody would have to mend (an image that can't be had) is waited for."""


def profile_of(policy: Policy, spec: Spec) -> Profile:
    """The profile that a run asks for, else the one named default, else one that says nothing."""
    profiles = policy.profiles or {}
    return profiles.get(spec.profile or "default") or Profile(spec.profile or "default")


def namespace_of(policy: Policy, repository: str, profile: Profile) -> str:
    """Where a run of that repository (``owner/name``) goes."""
    fitting = (space for glob, space in policy.namespaces.items() if fnmatchcase(repository, glob))
    return profile.namespace or next(fitting, policy.namespace)


def namespaces(policy: Policy) -> tuple[str, ...]:
    """Every namespace that a run may be in, each once."""
    profiles = (profile.namespace for profile in (policy.profiles or {}).values() if profile.namespace)
    return tuple(dict.fromkeys((policy.namespace, *policy.namespaces.values(), *profiles)))
