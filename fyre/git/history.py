"""Walk a repository's history; the only module that imports GitPython."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fyre.errors import UserError
from fyre.git.commit_reader import parse_commit


def find_run_commits(
    revision_range: str, limit: int, cwd: str | Path = "."
) -> Iterator[tuple[str, str]]:
    """Yield (SHA, message) of the commits of a range that may have a ``Fyre-Run`` trailer.

    The newest comes first. The parser decides whether it is a trailer.
    """
    from git import GitCommandError, InvalidGitRepositoryError, Repo

    try:
        with Repo(cwd, search_parent_directories=True) as repo:
            # The pattern only narrows the walk; the parser decides whether it is a trailer.
            commits = repo.iter_commits(
                revision_range, max_count=limit, regexp_ignore_case=True, grep="^fyre-run[ \t]*:"
            )
            for commit in commits:
                # GitPython would decode the message by any codec of Python's that the commit names.
                content = repo.odb.stream(commit.binsha).read()
                yield commit.hexsha, parse_commit(commit.hexsha, content).message
    except InvalidGitRepositoryError as error:
        raise UserError("this is not a git repository", hint="cd into one") from error
    except GitCommandError as error:
        raise UserError(
            f"{revision_range!r} names no commits here", hint="fyre log main..HEAD"
        ) from error
