"""A run and its identity: which commit, which of its runs, which attempt. Pure.

The key names a run everywhere: the engine's record or Job, the log, the link in the status. Whoever launches
the same thing twice gets the same key, and the second launch finds the first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from fyre import spec as specs
from fyre.spec import Spec
from fyre.state import State


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a forge. ``id`` stays when it is renamed or transferred; ``name`` is ``owner/repo``."""

    forge: str  # the API's base URL
    id: int
    name: str
    default_branch: str = "main"


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
    spec: Spec  # settled: defaults of .fyre.yaml applied
    digest: str  # of the trailers as asked, before defaults
    fyre_id: str = ""  # "" when the commit has none
    attempt: int = 1  # 1, and one more for each rerun
    created_at: float = 0.0

    @property
    def context(self) -> str:
        """The commit status's context."""
        return f"fyre/{self.name}"


@dataclass(frozen=True, slots=True)
class Record:
    """What an engine knows of a run. Times are seconds since the epoch."""

    run: Run
    state: State = State.QUEUED
    tries: int = 0  # starts of the command so far: retries count, reruns are another run
    started_at: float | None = None  # of the first start
    ended_at: float | None = None
    exit_code: int | None = None  # None while it runs, and when a signal or a timeout ended it
    signal: int | None = None
    reason: str = ""  # why pending, why error, why failed if not by exit code: one line
    unhonoured: tuple[str, ...] = ()  # what was asked and this engine can't give: ("image", "resources")
    cancelled_by: str = ""
    image_id: str = ""  # the digest that ran, where the engine has images
    reported: str = ""  # the ledger's own note: what was posted last and whether that was confirmed
    carried: tuple[str, ...] = field(default=())  # SHAs with the same tree and trailers that share the outcome


def key(repository: Repository, identity: str, digest: str, ordinal: int, attempt: str = "") -> str:
    """The name of a run: 26 lowercase hex digits, a hash of all that makes it this run and no other.

    ``identity`` is the Fyre-Id, else the SHA; ``ordinal`` counts runs of one message with equal digests from 0;
    ``attempt`` is "" for the first and the id of the comment that asked for it for a rerun.
    """
    parts = json.dumps([repository.forge, repository.id, identity, digest, ordinal, attempt])
    return hashlib.sha256(parts.encode()).hexdigest()[:26]


def to_json(run: Run) -> dict[str, Any]:
    """The run as plain data, for a durable record."""
    return asdict(run)


def from_json(data: dict[str, Any]) -> Run:
    """The run that ``to_json`` wrote down."""
    return Run(
        **{
            **data,
            "repository": Repository(**data["repository"]),
            "parents": tuple(data["parents"]),
            "spec": specs.from_json(data["spec"]),
        }
    )
