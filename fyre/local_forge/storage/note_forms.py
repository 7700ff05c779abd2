"""Forms of what the local forge stores in git: notes about commits, and pull requests.

Notes are lines of JSON and only grow in number: a line that a later version wrote stays, and a line
that is no note of the forge is skipped. The API shows a default for absent fields.
"""

from __future__ import annotations

from typing import Any

from fyre.local_forge.api.pull_json import StoredPullRequest
from fyre.stored_form import (
    Decoder,
    StoredField,
    StoredForm,
    UnreadableError,
    as_integer,
    as_signed_integer,
    as_text,
    or_null,
)


def _field(name: str, decode: Decoder = as_text, *, required: bool = False) -> StoredField:
    return StoredField(name, name, decode, required=required)


def _as_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableError(f"not an object: {value!r:.40}")
    return value


STATUS_NOTE = StoredForm(
    "a status",
    (
        _field("state", required=True),
        _field("id", as_integer),
        _field("context"),
        _field("description", or_null(as_text)),
        _field("target_url", or_null(as_text)),
        _field("creator"),
        _field("created_at"),
    ),
)

COMMENT_NOTE = StoredForm(
    "a comment",
    (
        _field("id", as_integer),
        _field("user"),
        _field("body"),
        _field("path", or_null(as_text)),
        _field("position", or_null(as_signed_integer)),  # the API takes any integer for both
        _field("line", or_null(as_signed_integer)),
        _field("created_at"),
    ),
)

CONVERSATION_NOTE = StoredForm(
    "a pull request's comment",
    (
        _field("id", as_integer, required=True),
        _field("pull", as_integer, required=True),
        _field("created_at", required=True),
        _field("user"),
        _field("body"),
    ),
)

CHECK_NOTE = StoredForm(
    "a check run",
    (
        _field("id", as_integer, required=True),
        _field("name", required=True),
        _field("app", required=True),
        _field("conclusion", required=True),
        _field("completed_at", required=True),
        _field("output", _as_object, required=True),
        _field("external_id", or_null(as_text)),
        _field("details_url", or_null(as_text)),
        _field("started_at", or_null(as_text)),
    ),
)

PULL_FORM = StoredForm(
    "a pull request",
    (
        _field("number", as_integer, required=True),
        _field("title", required=True),
        _field("body", or_null(as_text), required=True),
        _field("user", required=True),
        _field("repository", required=True),
        _field("ref", required=True),
        _field("base", required=True),
        _field("created_at", required=True),
        _field("blob"),  # only in an event: the object that the comments are notes on
    ),
)
"""The stored names of a pull request, in its blob and in the detail of an event."""


def pull_to_json(pull: StoredPullRequest) -> dict[str, Any]:
    """Return a pull request as plain data."""
    return PULL_FORM.encode(pull)


def pull_from_json(data: object, blob: str = "") -> StoredPullRequest:
    """Return the pull request that ``pull_to_json`` wrote. Raises ``UnreadableError``."""
    return StoredPullRequest(**{**PULL_FORM.decode(data), **({"blob": blob} if blob else {})})
