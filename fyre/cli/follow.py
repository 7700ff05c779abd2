"""Following a run from the keyboard: its status on the SHA, its facts and its log from the receiver.

The status is the truth and is always there; the receiver's page (the status's ``target_url``) says more, and sooner,
when it can be reached. No token is ever sent there: the address itself is the key.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from fyre.backoff import Backoff
from fyre.cli import table
from fyre.errors import TransientError, UserError
from fyre.github.client import GitHubClient, PostedStatus
from fyre.github.errors import NotFoundError, NotVisibleError
from fyre.message import notation, request
from fyre.runs import commit_status
from fyre.runs.run import Repository
from fyre.runs.state import PENDING_STATES, RunState
from fyre.runs.status_text import StatusText, parse_status
from fyre.stored_form import StoredField, StoredForm, as_integer, as_text, one_of, or_null
from fyre.workspace.remote import Remote

CONTEXT_PREFIX = "fyre/"
PAGE_TIMEOUT = 5
"""Seconds to wait for the receiver's page."""

_POLL_INTERVALS = {True: Backoff(0.1, 1.0, factor=1.2), False: Backoff(2.0, 15.0, factor=1.2)}
"""Between two looks, on this machine or not."""

_TIMEOUT_EXIT_CODE = 124
"""The exit code that ``timeout`` of coreutils gives."""


def repository_by_name(remote: Remote) -> Repository:
    """The repository by name alone: reading and writing statuses needs no more, and costs no request."""
    return Repository(remote.api_url, 0, remote.repository)


def latest_statuses(forge: GitHubClient, repository: Repository, sha: str) -> list[PostedStatus]:
    """The newest status of each run of a commit, oldest run first."""
    found: dict[str, PostedStatus] = {}
    for posted in forge.list_statuses(repository, sha):
        if posted.status.context.lower().startswith(CONTEXT_PREFIX):
            found.setdefault(posted.status.context.lower(), posted)
    return sorted(found.values(), key=lambda posted: posted.created_at)


def run_rows(
    forge: GitHubClient,
    repository: Repository,
    commits: list[tuple[str, str]],
    missing_shas: set[str] | None = None,
) -> list[dict[str, Any]]:
    """What is known of the runs of commits, given as (SHA, message): one row for each run, in the commits' order.

    A commit that the forge does not have goes into ``absent``; without that, ``NotFoundError`` is raised.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        each = pool.map(lambda pair: _commit_rows(forge, repository, pair, missing_shas), commits)
        return [row for found in each for row in found]


def _commit_rows(
    forge: GitHubClient,
    repository: Repository,
    commit: tuple[str, str],
    missing_shas: set[str] | None,
) -> list[dict[str, Any]]:
    sha, message = commit
    wants = request.parse_message(message)
    commands = {
        name.lower(): notation.replace_invalid_utf8(spec.command)
        for name, spec in zip(wants.run_names, wants.runs, strict=True)
    }
    try:
        return [
            _status_row(sha, posted, commands) for posted in latest_statuses(forge, repository, sha)
        ]
    except NotFoundError as error:
        if missing_shas is None or isinstance(
            error, NotVisibleError
        ):  # the repository itself is not there
            raise
        missing_shas.add(sha)
        return []


def _status_row(sha: str, posted: PostedStatus, commands: dict[str, str]) -> dict[str, Any]:
    said = posted.status
    name = said.context.removeprefix(CONTEXT_PREFIX)
    text = parse_status(said.state, said.description)
    row = {
        "sha": sha,
        "name": name,
        "command": commands.get(name.lower(), ""),
        "state": str(text.state),
        "description": said.description,
        "attempt": text.attempt,
        "started_at": None,
        "ended_at": None,
        "exit_code": 0 if text.state is RunState.SUCCEEDED else None,
        "log_url": said.target_url,
    }
    facts = _PAGE.decode_readable(fetch_run_facts(said.target_url))[0]
    if (
        text.state is RunState.CARRIED
    ):  # the page tells of the SHA that ran; this one only shares its outcome
        facts = {
            key: value for key, value in facts.items() if key not in ("sha", "state", "description")
        }
    return row | {
        key: str(value) if key == "state" else value for key, value in facts.items() if key in row
    }


def fetch_run_facts(url: str) -> dict[str, Any]:
    """The facts on a run's page; empty when there is no such page or it can't be reached."""
    import requests

    if not url.startswith(("http://", "https://")):
        return {}
    try:
        answer = requests.get(url + ".json", timeout=PAGE_TIMEOUT)
        facts = answer.json() if answer.ok else {}
    except (requests.RequestException, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def follow_run(remote: Remote, sha: str, context: str, output: IO[bytes] | None = None) -> int:
    """Wait for a run, stream its log, answer with the command's exit code (128 + n for a signal, 124 for a timeout).

    A run that was not launched, or whose outcome is not the command's, gives 1, with the reason on stderr.
    """
    output = output or sys.stdout.buffer
    forge, repository = remote.create_client(), repository_by_name(remote)
    first = wait_for_status(remote, forge, repository, sha, context, until_final=False)
    stream_log(first.status.target_url, output)
    last = wait_for_status(remote, forge, repository, sha, context, until_final=True)
    return exit_code_of_status(last)


def exit_code_of_status(posted: PostedStatus) -> int:
    """The exit code that a final status stands for; says the reason on stderr when it is not the command's own."""
    text = _read_back(posted)
    state, facts = text.state, _PAGE.decode_readable(fetch_run_facts(posted.status.target_url))[0]
    if state is RunState.CARRIED:
        state = facts.get(
            "state", RunState.SUCCEEDED if posted.status.state == "success" else RunState.FAILED
        )
    if state is RunState.SUCCEEDED:
        return 0
    sys.stderr.write(f"fyre: {table.escape_unprintable(posted.status.description)}\n")
    if state is not RunState.FAILED:
        return 1
    if facts.get("signal"):
        return 128 + int(facts["signal"])
    if text.timed_out:
        return _TIMEOUT_EXIT_CODE
    return int(facts.get("exit_code") or text.exit_code or 1)


