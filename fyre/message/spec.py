"""The specification of one run: the command and everything that refines it, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fyre.stored_form import UnknownFields


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
    outputs: tuple[str, ...] = ()  # files that are kept, in the notation of ``output_notation``
    note: str = ""  # a person's words; they change neither what runs nor the digest
    # of .fyre.yaml: metrics that count, and which value is best: (("val_acc", "max"),)
    metric_goals: tuple[tuple[str, str], ...] = ()
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)

    @property
    def digest(self) -> str:
        """A short hash of what was requested.

        Runs of one message with equal digests are told apart by their ordinal. It is over the
        stored form: the fields of 0.1.0, set or not, and a later one only if it is set. So a new
        field changes the digest, and with it the key, of no run that does not ask for it. The note
        is not in it: a better note does not make another run.
        ``spec_form.SPEC_FORM`` holds it.
        """
        import hashlib  # imported here: the hooks read specs too, and never need these
        import json

        from fyre.message import spec_form

        stored = json.dumps(spec_form.to_json(replace(self, note="")), sort_keys=True)
        return hashlib.sha256(stored.encode()).hexdigest()[:16]
