"""The lab notebook: one branch a person, ``fyre/<user>``, and on it a snapshot of the working tree for every run.

First parents are the notebook, second parents the commits that the snapshots stand on. HEAD, index, branches, stash
and files stay as they are; the tip of the notebook is remembered in ``refs/fyre/lab/<remote>/<user>``.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise

from fyre.backoff import Backoff
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import compose, fyre_ids
from fyre.runs.run import ZERO_SHA
from fyre.workspace import publish_check, remote, snapshot
from fyre.workspace.snapshot import RepoPaths, WorktreeStatus

MAX_PUSH_ATTEMPTS = 5
"""Pushes before giving up on a race that others keep winning."""

_BACKOFF = Backoff(0.2, 3.2, jitter=0.5)  # before the second push and each further one
_MAX_LISTED_COMMITS = 10
_LS_REMOTE_NO_MATCH = (
    2  # what git-ls-remote(1) exits with when the remote answered, and has no such branch
)
_FETCH_OPTIONS = (
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--refmap=",
)
"""A fetch that brings one branch and changes no ref but the one it is told to."""


@dataclass(frozen=True, slots=True)
class LabBranch:
    """The lab branch of one person on one remote."""

    remote_name: str
    user: str

    @property
    def remote_ref(self) -> str:
        """Its full name on the remote."""
        return f"refs/heads/fyre/{self.user}"

    @property
    def tracking_ref(self) -> str:
        """The ref here that remembers its tip."""
        return f"refs/fyre/lab/{self.remote_name}/{self.user}"


def find_lab_branch(repo_paths: RepoPaths, remote_name: str = "") -> LabBranch:
    """The person's notebook on that remote, or on the one that a push would go to. Raises ``UserError``."""
    if (
        remote_name
        and git_command.git_output_or_none("remote", "get-url", remote_name, cwd=repo_paths.top)
        is None
    ):
        raise UserError(
            f"there is no remote {remote_name!r}", hint=f"git remote add {remote_name} URL"
        )
    return LabBranch(
        remote_name or remote.default_remote_name(repo_paths.top), lab_user(repo_paths)
    )


def lab_user(repo_paths: RepoPaths) -> str:
    """Whose notebook: ``fyre.user``, else the local part of ``user.email``. Raises ``UserError`` without either."""
    own = git_command.git_output_or_none("config", "--get", "fyre.user", cwd=repo_paths.top)
    email = git_command.git_output_or_none(
        "config", "--get", "user.email", cwd=repo_paths.top
    ) or os.environ.get("GIT_AUTHOR_EMAIL", "")
    name = sanitise_user(own or email.partition("@")[0])
    if not name:
        raise UserError(
            "whose lab branch is it? neither fyre.user nor user.email is set",
            hint="git config fyre.user NAME",
        )
    return name


def sanitise_user(text: str) -> str:
    """A name that a branch may have on any machine: lower case, no ``12345+`` of GitHub's private addresses."""
    plain = re.sub(r"^\d+\+", "", text.lower())
    plain = re.sub(r"[^a-z0-9._-]+", "-", plain)
    return re.sub(r"\.{2,}", ".", plain).removesuffix(".lock").strip("-.")


def compose_message(pairs: compose.TrailerPairs, note: str, head: str) -> str:
    """The message of a snapshot. Raises ``UserError`` when the trailers do not say what was meant."""
    commands = [value for key, value in pairs if key == "Fyre-Run"]
    text = compose.compose_subject(commands) + (f"\n\n{note.strip()}" if note.strip() else "")
    whole = [*pairs, ("Fyre-Id", fyre_ids.new_fyre_id()), ("Fyre-From", head or ZERO_SHA)]
    text = compose.add_trailers(text, whole)
    if note:
        from fyre.message import near_misses  # only messages that people wrote need it

        near_misses.reject_near_misses(text)
    compose.verify_message(text, whole)
    return text


