"""The sending side of ``checkout.sh receive``: a commit as a stream.

It is for a pod without a way to the relay.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fyre.git import git_command
from fyre.github.errors import NotFoundError

CHUNK_SIZE = 1 << 16


def pack_commit(git_dir: Path, sha: str, depth: int = 1) -> Iterator[bytes]:
    """Yield the pack's length, a line, the commits whose parents it omits, a line, and the pack.

    ``depth`` is in commits of history; 0 for all of it. The length comes first because a stream of
    ``kubectl exec`` has no end that the other side would see, so the pack lies in a temporary file
    until it is sent. Raises ``NotFoundError`` before the first byte.
    """
    repository = ("--git-dir", str(git_dir))
    boundary = _find_boundary(repository, sha, depth)
    if boundary is None:
        raise NotFoundError(
            f"commit {sha[:12]}: not in {git_dir.name}", hint="was it force-pushed away?"
        )
    with tempfile.TemporaryFile() as spool:
        # As upload-pack does it: a commit of the boundary counts as one without parents.
        argv = [
            "git",
            *repository,
            "pack-objects",
            "--revs",
            "--shallow",
            "--stdout",
            "--quiet",
            "--delta-base-offset",
        ]
        revisions = "".join([*(f"--shallow {one}\n" for one in boundary), f"{sha}\n"]).encode()
        process = subprocess.run(
            argv,
            input=revisions,
            stdout=spool,
            stderr=subprocess.PIPE,
            env=git_command.clean_env(),
            check=False,
        )
        if process.returncode:
            raise git_command.GitError(
                argv[3:], process.returncode, process.stderr.decode(errors="replace")
            )
        yield f"{spool.tell()}\n{' '.join(boundary)}\n".encode()
        spool.seek(0)
        while chunk := spool.read(CHUNK_SIZE):
            yield chunk


def _find_boundary(repository: tuple[str, str], sha: str, depth: int) -> list[str] | None:
    """Return the commits whose parents are too deep; None if the commit is not there."""
    current = [sha]
    for level in range(1, max(depth, 1) + 1):
        result = git_command.run_git(
            *repository,
            "rev-list",
            "--no-walk=unsorted",
            "--parents",
            "--stdin",
            stdin=("\n".join(current) + "\n").encode(),
            env=git_command.clean_env(),
            check=False,
        )
        lines = [line.split() for line in result.stdout.decode().splitlines()]
        if result.returncode or (level == 1 and [line[0] for line in lines] != [sha]):
            return None
        if depth == 0:
            return []
        if level == depth:
            return [commit for commit, *parents in lines if parents]
        current = list(dict.fromkeys(one for _, *parents in lines for one in parents))
        if not current:
            return []
    return []
