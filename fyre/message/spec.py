"""The specification of one run: the command and everything that refines it, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnknownFields,
    as_integer,
    as_pairs,
    as_printable_text,
    as_text,
    as_texts,
    or_null,
)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One requested run.

    ``None`` and ``()`` mean "not given": a default of ``.fyre.yaml`` or of the profile applies.
    """

    command: str  # verbatim, for ``sh -c``
    name: str = ""  # as requested; ``RunRequest.run_names`` fills in the missing ones
    profile: str | None = None
    image: str | None = None
    resources: tuple[tuple[str, str], ...] = ()  # (("cpu", "4"), ("memory", "16Gi"))
    timeout: int | None = None  # seconds, for each start of the command
    retries: int | None = None  # further starts after one that failed
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # names of secrets of the cluster
    workdir: str | None = None  # relative to the checkout
    setup: tuple[str, ...] = ()  # commands of .fyre.yaml that run first, in the same checkout
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)

    @property
    def digest(self) -> str:
        """A short hash of what was requested.

        Runs of one message with equal digests are told apart by their ordinal. It is over the
        stored form: the fields of 0.1.0, set or not, and a later one only if it is set. So a new
        field changes the digest, and with it the key, of no run that does not ask for it.
        ``SPEC_FORM`` holds it.
        """
        import hashlib  # imported here: the hooks read specs too, and never need these two
        import json

        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()[:16]


SPEC_FORM = StoredForm(
    "a run's spec",
    (
        StoredField("command", "command", as_text, required=True),
        StoredField("name", "name", as_text),
        StoredField("profile", "profile", or_null(as_text)),
        StoredField("image", "image", or_null(as_printable_text)),
        StoredField("resources", "resources", as_pairs),
        StoredField("timeout", "timeout", or_null(as_integer)),
        StoredField("retries", "retries", or_null(as_integer)),
        StoredField("env", "env", as_pairs),
        StoredField("secrets", "secrets", as_texts),
        StoredField("workdir", "workdir", or_null(as_text)),
        StoredField("setup", "setup", as_texts),
        # Later fields go here, with ``since``: the eleven above are in every digest, and none may
        # be added to them.
    ),
)
"""The stored names of a spec. Digests are hashes of this form: no name, order or default above may
change."""


def to_json(spec: RunSpec) -> dict[str, Any]:
    """Return the spec as plain data, for a durable record and for the digest."""
    return SPEC_FORM.encode(spec, spec.unknown)


def from_json(data: object) -> RunSpec:
    """Return the spec that ``to_json`` wrote down. Raises ``UnreadableError``."""
    return RunSpec(**SPEC_FORM.decode(data), unknown=SPEC_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object
