"""Read the commit statuses that this App or user has posted, among those of everybody."""

from __future__ import annotations

import logging
from collections import Counter
from urllib.parse import urlsplit

from fyre.github.client import GitHubClient
from fyre.reporter.unposted_statuses import CONTEXT_NEARLY_FULL
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository

log = logging.getLogger(__name__)


def read_own_statuses(
    forge: GitHubClient, repository: Repository, sha: str
) -> dict[str, CommitStatus]:
    """Return our newest status of each context (in lower case) on a SHA.

    Anyone can post a status: only ours count.
    """
    everything = forge.list_statuses(repository, sha)
    counts = Counter(posted.status.context.lower() for posted in everything)
    for context, count in counts.items():
        if count >= CONTEXT_NEARLY_FULL:
            facts = context, sha, repository.name, count
            log.warning("%s on %s of %s has %d statuses; GitHub accepts 1,000", *facts)
    newest: dict[str, CommitStatus] = {}
    for posted in everything:
        if forge.is_own_login(posted.creator):
            newest.setdefault(posted.status.context.lower(), posted.status)
    return newest


def is_of_same_run(posted: CommitStatus, status: CommitStatus) -> bool:
    """Return True if two statuses report the same state of the same run.

    The run is known by the path of its page: the description and our address may differ.
    """
    return posted.state == status.state and _url_path(posted.target_url) == _url_path(
        status.target_url
    )


def _url_path(url: str) -> str:
    """Return the path of a URL; the text itself if it is none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url
