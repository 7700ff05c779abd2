"""Records of a run, and its identity: which commit, which of its runs, which attempt. Pure.

The key names a run everywhere: the engine's record or Job, the log, the link in the status. To
launch the same thing twice gives the same key, so the second launch finds the first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from fyre.message import spec_form
from fyre.message.spec import RunSpec
from fyre.runs import results
from fyre.runs.results import RunResults
from fyre.runs.state import PENDING_STATES, RunState
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnknownFields,
    UnreadableError,
    as_integer,
    as_key,
    as_moment,
    as_printable_or_empty,
    as_printable_text,
    as_sha,
    as_text,
    as_texts,
    one_of,
    or_null,
)

ZERO_SHA = "0" * 40
"""Written by git and GitHub in place of a commit: before a ref exists, and after it is deleted."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a forge.

    ``id`` stays when it is renamed or transferred; ``name`` is ``owner/repo``.
    """

    forge: str  # the API's base URL
    id: int
    name: str
    default_branch: str = "main"
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Commit:
    """The facts of a commit that decide what runs.

    ``committed_at`` is in seconds since the epoch.
    """

    sha: str
    tree: str
    parents: tuple[str, ...]
    message: str
    committed_at: float
    message_problem: str = ""
    """Why the message is not read, in one line; ``message`` is empty then."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that an engine needs to run one command on one commit, fixed at launch."""

    key: str
    repository: Repository
    sha: str
    tree: str
    parents: tuple[str, ...]
    ref: str  # full: refs/heads/main
    actor: str
    name: str  # final: run, run-2, train
    spec: RunSpec  # final: defaults of .fyre.yaml applied
    digest: str  # of the trailers as requested, before defaults
    fyre_id: str = ""  # "" if the commit has none
    attempt: int = 1  # 1, and one more for each rerun
    created_at: float = 0.0
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)

    @property
    def context(self) -> str:
        """Context of the run's commit status."""
        return f"fyre/{self.name}"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """State of a run, as an engine knows it. Times are seconds since the epoch."""

    run: Run
    state: RunState = RunState.QUEUED
    tries: int = 0  # starts of the command so far: retries count, reruns are another run
    started_at: float | None = None  # of the first start
    ended_at: float | None = None
    exit_code: int | None = None  # None while it runs, and if a signal or a timeout ended it
    signal: int | None = None
    reason: str = ""  # why pending, why error, why failed if not by exit code: one line
    # Requests that this engine can't fulfil: ("image", "resources").
    unsupported: tuple[str, ...] = ()
    # Parts of the commit that the command did not see: ("submodules", "Git LFS files").
    missing_code: tuple[str, ...] = ()
    results: RunResults | None = None  # None for a run that kept no output and wrote no metric
    cancelled_by: str = ""
    image_id: str = ""  # the digest that ran, if the engine has images
    reported: str = ""  # the states that were posted, as ``posted_states`` reads them
    carried: tuple[str, ...] = ()  # SHAs with the same tree and trailers, which share the outcome
    log_trouble: str = ""  # why its log can't be read now: one line
    # True if there is an outcome that this version can't read, so that ``state`` is an error.
    is_outcome_unreadable: bool = False


def run_key(
    repository: Repository, identity: str, digest: str, ordinal: int, attempt_id: str = ""
) -> str:
    """Return the key of a run: 26 lowercase hex digits, a hash of everything that identifies it.

    ``identity`` is the Fyre-Id, else the SHA. ``ordinal`` counts runs of one message with equal
    digests from 0. ``attempt_id`` is "" for the first attempt, and for a rerun the id of the
    comment that asked for it.
    """
    parts = json.dumps([repository.forge, repository.id, identity, digest, ordinal, attempt_id])
    return hashlib.sha256(parts.encode()).hexdigest()[:26]