def list_publish_warnings(
    repo_paths: RepoPaths, status: WorktreeStatus, branch: LabBranch
) -> list[str]:
    """What a push would make public that nobody may have meant to: a line each."""
    bound = git_command.git_output_or_none(
        "config", "--type=int", "--get", "fyre.large", cwd=repo_paths.top
    )
    return [
        *publish_check.find_suspect_files(
            repo_paths.top, status.new_files, int(bound) if bound else publish_check.LARGE_BYTES
        ),
        *_unpublished_commits(repo_paths, status, branch),
    ]


def _unpublished_commits(
    repo_paths: RepoPaths, status: WorktreeStatus, branch: LabBranch
) -> list[str]:
    """The commits below the snapshot that are on no branch of the remote we know of, and not in the notebook."""
    if not status.head:
        return []
    known = [branch.tracking_ref] if known_tip(repo_paths, branch) else []
    said = git_command.git_output("log", "--no-show-signature", "--format=%h %s", status.head, "--not", f"--remotes={branch.remote_name}",
                   *known, "--", cwd=repo_paths.top)  # fmt: skip
    rows = [f"commit {row}" for row in said.encode(errors="replace").decode().splitlines()]
    if rows:
        _reject_unpushed_moves(repo_paths, status, branch)
    more = (
        [f"and {len(rows) - _MAX_LISTED_COMMITS} commits more"]
        if len(rows) > _MAX_LISTED_COMMITS
        else []
    )
    return [*(f"{row} is not published yet" for row in rows[:_MAX_LISTED_COMMITS]), *more]


def _reject_unpushed_moves(
    repo_paths: RepoPaths, status: WorktreeStatus, branch: LabBranch
) -> None:
    """Raise ``UserError`` over submodules that unpublished commits moved to where nobody else can fetch."""
    said = git_command.git_output("log", "--format=", "--raw", "-z", "--no-renames", status.head, "--not", f"--remotes={branch.remote_name}",
                   "--", cwd=repo_paths.top).split("\0")  # fmt: skip
    moved = [path for change, path in pairwise(said) if change.lstrip("\n")[8:14] == "160000"]
    snapshot.reject_unpushed_submodules(repo_paths, tuple(dict.fromkeys(moved)))


def confirm_publish(
    publish_warnings: Sequence[str], branch: LabBranch, *, assume_yes: bool
) -> None:
    """Have a person agree to what would be published. Raises ``UserError`` unless they do."""
    if not publish_warnings or assume_yes:
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"this would be published on {branch.remote_name}: {'; '.join(publish_warnings)}",
                        hint="--yes publishes it; .gitignore keeps files out")  # fmt: skip
    sys.stderr.write(
        f"This would be published on {branch.remote_name}:\n"
        + "".join(f"  {line}\n" for line in publish_warnings)
    )
    sys.stderr.write("Publish it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(
            "nothing was published", hint="--yes does not ask; .gitignore keeps files out"
        )


def push_snapshot(
    repo_paths: RepoPaths, status: WorktreeStatus, tree: str, text: str, branch: LabBranch
) -> str:
    """Commit the tree on top of the notebook and push that alone; answers with the SHA. Raises ``UserError``.

    The tip is what we saw last; where somebody else has written since, the push fails, and is tried again on theirs.
    """
    sign = (
        git_command.git_output_or_none(
            "config", "--type=bool", "--get", "commit.gpgsign", cwd=repo_paths.top
        )
        == "true"
    )
    with _push_lock(repo_paths):
        below = known_tip(repo_paths, branch) or fetch_lab_branch(repo_paths, branch)
        stood = 0
        for number in range(MAX_PUSH_ATTEMPTS):
            sha = snapshot.commit_tree(repo_paths, tree, (below, status.head), text, sign=sign)
            refused, said = _push_commit(repo_paths, sha, below, branch)
            if not refused:
                git_command.run_git("update-ref", branch.tracking_ref, sha, cwd=repo_paths.top)
                sys.stderr.write(said)
                return sha
            before, below = below, fetch_lab_branch(repo_paths, branch)
            stood = stood + 1 if below == before else 0
            if stood > 1:  # nobody else wrote: the remote itself does not want it
                break
            time.sleep(_BACKOFF.with_jitter(_BACKOFF.nth(number)))
    raise UserError(
        f"the snapshot was not pushed: {_rejection_reason(said)}",
        hint=f"try again; what was taken is commit {sha}",
    )