_PAGE = StoredForm(
    "a run's page",
    (
        StoredField("sha", "sha", as_text),
        StoredField("name", "name", as_text),
        StoredField("command", "command", as_text),
        StoredField("state", "state", one_of(RunState)),
        StoredField("description", "description", as_text),
        StoredField("attempt", "attempt", as_integer),
        StoredField("started_at", "started_at", or_null(as_text)),
        StoredField("ended_at", "ended_at", or_null(as_text)),
        StoredField("exit_code", "exit_code", or_null(as_integer)),
        StoredField("signal", "signal", or_null(as_integer)),
        StoredField("log_url", "log_url", as_text),
    ),
)
"""What a run's page says: a receiver of another version may have written it, and what we can't read of it is left out.
"""


def stream_log(url: str, output: IO[bytes]) -> None:
    """Copy a run's log as it grows, until the run ends; says so when the page can't be reached."""
    if not url:
        return
    try:
        for chunk in read_log_chunks(url, live=True):
            output.write(chunk)
            output.flush()
    except UserError as error:
        sys.stderr.write(f"fyre: {error.message}; waiting for the status alone\n")


def read_log_chunks(url: str, *, live: bool) -> Iterator[bytes]:
    """A run's log in pieces. Raises ``UserError`` when it can't be had."""
    import requests

    try:
        with requests.get(
            f"{url}/log", params={"follow": "1"} if live else {}, stream=True, timeout=(5, None)
        ) as answer:
            if not answer.ok:
                raise UserError(
                    f"the log is not there any more (HTTP {answer.status_code})", hint=url
                )
            yield from answer.iter_content(chunk_size=None)
    except requests.RequestException as error:
        raise UserError(f"the log can't be reached ({type(error).__name__})", hint=url) from error


def wait_for_status(
    remote: Remote,
    forge: GitHubClient,
    repository: Repository,
    sha: str,
    context: str,
    *,
    until_final: bool,
) -> PostedStatus:
    """Look until a run has a status, or with ``until_final`` until it has ended."""
    backoff = _POLL_INTERVALS[remote.is_local]
    pause = backoff.first
    told = time.monotonic() + 20
    trouble: set[str] = set()  # what was said of it
    while True:
        found = _poll_statuses(forge, repository, sha, trouble)
        moved = found.get(commit_status.MOVED_CONTEXT)
        mine = found.get(context.lower()) or moved
        if mine is not None and not (until_final and _read_back(mine).state in PENDING_STATES):
            return mine
        if mine is None and time.monotonic() > told:
            told = float("inf")
            sys.stderr.write(
                f"fyre: no status on {sha[:7]} yet; does a receiver hear of {repository.name}?\n"
            )
        time.sleep(pause)
        pause = backoff.after(pause)


def _poll_statuses(
    forge: GitHubClient, repository: Repository, sha: str, reported_errors: set[str]
) -> dict[str, PostedStatus]:
    try:
        return {
            posted.status.context.lower(): posted
            for posted in latest_statuses(forge, repository, sha)
        }
    except TransientError as error:
        if str(error) not in reported_errors:  # a forge that is away for an hour is told of once
            sys.stderr.write(f"fyre: {error}; trying again\n")
        reported_errors.add(str(error))
        return {}


def _read_back(posted: PostedStatus) -> StatusText:
    return parse_status(posted.status.state, posted.status.description)
