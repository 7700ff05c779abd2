"""A run and its identity: which commit, which of its runs, which attempt. Pure.

The key names a run everywhere: the engine's record or Job, the log, the link in the status. Whoever launches
the same thing twice gets the same key, and the second launch finds the first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from fyre.message import spec as specs
from fyre.message.spec import RunSpec
from fyre.runs.state import PENDING_STATES, RunState
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnknownFields,
    as_integer,
    as_moment,
    as_text,
    as_text_or_empty,
    as_texts,
    one_of,
    or_null,
)

ZERO_SHA = "0" * 40
"""What git and GitHub write where there is no commit: before a ref exists, and after it is deleted."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a forge. ``id`` stays when it is renamed or transferred; ``name`` is ``owner/repo``."""

    forge: str  # the API's base URL
    id: int
    name: str
    default_branch: str = "main"
    unknown: UnknownFields = field(
        default=(), compare=False, repr=False
    )  # what a later version stored beside them


@dataclass(frozen=True, slots=True)
class Commit:
    """The facts of a commit that decide what runs. ``committed_at`` is in seconds since the epoch."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    message: str
    committed_at: float


@dataclass(frozen=True, slots=True)
class Run:
    """Everything an engine needs to run one command on one commit, fixed at launch."""

    key: str
    repository: Repository
    sha: str
    tree: str
    parents: tuple[str, ...]
    ref: str  # full: refs/heads/main
    actor: str
    name: str  # settled: run, run-2, train
    spec: RunSpec  # settled: defaults of .fyre.yaml applied
    digest: str  # of the trailers as asked, before defaults
    fyre_id: str = ""  # "" when the commit has none
    attempt: int = 1  # 1, and one more for each rerun
    created_at: float = 0.0
    unknown: UnknownFields = field(
        default=(), compare=False, repr=False
    )  # what a later version stored beside them

    @property
    def context(self) -> str:
        """The commit status's context."""
        return f"fyre/{self.name}"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What an engine knows of a run. Times are seconds since the epoch."""

    run: Run
    state: RunState = RunState.QUEUED
    tries: int = 0  # starts of the command so far: retries count, reruns are another run
    started_at: float | None = None  # of the first start
    ended_at: float | None = None
    exit_code: int | None = None  # None while it runs, and when a signal or a timeout ended it
    signal: int | None = None
    reason: str = ""  # why pending, why error, why failed if not by exit code: one line
    unsupported: tuple[
        str, ...
    ] = ()  # what was asked and this engine can't give: ("image", "resources")
    cancelled_by: str = ""
    image_id: str = ""  # the digest that ran, where the engine has images
    reported: str = ""  # the ledger's own note: what was posted last and whether that was confirmed
    carried: tuple[str, ...] = field(
        default=()
    )  # SHAs with the same tree and trailers that share the outcome


def run_key(
    repository: Repository, identity: str, digest: str, ordinal: int, attempt_id: str = ""
) -> str:
    """The name of a run: 26 lowercase hex digits, a hash of all that makes it this run and no other.

    ``identity`` is the Fyre-Id, else the SHA; ``ordinal`` counts runs of one message with equal digests from 0;
    ``attempt`` is "" for the first and the id of the comment that asked for it for a rerun.
    """
    parts = json.dumps([repository.forge, repository.id, identity, digest, ordinal, attempt_id])
    return hashlib.sha256(parts.encode()).hexdigest()[:26]


REPOSITORY_FORM = StoredForm(
    "a repository",
    (
        StoredField("forge", "forge", as_text, required=True),
        StoredField("id", "id", as_integer, required=True),
        StoredField("name", "name", as_text, required=True),
        StoredField("default_branch", "default_branch", as_text),
    ),
)
"""The stored names of a repository, in a run and beside a mirror."""


def repository_to_json(repository: Repository) -> dict[str, Any]:
    """Return the repository as plain data, for a durable record."""
    return REPOSITORY_FORM.encode(repository, repository.unknown)


def repository_from_json(data: object) -> Repository:
    """Return the repository that ``repository_to_json`` wrote down. Raises ``UnreadableError``."""
    given = REPOSITORY_FORM.decode(data)
    return Repository(**given, unknown=REPOSITORY_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object


RUN_FORM = StoredForm(
    "a run",
    (
        StoredField("key", "key", as_text, required=True),
        StoredField(
            "repository", "repository", repository_from_json, repository_to_json, required=True
        ),
        StoredField("sha", "sha", as_text, required=True),
        StoredField("tree", "tree", as_text, required=True),
        StoredField("parents", "parents", as_texts, required=True),
        StoredField("ref", "ref", as_text, required=True),
        StoredField("actor", "actor", as_text, required=True),
        StoredField("name", "name", as_text, required=True),
        StoredField("spec", "spec", specs.from_json, specs.to_json, required=True),
        StoredField("digest", "digest", as_text, required=True),
        StoredField("fyre_id", "fyre_id", as_text),
        StoredField("attempt", "attempt", as_integer),
        StoredField("created_at", "created_at", as_moment),
        # Later fields go here, with ``since``: 0.1.0 refuses a run that holds a name it does not know.
    ),
)
"""The stored names of a run: ``run.json`` of the local engine, the annotation ``fyre.dev/run`` of a Job."""

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
        StoredField("reason", "reason", as_text_or_empty),
        StoredField("image_id", "image_id", as_text_or_empty),
    ),
)
"""The stored names of how a run ended: ``outcome.json`` of the local engine, the annotation ``fyre.dev/outcome``."""


def to_json(run: Run) -> dict[str, Any]:
    """Return the run as plain data, for a durable record."""
    return RUN_FORM.encode(run, run.unknown)


def from_json(data: object) -> Run:
    """Return the run that ``to_json`` wrote down. Raises ``UnreadableError``."""
    return Run(**RUN_FORM.decode(data), unknown=RUN_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object
