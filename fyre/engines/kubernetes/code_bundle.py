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


def pack_commit(git_dir: Path, sha: str) -> Iterator[bytes]:
    """Yield the pack's length, a line, the commits whose parents it omits, a line, and the pack.

    The pack has depth 1. The length comes first because a stream of ``kubectl exec`` has no end
    that the other side would see, so the pack lies in a temporary file until it is sent. Raises
    ``NotFoundError`` before the first byte.
    """
    repository = ("--git-dir", str(git_dir))
    revision = git_command.run_git(
        *repository,
        "rev-list",
        "--parents",
        "--max-count=1",
        sha,
        "--",
        env=git_command.clean_env(),
        check=False,
    )
    commit, *parents = revision.stdout.decode().split() or [""]
    if revision.returncode or commit != sha:
        raise NotFoundError(
            f"commit {sha[:12]}: not in {git_dir.name}", hint="was it force-pushed away?"
        )
    with tempfile.TemporaryFile() as spool:
        # As upload-pack does it: the commit counts as one without parents.
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
        revisions = f"--shallow {sha}\n{sha}\n".encode()
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
        yield f"{spool.tell()}\n{sha if parents else ''}\n".encode()
        spool.seek(0)
        while chunk := spool.read(CHUNK_SIZE):
            yield chunk