REPOSITORY_FORM = StoredForm(
    "a repository",
    (
        StoredField("forge", "forge", as_text, required=True),
        StoredField("id", "id", as_integer, required=True),
        StoredField("name", "name", as_printable_text, required=True),
        StoredField("default_branch", "default_branch", as_text),
    ),
)
"""The stored names of a repository, in a run and beside a mirror."""


def repository_to_json(repository: Repository) -> dict[str, Any]:
    """Return the repository as plain data, for a durable record."""
    return REPOSITORY_FORM.encode(repository, repository.unknown)


def repository_from_json(data: object) -> Repository:
    """Return the repository that ``repository_to_json`` wrote down. Raises ``UnreadableError``."""
    attributes = REPOSITORY_FORM.decode(data)
    return Repository(**attributes, unknown=REPOSITORY_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object


RUN_FORM = StoredForm(
    "a run",
    (
        StoredField("key", "key", as_key, required=True),
        StoredField(
            "repository", "repository", repository_from_json, repository_to_json, required=True
        ),
        StoredField("sha", "sha", as_sha, required=True),
        StoredField("tree", "tree", as_text, required=True),
        StoredField("parents", "parents", as_texts, required=True),
        StoredField("ref", "ref", as_printable_text, required=True),
        StoredField("actor", "actor", as_printable_text, required=True),
        StoredField("name", "name", as_printable_text, required=True),
        StoredField("spec", "spec", spec_form.from_json, spec_form.to_json, required=True),
        StoredField("digest", "digest", as_text, required=True),
        StoredField("fyre_id", "fyre_id", as_text),
        StoredField("attempt", "attempt", as_integer),
        StoredField("created_at", "created_at", as_moment),
        # Later fields go here, with ``since``: 0.1.0 refuses a run with an unknown name.
    ),
)
"""The stored names of a run: ``run.json`` of the local engine, the annotation ``fyre.dev/run`` of a
Job."""

OUTCOME_FORM = StoredForm(
    "an outcome",
    (
        StoredField(
            "state",
            "state",
            one_of(state for state in RunState if state not in PENDING_STATES),
            required=True,
        ),
        StoredField("tries", "tries", as_integer),
        StoredField("started_at", "started_at", or_null(as_moment)),
        StoredField("ended_at", "ended_at", or_null(as_moment)),
        StoredField("exit_code", "exit_code", or_null(as_integer)),
        StoredField("signal", "signal", or_null(as_integer)),
        StoredField("reason", "reason", as_printable_or_empty),
        StoredField("image_id", "image_id", as_printable_or_empty),
        StoredField("missing_code", "missing_code", as_texts, list, since=2, unset=()),
        StoredField("results", "results", results.from_json, results.to_json, since=2),
    ),
)
"""The stored names of how a run ended: ``outcome.json`` of the local engine, the annotation
``fyre.dev/outcome``."""


_READABLE_PARTS = ("tries", "started_at", "ended_at")
"""The fields kept of an outcome that can't be read as a whole: others would explain another end."""


def outcome_from_json(data: object) -> dict[str, Any]:
    """Return a stored outcome as fields of a record; never raises.

    One that can't be read, as a later version's, is shown as an error that says so, with its tries
    and times as far as they can be read. It stays as it is stored: the other version reads it.
    """
    try:
        return OUTCOME_FORM.decode(data) | {"is_outcome_unreadable": False}
    except UnreadableError as error:
        readable, _ = OUTCOME_FORM.decode_readable(data)
        return {
            "state": RunState.ERROR,
            "reason": f"how it ended can't be read: {error}",
            "is_outcome_unreadable": True,
            **{name: readable[name] for name in _READABLE_PARTS if name in readable},
        }


def to_json(run: Run) -> dict[str, Any]:
    """Return the run as plain data, for a durable record."""
    return RUN_FORM.encode(run, run.unknown)


def from_json(data: object) -> Run:
    """Return the run that ``to_json`` wrote down. Raises ``UnreadableError``."""
    return Run(**RUN_FORM.decode(data), unknown=RUN_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object