@contextmanager
def _push_lock(repo_paths: RepoPaths) -> Iterator[None]:
    """Let the runs of one clone queue up, so that a loop which starts a hundred of them is no race at all."""
    file = os.open(repo_paths.common_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system has locks; then the pushes race
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def known_tip(repo_paths: RepoPaths, branch: LabBranch) -> str:
    """The notebook's last page as we know it, "" when we know of none."""
    return (
        git_command.git_output_or_none(
            "rev-parse", "--verify", "--quiet", branch.tracking_ref, cwd=repo_paths.top
        )
        or ""
    )


def fetch_lab_branch(repo_paths: RepoPaths, branch: LabBranch) -> str:
    """The notebook's last page on the remote, its history fetched; "" where there is none, or none any more.

    Never with a depth, which would make a whole clone shallow.
    """
    there = git_command.run_git(
        "ls-remote",
        "--quiet",
        "--exit-code",
        branch.remote_name,
        branch.remote_ref,
        cwd=repo_paths.top,
        check=False,
    )
    if there.returncode == _LS_REMOTE_NO_MATCH:
        _forget_tip(repo_paths, branch)
    elif not there.returncode:
        words = (
            "--quiet",
            *_FETCH_OPTIONS,
            branch.remote_name,
            f"+{branch.remote_ref}:{branch.tracking_ref}",
        )
        git_command.run_git("fetch", *words, cwd=repo_paths.top, check=False)
    return known_tip(repo_paths, branch)


def _forget_tip(repo_paths: RepoPaths, branch: LabBranch) -> None:
    """Let go of a notebook that the remote has no more: it may have been deleted for what was in it."""
    if last := known_tip(repo_paths, branch):
        git_command.run_git("update-ref", "-d", branch.tracking_ref, last, cwd=repo_paths.top)
        sys.stderr.write(
            f"fyre: {branch.remote_name} has no fyre/{branch.user} any more: a new one begins (it was {last})\n"
        )


def _push_commit(
    repo_paths: RepoPaths, sha: str, expected_tip: str, branch: LabBranch
) -> tuple[bool, str]:
    """Push the snapshot alone, hooks and all: whether that ref was refused, and what was said.

    The lease holds it to what we know of the remote, so that pages which were deleted there, or which another
    remote had under this name, are not published again.
    Raises ``UserError`` when it came to no answer: a hook of ours said no, the remote can't be reached.
    """
    done = git_command.run_git("-c", f"remote.{branch.remote_name}.mirror=false", "push", "--quiet", "--porcelain", "--no-follow-tags",
                   "--recurse-submodules=no", f"--force-with-lease={branch.remote_ref}:{expected_tip}", branch.remote_name,
                   f"{sha}:{branch.remote_ref}", cwd=repo_paths.top, check=False)  # fmt: skip
    said = done.stderr.decode(errors="replace")
    refused = any(line.startswith(b"!\t") for line in done.stdout.splitlines())
    if done.returncode and not refused:
        sys.stderr.write(said)
        raise UserError(
            f"the snapshot was not pushed to {branch.remote_name}",
            hint=f"git push {branch.remote_name} {sha}:{branch.remote_ref}",
        )
    return bool(done.returncode), said + done.stdout.decode(
        errors="replace"
    ) if done.returncode else said


def _rejection_reason(output: str) -> str:
    """Why the remote refused: its own words, else git's."""
    lines = [line.strip() for line in output.splitlines()]
    return next(
        (line.split("\t")[-1] for line in lines if line.startswith("!\t")),
        lines[-1] if lines else "",
    )
