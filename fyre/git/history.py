"""Walk a repository's history; the only module that imports GitPython."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fyre.errors import UserError
from fyre.git.commit_reader import parse_commit


def find_run_commits(
    ranges: Sequence[str], limit: int, cwd: str | Path = "."
) -> list[tuple[str, str]]:
    """Return (SHA, message) of the newest commits that may have a ``Fyre-Run`` trailer.

    They are those of any of the ranges, newest first, at most ``limit``. The parser decides whether
    it is a trailer.
    """
    found = dict(entry for name in ranges for entry in _iterate_range(name, limit, cwd))
    newest = sorted(found.items(), key=lambda entry: entry[1][0], reverse=True)
    return [(sha, message) for sha, (_, message) in newest[:limit]]


def _iterate_range(
    revision_range: str, limit: int, cwd: str | Path
) -> Iterator[tuple[str, tuple[float, str]]]:
    """Yield (SHA, (time of the commit, message)), newest first."""
    from git import GitCommandError, InvalidGitRepositoryError, Repo

    try:
        with Repo(cwd, search_parent_directories=True) as repo:
            # The pattern only narrows the walk; the parser decides whether it is a trailer.
            commits = repo.iter_commits(
                revision_range, max_count=limit, regexp_ignore_case=True, grep="^fyre-run[ \t]*:"
            )
            for commit in commits:
                # GitPython would decode the message by any codec of Python's that the commit names.
                parsed = parse_commit(commit.hexsha, repo.odb.stream(commit.binsha).read())
                yield commit.hexsha, (parsed.committed_at, parsed.message)
    except InvalidGitRepositoryError as error:
        raise UserError("this is not a git repository", hint="cd into one") from error
    except GitCommandError as error:
        raise UserError(
            f"{revision_range!r} names no commits here",
            hint="name a branch, or a range such as main..HEAD",
        ) from error
