"""What the admin allows. Pure; the defaults are those of ``fyre up``, where the person is the admin.

``fyre.runs.policy_file`` reads one from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from fyre.message import image_reference, notation
from fyre.message.spec import RunSpec
from fyre.runs.profiles import Profile

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of what a push may start."""

    history: float = 7 * DAY
    """Seconds that engines remember a run. A commit made longer ago is not launched by a push: it may have run before
    and be forgotten, and importing a repository must launch nothing."""

    max_clock_skew: float = 600.0
    """Seconds that the clock that minted a Fyre-Id may be ahead of ours."""

    repositories: tuple[str, ...] = ("*",)
    """Globs of the repositories (``owner/name``) that Fyre serves; it is silent in all others, forks among them."""

    refs: tuple[str, ...] = ("*",)
    """Globs of the branches that may launch; a ``*`` reaches across ``/``."""

    permission: str = "none"
    """The role in the repository that the actor of a push needs, one of ``access.ROLES``; with ``none`` the forge is
    not asked, and whoever it lets push may launch. A comment needs ``write`` in any case."""

    approved_forks: bool = False
    """Whether a commit of a fork's pull request runs once somebody who may write has approved that very SHA in a
    comment; nothing else of a fork ever does."""

    teams: tuple[str, ...] = ()
    """Teams (``org/slug``) of which the actor has to be in one; nobody has to where there are none."""

    verified_signatures: bool = False
    """Whether the forge has to have verified the commit's signature."""

    runs_per_push: int = 1000
    """A push that asks for more is refused whole."""

    runs_at_once: int | None = None
    """Runs of one repository that may be on, waiting ones among them; None for no bound."""

    runs_per_day: int | None = None
    """Runs of one repository that may be launched in 24 hours; None for no bound."""

    log_tail: int = 0
    """Lines of a run's log that a check run shows, to whoever sees the repository; 0 for none."""

    overrides: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Other values of fields of this record, by globs of repositories; the first that fits counts (see ``of``)."""

    lab_prefix: str = "refs/heads/fyre/"
    """Refs of lab notebooks: only commits with a Fyre-From launch there."""

    timeout_max: int | None = None
    """Seconds that each start of a command may take at most; None for no bound."""

    timeout_default: int | None = None
    """Seconds for who names no timeout; None for the longest there is."""

    retries_max: int | None = None
    """Further starts that a run may ask for at most; None for no bound of the admin's."""

    profiles: Mapping[str, Profile] | None = None
    """What runs may choose from. None where the engine has no profiles, as the local one: profile, image, resources and
    secrets are not checked there, since a run gets none of them."""

    images: tuple[str, ...] = ("*",)
    """Globs of the images that a run may name itself; those that a profile names are the admin's own choice."""

    caps: tuple[tuple[str, str], ...] = ()
    """The largest quantity of each resource that a run may ask for: (("cpu", "64"), ("memory", "512Gi"))."""

    other_resources: bool = True
    """Whether a run may ask for resources without a cap, as much as it likes."""

    namespace: str = "default"
    """Where runs go on a cluster."""

    namespaces: Mapping[str, str] = field(default_factory=dict)
    """Other namespaces, by globs of repositories' names; the first that fits counts."""

    queue_limit: float = DAY
    """Seconds that a run may wait for its place before Fyre gives it up."""

    image_grace: float = 60.0
    """Seconds that what somebody would have to mend (an image that can't be had) is waited for."""


def serves_repository(policy: Policy, repository: str) -> bool:
    """Whether Fyre has anything to do with a repository (``owner/name``)."""
    return any(_matches_repository(glob, repository) for glob in policy.repositories)


def for_repository(policy: Policy, repository: str) -> Policy:
    """The policy as it is for one repository (``owner/name``)."""
    return replace(
        policy,
        **next(
            (other for glob, other in policy.overrides if _matches_repository(glob, repository)), {}
        ),
    )


def _matches_repository(glob: str, repository: str) -> bool:
    """Whether a glob names a repository; no wildcard but a lone ``*`` reaches across the slash, else ``acme*`` would
    name acme-evil/x. Case does not count, as on GitHub."""
    owner, _, name = repository.lower().partition("/")
    of_owner, slash, of_name = glob.lower().partition("/")
    return glob == "*" or (
        bool(slash) and fnmatchcase(owner, of_owner) and fnmatchcase(name, of_name)
    )


def without_profiles(policy: Policy) -> Policy:
    """The same for an engine that has none: what a profile would say is not asked of a run."""
    return replace(policy, profiles=None)


def select_profile(policy: Policy, spec: RunSpec) -> Profile:
    """The profile that a run asks for, else the one named default, else one that says nothing."""
    profiles = policy.profiles or {}
    return profiles.get(spec.profile or "default") or Profile(spec.profile or "default")


