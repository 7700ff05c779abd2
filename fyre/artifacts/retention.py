"""The runs whose outputs are kept: the rules of a policy, applied to manifests. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from fyre.artifacts.manifest import RunManifest
from fyre.runs.keep_rules import KeepRule

_BRANCH, _TAG = "refs/heads/", "refs/tags/"


def select_kept(
    manifests: Iterable[RunManifest], rules: Sequence[KeepRule], now: float
) -> frozenset[str]:
    """Return the keys of the runs whose outputs a rule keeps; of all runs if there is no rule.

    What an older version did not write into a manifest is not known: then the condition is met.
    """
    listed = list(manifests)
    if not rules:
        return frozenset(one.run_key for one in listed)
    kept: set[str] = set()
    for rule in rules:
        fitting = [one for one in listed if _meets_conditions(one, rule, now)]
        kept |= {one.run_key for one in _select_few(fitting, rule)}
    return frozenset(kept)


def _meets_conditions(manifest: RunManifest, rule: KeepRule, now: float) -> bool:
    if rule.max_age is not None and now - manifest.sealed_at > rule.max_age:
        return False
    if rule.outcomes and manifest.state and manifest.state not in rule.outcomes:
        return False
    ref = manifest.ref
    if not ref:
        return True
    branch = ref.removeprefix(_BRANCH) if ref.startswith(_BRANCH) else ""
    return (
        (not rule.tags or ref.startswith(_TAG))
        and (not rule.default_branch or branch == manifest.repository.default_branch)
        and (not rule.branches or any(fnmatchcase(branch, glob) for glob in rule.branches))
    )


def _select_few(fitting: list[RunManifest], rule: KeepRule) -> list[RunManifest]:
    """Return the newest or best runs of each name in each repository; all without such a rule."""
    if rule.last is None and rule.best is None:
        return fitting
    groups: dict[tuple[str, int, str], list[RunManifest]] = {}
    for one in fitting:
        key = (one.repository.forge, one.repository.id, one.run_name)
        groups.setdefault(key, []).append(one)
    selected = []
    for group in groups.values():
        group.sort(key=lambda one: one.sealed_at, reverse=True)
        if rule.best is not None:
            group = _best_first(group, *rule.best)  # noqa: PLW2901 - the same runs, in order
        selected += group[: rule.last or 1]
    return selected


def _best_first(group: list[RunManifest], metric: str, goal: str) -> list[RunManifest]:
    """Return the runs that have a metric, the best first."""
    measured = [one for one in group if metric in dict(one.results.metrics)]
    value: Callable[[RunManifest], float] = lambda one: one.results.best_values(  # noqa: E731
        {metric: goal}
    )[metric]
    return sorted(measured, key=value, reverse=goal == "max")
