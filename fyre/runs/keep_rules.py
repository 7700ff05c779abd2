"""The rules of a policy that say whose outputs are kept. Pure.

A rule keeps the outputs of the runs that meet all of its conditions. Outputs that no rule keeps may
be deleted; without rules all are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from fyre.message import value_parsers
from fyre.runs.yaml_document import YamlDocument


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Conditions that a run has to meet. Each is None, empty or False where there is none."""

    max_age: float | None = None  # seconds since its outputs were stored
    outcomes: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()  # globs
    default_branch: bool = False
    tags: bool = False
    last: int | None = None
    """The newest so many of each name in each repository, among those that meet the others."""

    best: tuple[str, str] | None = None
    """A metric and its goal: as ``last``, but those with the best value; one without a number."""


def read_rules(document: YamlDocument, key: str) -> tuple[KeepRule, ...]:
    """Return the rules under a key of a policy. Raises ``BadYamlError``."""
    rules = []
    for number, values in enumerate(document.values.get(key, ())):
        texts = document.texts[key][number]
        age = texts.get("age")
        best = next(iter(texts.get("best", {}).items()), None)
        rules.append(
            KeepRule(
                None
                if age is None
                else float(
                    document.parse_at((key, number, "age"), value_parsers.parse_duration, age)
                ),
                tuple(texts.get("outcomes", ())),
                tuple(texts.get("branches", ())),
                bool(values.get("defaultBranch")),
                bool(values.get("tags")),
                values.get("last"),
                best,
            )
        )
    return tuple(rules)
