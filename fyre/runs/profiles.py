"""Profiles: what an admin lets runs have. Pure.

A trailer chooses one of the profiles, and requests resources within the policy's caps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CheckoutOptions:
    """Options of the checkout: how the code gets to the command."""

    image: str = ""  # with git and sh; "" if the run's own image has them
    depth: int = 1  # commits; 0 for the whole history
    submodules: str = ""  # "", "1", "recursive"
    lfs: bool = False
    sparse: tuple[str, ...] = ()  # folders; empty for all of them


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of place to run in: what every engine understands, and a section for each engine."""

    name: str = "default"
    image: str = ""  # for a run that names none
    resources: tuple[tuple[str, str], ...] = ()  # if a run requests none of that name
    checkout: CheckoutOptions = CheckoutOptions()
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # every run of this profile has them as environment
    secrets_allowed: tuple[str, ...] = ()  # globs of the secrets that a run may request besides

    sections: Mapping[str, object] = field(default_factory=dict)
    """By the name of an engine: its section, as that engine's own parser returns it."""

    unread_sections: tuple[str, ...] = ()
    """Names of sections whose engines are not installed: a policy file can be that of several
    receivers."""
