"""Follow a run from the command line: its commit status, and its facts and log from the receiver.

The status is always there and decides. The receiver's page (the status's ``target_url``) says more,
and sooner, if it can be reached. No token is ever sent to it: the address itself is the key.
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
"""Seconds to wait for the receiver's page to answer."""

_POLL_INTERVALS = {True: Backoff(0.1, 1.0, factor=1.2), False: Backoff(2.0, 15.0, factor=1.2)}
"""Pauses between two polls; by True for a forge on this machine, False for others."""

_TIMEOUT_EXIT_CODE = 124
"""Exit code of a run that timed out, as ``timeout`` of coreutils has it."""


def repository_by_name(remote: Remote) -> Repository:
    """Return the repository with nothing but its name.

    That is enough to read and write statuses, and it costs no request.
    """
    return Repository(remote.api_url, 0, remote.repository)


def latest_statuses(forge: GitHubClient, repository: Repository, sha: str) -> list[PostedStatus]:
    """Return the newest status of each run of a commit, oldest run first."""
    newest: dict[str, PostedStatus] = {}
    for posted in forge.list_statuses(repository, sha):
        if posted.status.context.lower().startswith(CONTEXT_PREFIX):
            newest.setdefault(posted.status.context.lower(), posted)
    return sorted(newest.values(), key=lambda posted: posted.created_at)


def run_rows(
    forge: GitHubClient,
    repository: Repository,
    commits: list[tuple[str, str]],
    missing_shas: set[str] | None = None,
) -> list[dict[str, Any]]:
    """Return a row of facts for each run of the commits, in the order of the commits.

    ``commits`` holds (SHA, message). A commit that the forge does not have is added to
    ``missing_shas``; if that is None, ``NotFoundError`` is raised.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        rows_by_commit = pool.map(
            lambda pair: _commit_rows(forge, repository, pair, missing_shas), commits
        )
        return [row for rows in rows_by_commit for row in rows]


def _commit_rows(
    forge: GitHubClient,
    repository: Repository,
    commit: tuple[str, str],
    missing_shas: set[str] | None,
) -> list[dict[str, Any]]:
    sha, message = commit
    run_request = request.parse_message(message)
    commands = {
        name.lower(): notation.replace_invalid_utf8(spec.command)
        for name, spec in zip(run_request.run_names, run_request.runs, strict=True)
    }
    try:
        return [
            _status_row(sha, posted, commands) for posted in latest_statuses(forge, repository, sha)
        ]
    except NotFoundError as error:
        # NotVisibleError: the repository itself is not there
        if missing_shas is None or isinstance(error, NotVisibleError):
            raise
        missing_shas.add(sha)
        return []


def _status_row(sha: str, posted: PostedStatus, commands: dict[str, str]) -> dict[str, Any]:
    status = posted.status
    name = status.context.removeprefix(CONTEXT_PREFIX)
    text = parse_status(status.state, status.description)
    row = {
        "sha": sha,
        "name": name,
        "command": commands.get(name.lower(), ""),
        "state": str(text.state),
        "description": status.description,
        "attempt": text.attempt,
        "started_at": None,
        "ended_at": None,
        "exit_code": 0 if text.state is RunState.SUCCEEDED else None,
        "log_url": status.target_url,
    }
    facts = _PAGE.decode_readable(fetch_run_facts(status.target_url))[0]
    if text.state is RunState.CARRIED:
        # the page is about the SHA that ran; this commit only shares its outcome
        facts = {
            key: value for key, value in facts.items() if key not in ("sha", "state", "description")
        }
    return row | {
        key: str(value) if key == "state" else value for key, value in facts.items() if key in row
    }


def fetch_run_facts(url: str) -> dict[str, Any]:
    """Return the facts on a run's page; {} if there is none, or it can't be reached."""
    import requests

    if not url.startswith(("http://", "https://")):
        return {}
    try:
        response = requests.get(url + ".json", timeout=PAGE_TIMEOUT)
        facts = response.json() if response.ok else {}
    except (requests.RequestException, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def follow_run(remote: Remote, sha: str, context: str, output: IO[bytes] | None = None) -> int:
    """Wait for a run, stream its log, and return the command's exit code.

    It is 128 + n for a signal, and 124 for a timeout. It is 1, with the reason on stderr, for a run
    that was not launched, or whose outcome is not the command's own.
    """
    output = output or sys.stdout.buffer
    forge, repository = remote.create_client(), repository_by_name(remote)
    first = wait_for_status(remote, forge, repository, sha, context, until_final=False)
    stream_log(first.status.target_url, output)
    last = wait_for_status(remote, forge, repository, sha, context, until_final=True)
    return exit_code_of_status(last)


def exit_code_of_status(posted: PostedStatus) -> int:
    """Return the exit code for a final status.

    If the command failed or has no exit code of its own, the reason is printed to stderr.
    """
    text = _parse_posted(posted)
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
"""The form of a run's page.

A receiver of another version may have written it; what can't be read is left out.
"""


def stream_log(url: str, output: IO[bytes]) -> None:
    """Copy a run's log as it grows, until the run ends; print a note if it can't be reached."""
    if not url:
        return
    try:
        for chunk in read_log_chunks(url, live=True):
            output.write(chunk)
            output.flush()
    except UserError as error:
        sys.stderr.write(f"fyre: {error.message}; waiting for the status alone\n")


def read_log_chunks(url: str, *, live: bool) -> Iterator[bytes]:
    """Yield a run's log in pieces; raise ``UserError`` if it can't be read."""
    import requests

    try:
        with requests.get(
            f"{url}/log", params={"follow": "1"} if live else {}, stream=True, timeout=(5, None)
        ) as response:
            if not response.ok:
                raise UserError(
                    f"the log is not there any more (HTTP {response.status_code})", hint=url
                )
            yield from response.iter_content(chunk_size=None)
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
    """Poll until a run has a status, or with ``until_final`` a final status; return that."""
    backoff = _POLL_INTERVALS[remote.is_local]
    pause = backoff.first
    hint_at = time.monotonic() + 20
    reported_errors: set[str] = set()
    while True:
        statuses = _poll_statuses(forge, repository, sha, reported_errors)
        moved_status = statuses.get(commit_status.MOVED_CONTEXT)
        own_status = statuses.get(context.lower()) or moved_status
        if own_status is not None and not (
            until_final and _parse_posted(own_status).state in PENDING_STATES
        ):
            return own_status
        if own_status is None and time.monotonic() > hint_at:
            hint_at = float("inf")
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
        if str(error) not in reported_errors:  # one line, even if the forge is away for an hour
            sys.stderr.write(f"fyre: {error}; trying again\n")
        reported_errors.add(str(error))
        return {}


def _parse_posted(posted: PostedStatus) -> StatusText:
    return parse_status(posted.status.state, posted.status.description)
