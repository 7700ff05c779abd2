"""The stored form of a run's spec: in records, and under its digest. Pure.

It is apart from the spec itself, since the git hooks read specs and store none.
"""

from __future__ import annotations

from typing import Any

from fyre.message.spec import RunSpec
from fyre.stored_form import (
    StoredField,
    StoredForm,
    as_integer,
    as_pairs,
    as_printable_text,
    as_text,
    as_texts,
    or_null,
)

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
        StoredField("outputs", "outputs", as_texts, since=2, unset=()),
        StoredField("note", "note", as_text, since=2, unset=""),
        StoredField("metric_goals", "metric_goals", as_pairs, since=2, unset=()),
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