def select_namespace(policy: Policy, repository: str, profile: Profile) -> str:
    """Where a run of that repository (``owner/name``) goes."""
    fitting = (
        space for glob, space in policy.namespaces.items() if _matches_repository(glob, repository)
    )
    return profile.namespace or next(fitting, policy.namespace)


def all_namespaces(policy: Policy) -> tuple[str, ...]:
    """Every namespace that a run may be in, each once."""
    profiles = (
        profile.namespace for profile in (policy.profiles or {}).values() if profile.namespace
    )
    return tuple(dict.fromkeys((policy.namespace, *policy.namespaces.values(), *profiles)))


def apply_policy_defaults(policy: Policy, spec: RunSpec) -> RunSpec:
    """The spec with the policy's timeout where nobody named one: what is bounded must not be escaped by silence."""
    return replace(spec, timeout=spec.timeout or policy.timeout_default or policy.timeout_max)


def find_violation(policy: Policy, spec: RunSpec) -> str:
    """Why this may not run, in words for who asked for it; empty when it may. Defaults are settled in ``spec``."""
    return next(_all_violations(policy, spec), "")


def _all_violations(policy: Policy, spec: RunSpec) -> Iterator[str]:
    if policy.timeout_max is not None and (spec.timeout or 0) > policy.timeout_max:
        yield f"asks for a timeout of {notation.format_exact_duration(spec.timeout or 0)}, at most {notation.format_exact_duration(policy.timeout_max)}"
    if policy.retries_max is not None and (spec.retries or 0) > policy.retries_max:
        yield f"asks for {spec.retries} retries, at most {policy.retries_max}"
    if policy.profiles is None:
        return
    if spec.profile is not None and spec.profile not in policy.profiles:
        yield f'there is no profile "{spec.profile}"{_profile_hint(spec.profile, policy.profiles)}'
        return
    profile = select_profile(policy, spec)
    yield from _image_violations(policy, profile, spec.image)
    yield from _secret_violations(profile, spec.secrets)
    yield from _resource_violations(policy, spec.resources)


def _profile_hint(name: str, profiles: Mapping[str, Profile]) -> str:
    from difflib import get_close_matches  # only an error pays for it

    close = get_close_matches(name, profiles, n=1)
    if close:
        return f": did you mean {close[0]}?"
    return f": there are {', '.join(profiles)}" if profiles else ""


def _image_violations(policy: Policy, profile: Profile, image: str | None) -> Iterator[str]:
    if not image and not profile.image:
        yield f'no image: neither the run nor profile "{profile.name}" names one'
    elif (
        image
        and image != profile.image
        and not any(_image_matches(image, glob) for glob in policy.images)
    ):
        yield f"image {image} is outside what the policy allows: {', '.join(policy.images) or 'no others'}"


def _image_matches(image: str, glob: str) -> bool:
    """Whether a glob allows an image. No wildcard reaches across the end of the registry's host, unless nothing stands
    before it: else ``python*`` would allow python.example.net/x, and ``*.example.org/*`` example.net/a.example.org/x.
    Nor does one without a slash reach somebody's account at Docker Hub, such as python3/x, which anybody may have made.
    """
    host, _, path = image.partition("/")
    if path and "/" not in glob:
        return glob.startswith("*") and fnmatchcase(image, glob)
    if not path or not image_reference.is_registry_host(host):
        return fnmatchcase(image, glob)
    of_host, _, of_path = glob.partition("/")
    return fnmatchcase(host, of_host) and fnmatchcase(path, of_path)


def _secret_violations(profile: Profile, requested: tuple[str, ...]) -> Iterator[str]:
    allowed = (*profile.secrets, *profile.secrets_allowed)
    for secret in requested:
        if not any(fnmatchcase(secret, glob) for glob in allowed):
            yield f"secret {secret} is not allowed in profile {profile.name}"


def _resource_violations(policy: Policy, requested: tuple[tuple[str, str], ...]) -> Iterator[str]:
    caps = dict(policy.caps)
    for name, quantity in requested:
        if name in caps and _exceeds_cap(quantity, caps[name]):
            yield f"asks for {name}={quantity[:40]}, at most {caps[name]}"
        elif name not in caps and not policy.other_resources:
            yield f"asks for {name}, and the policy knows only {', '.join(caps) or 'no resources'}"


def _exceeds_cap(quantity: str, cap: str) -> bool:
    """Whether it is more than the cap; what can't be compared is."""
    try:
        return notation.parse_quantity(quantity) > notation.parse_quantity(cap)
    except notation.BadValueError:
        return True
