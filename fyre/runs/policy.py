"""The admin's policy: which runs are allowed, and what they may have. Pure.

The defaults are those of ``fyre up``, where the person is the admin. ``fyre.runs.policy_file``
reads a policy from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from fyre.message import image_reference, value_parsers
from fyre.message.spec import RunSpec
from fyre.runs.keep_rules import KeepRule
from fyre.runs.profiles import Profile

DAY = 86400.0

LAB_PREFIX = "refs/heads/fyre/"
"""Prefix of the refs of the lab branches that ``fyre run`` makes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of what a push may start."""

    history: float = 7 * DAY
    """Seconds that engines remember a run. A commit made longer ago is not launched by a push: it
    may have run before and be forgotten, and importing a repository must launch nothing."""

    max_clock_skew: float = 600.0
    """Seconds that the clock that made a Fyre-Id may be ahead of ours."""

    repositories: tuple[str, ...] = ("*",)
    """Globs of the repositories (``owner/name``) that Fyre serves; it says nothing in all others,
    among them forks."""

    refs: tuple[str, ...] = ("*",)
    """Globs of the branches that may launch; a ``*`` also matches ``/``."""

    permission: str = "none"
    """The role in the repository that the actor of a push needs, one of ``access.ROLES``. With
    ``none`` the forge is not asked, and everybody whom it lets push may launch. A comment needs
    ``write`` in any case."""

    approved_forks: bool = False
    """If true, a commit of a fork's pull request runs once somebody who may write has approved that
    very SHA in a comment; nothing else of a fork ever runs."""

    merged_forks: bool = False
    """If true, a commit that came by a fork's pull request, or from upstream, launches by the push
    of whoever merged it. Otherwise it is refused until somebody who may write asks for it."""

    teams: tuple[str, ...] = ()
    """Teams (``org/slug``): the actor must be in one of them; if there are none, in no team."""

    verified_signatures: bool = False
    """If true, the forge must have verified the commit's signature."""

    runs_per_push: int = 1000
    """A push that requests more runs is refused as a whole."""

    runs_at_once: int | None = None
    """Runs of one repository that may be active, waiting ones included; None for no limit."""

    runs_per_day: int | None = None
    """Runs of one repository that may be launched in 24 hours; None for no limit."""

    log_tail: int = 0
    """Lines of a run's log that a check run shows to everybody who sees the repository; 0 for none.
    """

    run_output_bytes: int | None = None
    """Bytes of the outputs of one run; of a run with more nothing is kept. None for no limit."""

    run_output_files: int | None = None
    repository_output_bytes: int | None = None
    """Bytes of the outputs that all runs of a repository keep together; None for no limit."""

    repository_output_files: int | None = None

    keep_outputs: tuple[KeepRule, ...] = ()
    """Whose outputs ``fyre prune`` keeps; without any rule it keeps all."""

    overrides: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Other values of fields of this record, by globs of repositories; the first match counts (see
    ``for_repository``)."""

    lab_prefix: str = LAB_PREFIX
    """Prefix of the refs of lab branches: only commits with a Fyre-From launch there."""

    timeout_max: int | None = None
    """Seconds that each start of a command may take at most; None for no limit."""

    timeout_default: int | None = None
    """Seconds for a run that names no timeout; None for ``timeout_max``."""

    retries_max: int | None = None
    """Further starts that a run may request at most; None for no limit set by the admin."""

    profiles: Mapping[str, Profile] | None = None
    """Profiles that runs may choose from. None if the engine has no profiles, as the local one:
    profile, image, resources and secrets are not checked there, since a run gets none of them."""

    images_used: bool = True
    """False if the engine gives a run no image: then none is needed, and none is checked."""

    images: tuple[str, ...] = ("*",)
    """Globs of the images that a run may name itself; those that a profile names are the admin's
    choice."""

    caps: tuple[tuple[str, str], ...] = ()
    """The largest quantity of each resource that a run may request: (("cpu", "64"), ("memory",
    "512Gi"))."""

    other_resources: bool = True
    """If true, a run may request resources without a cap, in any quantity."""

    namespace: str = "default"
    """Namespace of runs on a cluster."""

    namespaces: Mapping[str, str] = field(default_factory=dict)
    """Other namespaces, by globs of repositories' names; the first match counts."""

    queue_limit: float = DAY
    """Seconds that a run may wait for its place before Fyre gives it up."""

    image_grace: float = 60.0
    """Seconds to wait for a problem that somebody has to fix, such as an image that can't be
    pulled."""


def serves_repository(policy: Policy, repository: str) -> bool:
    """Return True if Fyre serves a repository (``owner/name``)."""
    return any(_matches_repository(glob, repository) for glob in policy.repositories)


def for_repository(policy: Policy, repository: str) -> Policy:
    """Return the policy as it is for one repository (``owner/name``)."""
    return replace(
        policy,
        **next(
            (other for glob, other in policy.overrides if _matches_repository(glob, repository)), {}
        ),
    )


def _matches_repository(glob: str, repository: str) -> bool:
    """Return True if a glob matches a repository's name.

    No wildcard except a lone ``*`` matches across the slash, else ``acme*`` would match
    acme-evil/x. Case does not count, as on GitHub.
    """
    owner, _, name = repository.lower().partition("/")
    owner_glob, slash, name_glob = glob.lower().partition("/")
    return glob == "*" or (
        bool(slash) and fnmatchcase(owner, owner_glob) and fnmatchcase(name, name_glob)
    )


