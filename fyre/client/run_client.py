"""List the runs of commits: from their statuses on the forge, and from the receiver's pages.

The status is always there and decides. The receiver's page says more, and sooner, if it can be
reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fyre.client import run_page
from fyre.github.client import GitHubClient, PostedStatus
from fyre.github.errors import NotFoundError, NotVisibleError
from fyre.message import request, value_parsers
from fyre.message.spec import RunSpec
from fyre.runs.commit_status import MOVED_CONTEXT, CommitStatus
from fyre.runs.run import Repository
from fyre.runs.state import RunState
from fyre.runs.status_text import parse_status
from fyre.workspace.remote import Remote

CONTEXT_PREFIX = "fyre/"
"""Beginning of the context of a run's status; the run's name follows."""

_REQUESTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as the forge and the receiver tell of it; times in ISO 8601, UTC.

    The fields and their order are those of the JSON that ``fyre status`` and others print.
    """

    sha: str
    name: str
    command: str
    state: RunState
    description: str
    attempt: int
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    log_url: str  # of the run's page; "" if there is none
    metrics: Mapping[str, float] = field(default_factory=dict)  # the last value of each
    best: Mapping[str, float] = field(default_factory=dict)  # the best value of each
    # Number and bytes of what it kept.
    outputs: Mapping[str, float] = field(default_factory=lambda: {"count": 0, "bytes": 0})
    note: str = ""
    least: Mapping[str, float] = field(default_factory=dict)  # of each metric
    greatest: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)  # variables that the run was given

    def with_goals(self, goals: Mapping[str, str]) -> RunSummary:
        """Return the run with the best values by these goals, where they name a metric."""
        best = {
            name: (self.least if goal == "min" else self.greatest)[name]
            for name, goal in goals.items()
            if name in self.least and name in self.greatest
        }
        return replace(self, best={**self.best, **best})

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain data."""
        facts = asdict(self) | {"state": str(self.state)}
        return {key: value for key, value in facts.items() if key not in ("least", "greatest")}


@dataclass(frozen=True, slots=True)
class RunClient:
    """A repository on a forge, to ask about its runs as the person whose clone it is.

    The forge's client asks for the person's token once.
    """

    remote: Remote
    forge: GitHubClient
    repository: Repository

    @classmethod
    def from_remote(cls, remote: Remote) -> RunClient:
        """Return the client of a remote's repository.

        Only the repository's name is known. That is enough to read and write statuses, and it costs
        no request.
        """
        repository = Repository(remote.api_url, 0, remote.repository)
        return cls(remote, remote.create_client(), repository)

    def latest_statuses(self, sha: str, attempt: int = 0) -> list[PostedStatus]:
        """Return the newest status of each run of a commit, oldest run first.

        ``attempt`` is the number of one attempt; 0 for the newest one. ``fyre/moved`` counts only
        while it says that the code did not run here: once cleared it is about no run.
        """
        newest: dict[str, PostedStatus] = {}
        for posted in self.forge.list_statuses(self.repository, sha):
            if posted.status.context.lower().startswith(CONTEXT_PREFIX):
                text = parse_status(posted.status.state, posted.status.description)
                if attempt in (0, text.attempt):
                    newest.setdefault(posted.status.context.lower(), posted)
        about_runs = (posted for posted in newest.values() if not _is_cleared(posted.status))
        return sorted(about_runs, key=lambda posted: posted.created_at)

    def list_runs(
        self,
        commits: Sequence[tuple[str, str]],
        missing_shas: set[str] | None = None,
        *,
        attempt: int = 0,
    ) -> list[RunSummary]:
        """Return the runs of the commits, in the order of the commits.

        ``commits`` holds (SHA, message). A commit that the forge does not have is added to
        ``missing_shas``; if that is None, ``NotFoundError`` is raised.
        """
        with ThreadPoolExecutor(max_workers=_REQUESTS_AT_ONCE) as pool:
            runs_by_commit = pool.map(
                lambda commit: self._list_commit_runs(commit, missing_shas, attempt), commits
            )
            return [run for runs in runs_by_commit for run in runs]

    def _list_commit_runs(
        self, commit: tuple[str, str], missing_shas: set[str] | None, attempt: int
    ) -> list[RunSummary]:
        sha, message = commit
        run_request = request.parse_message(message)
        specs = {
            name.lower(): spec
            for name, spec in zip(run_request.run_names, run_request.runs, strict=True)
        }
        try:
            return [_summarize(sha, posted, specs) for posted in self.latest_statuses(sha, attempt)]
        except NotFoundError as error:
            # NotVisibleError: the repository itself is not there
            if missing_shas is None or isinstance(error, NotVisibleError):
                raise
            missing_shas.add(sha)
            return []


def _is_cleared(status: CommitStatus) -> bool:
    """Return True for a ``fyre/moved`` after ``/fyre rerun``: then each run has its own status."""
    is_moved = status.context.lower() == MOVED_CONTEXT
    return is_moved and parse_status(status.state, status.description).state is not RunState.MOVED


def _summarize(sha: str, posted: PostedStatus, specs: Mapping[str, RunSpec]) -> RunSummary:
    """Return the run of a status; what the run's page says of it goes first."""
    status = posted.status
    name = status.context.removeprefix(CONTEXT_PREFIX)
    text = parse_status(status.state, status.description)
    spec = specs.get(name.lower(), RunSpec(command=""))
    summary = RunSummary(
        sha=sha,
        name=name,
        command=value_parsers.replace_invalid_utf8(spec.command),
        state=text.state,
        description=status.description,
        attempt=text.attempt,
        started_at=None,
        ended_at=None,
        exit_code=0 if text.state is RunState.SUCCEEDED else None,
        log_url=status.target_url,
        note=value_parsers.replace_invalid_utf8(spec.note),
        env={name: value_parsers.replace_invalid_utf8(value) for name, value in spec.env},
    )
    wanted = {one.name for one in fields(RunSummary)}
    if text.state is RunState.CARRIED:
        # the page is about the SHA that ran; this commit only shares its outcome
        wanted -= {"sha", "state", "description"}
    if name.lower() in specs:
        wanted -= {"env"}  # the page has those of .fyre.yaml too, which every run has
    facts = run_page.read_facts(status.target_url)
    return replace(summary, **{key: value for key, value in facts.items() if key in wanted})
