"""What one run is to be: the command and everything that refines it, as an immutable record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spec:
    """One asked-for run. ``None`` and ``()`` mean "not said": a default of ``.fyre.yaml`` or of the profile applies."""

    command: str  # verbatim, for ``sh -c``
    name: str = ""  # as asked; ``run.names`` settles what is left empty
    profile: str | None = None
    image: str | None = None
    resources: tuple[tuple[str, str], ...] = ()  # (("cpu", "4"), ("memory", "16Gi"))
    timeout: int | None = None  # seconds, for each start of the command
    retries: int | None = None  # further starts after one that failed
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # names of secrets of the cluster
    workdir: str | None = None  # relative to the checkout
    setup: tuple[str, ...] = ()  # commands of .fyre.yaml that run first, in the same checkout

    @property
    def digest(self) -> str:
        """A short hash of what was asked: runs of one message with equal digests are told apart by their ordinal."""
        import hashlib  # the hooks read specs too, and never need these two
        import json

        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def from_json(data: dict[str, Any]) -> Spec:
    """The record that ``dataclasses.asdict`` and JSON made a dict of."""
    pairs = {key: tuple((k, v) for k, v in data[key]) for key in ("resources", "env")}
    return Spec(**{**data, **pairs, "secrets": tuple(data["secrets"]), "setup": tuple(data["setup"])})