def without_profiles(policy: Policy) -> Policy:
    """Return the same policy for an engine without profiles: no run is checked against one."""
    return replace(policy, profiles=None)


def without_images(policy: Policy) -> Policy:
    """Return the same policy for an engine with profiles whose runs get no image."""
    return replace(policy, images_used=False)


def select_profile(policy: Policy, spec: RunSpec) -> Profile:
    """Return the profile that a run requests, else the one named default, else an empty one."""
    profiles = policy.profiles or {}
    return profiles.get(spec.profile or "default") or Profile(spec.profile or "default")


def repository_namespace(policy: Policy, repository: str) -> str:
    """Return the namespace of the runs of a repository (``owner/name``) that no profile places."""
    matching = (
        namespace
        for glob, namespace in policy.namespaces.items()
        if _matches_repository(glob, repository)
    )
    return next(matching, policy.namespace)


def apply_policy_defaults(policy: Policy, spec: RunSpec) -> RunSpec:
    """Return the spec with the policy's timeout if it has none.

    Otherwise a run could escape the limit by naming no timeout.
    """
    return replace(spec, timeout=spec.timeout or policy.timeout_default or policy.timeout_max)


def find_violation(policy: Policy, spec: RunSpec) -> str:
    """Return why this may not run, in words for whoever requested it; "" if it may run.

    The defaults must be applied to ``spec`` already.
    """
    return next(_all_violations(policy, spec), "")


def _all_violations(policy: Policy, spec: RunSpec) -> Iterator[str]:
    """Yield every reason why this may not run."""
    if policy.timeout_max is not None and (spec.timeout or 0) > policy.timeout_max:
        requested = value_parsers.format_exact_duration(spec.timeout or 0)
        longest = value_parsers.format_exact_duration(policy.timeout_max)
        yield f"asks for a timeout of {requested}, at most {longest}"
    if policy.retries_max is not None and (spec.retries or 0) > policy.retries_max:
        yield f"asks for {spec.retries} retries, at most {policy.retries_max}"
    if policy.profiles is None:
        return
    if spec.profile is not None and spec.profile not in policy.profiles:
        yield f'there is no profile "{spec.profile}"{_profile_hint(spec.profile, policy.profiles)}'
        return
    profile = select_profile(policy, spec)
    if policy.images_used:
        yield from _image_violations(policy, profile, spec.image)
    yield from _secret_violations(profile, spec.secrets)
    yield from _resource_violations(policy, spec.resources)


def _profile_hint(name: str, profiles: Mapping[str, Profile]) -> str:
    """Return the end of a message about an unknown profile: the closest name, or all names."""
    from difflib import get_close_matches  # imported only if there is an error

    close = get_close_matches(name, profiles, n=1)
    if close:
        return f": did you mean {close[0]}?"
    verb = "is" if len(profiles) == 1 else "are"
    return f": there {verb} {', '.join(profiles)}" if profiles else ""


def _image_violations(policy: Policy, profile: Profile, image: str | None) -> Iterator[str]:
    """Yield what is wrong with the image of a run."""
    if not image and not profile.image:
        yield f'no image: neither the run nor profile "{profile.name}" names one'
    elif (
        image
        and image != profile.image
        and not any(_image_matches(image, glob) for glob in policy.images)
    ):
        allowed = ", ".join(policy.images) or "no others"
        yield f"image {image} is outside what the policy allows: {allowed}"


def _image_matches(image: str, glob: str) -> bool:
    """Return True if a glob allows an image.

    No wildcard matches across the end of the registry's host, unless nothing stands before it: else
    ``python*`` would allow python.example.net/x, and ``*.example.org/*`` would allow
    example.net/a.example.org/x. Nor does a glob without a slash match somebody's account at Docker
    Hub, such as python3/x, which anybody may have made.
    """
    host, _, path = image.partition("/")
    if path and "/" not in glob:
        return glob.startswith("*") and fnmatchcase(image, glob)
    if not path or not image_reference.is_registry_host(host):
        return fnmatchcase(image, glob)
    host_glob, _, path_glob = glob.partition("/")
    return fnmatchcase(host, host_glob) and fnmatchcase(path, path_glob)


def _secret_violations(profile: Profile, requested: tuple[str, ...]) -> Iterator[str]:
    """Yield each requested secret that is not allowed."""
    allowed = (*profile.secrets, *profile.secrets_allowed)
    for secret in requested:
        if not any(fnmatchcase(secret, glob) for glob in allowed):
            yield f"secret {secret} is not allowed in profile {profile.name}"


def _resource_violations(policy: Policy, requested: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Yield each requested resource that is not allowed, or exceeds its cap."""
    caps = dict(policy.caps)
    for name, quantity in requested:
        if name in caps and _exceeds_cap(quantity, caps[name]):
            yield f"asks for {name}={quantity[:40]}, at most {caps[name]}"
        elif name not in caps and not policy.other_resources:
            yield f"asks for {name}, and the policy knows only {', '.join(caps) or 'no resources'}"


def _exceeds_cap(quantity: str, cap: str) -> bool:
    """Return True if the quantity is more than the cap, or can't be compared with it."""
    try:
        return value_parsers.parse_quantity(quantity) > value_parsers.parse_quantity(cap)
    except value_parsers.BadValueError:
        return True
