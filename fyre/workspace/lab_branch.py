"""The lab branch: one branch per person, ``fyre/<user>``, with a snapshot of the work tree per run.

The first parent of a snapshot is the snapshot before it, the second parent the commit that it was
taken on. HEAD, index, branches, stash and files stay as they are. The last known tip of the branch
is kept in ``refs/fyre/lab/<remote>/<user>``.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise

from fyre.backoff import Backoff
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import compose, fyre_ids
from fyre.runs.run import ZERO_SHA
from fyre.workspace import failed_push, publish_check, remote, snapshot
from fyre.workspace.snapshot import RepoPaths, WorktreeStatus

MAX_PUSH_ATTEMPTS = 5
"""Number of pushes before giving up when others keep pushing to the branch first."""

_BACKOFF = Backoff(0.2, 3.2, jitter=0.5)  # before the second push and each further one
_MAX_LISTED_COMMITS = 10
_LATIN_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "þ": "th"}
    | {"đ": "d", "ð": "d", "ł": "l", "\u0131": "i"}
)
"""Letters that are no plain letter with a mark, so that Unicode takes none of them apart."""

_LS_REMOTE_NO_MATCH = 2
"""Exit code of git-ls-remote(1) when the remote answered and has no such branch."""

FETCH_OPTIONS = (
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--refmap=",
)
"""Options of a fetch that brings one branch and changes only the ref that it is given."""


@dataclass(frozen=True, slots=True)
class LabBranch:
    """The lab branch of one person on one remote."""

    remote_name: str
    user: str

    @property
    def remote_ref(self) -> str:
        """The full name of the branch on the remote."""
        return f"refs/heads/fyre/{self.user}"

    @property
    def tracking_ref(self) -> str:
        """The ref in this clone that keeps the last known tip of the branch."""
        return f"refs/fyre/lab/{self.remote_name}/{self.user}"


def find_lab_branch(repo_paths: RepoPaths, remote_name: str = "") -> LabBranch:
    """Return the person's lab branch on that remote, or on the remote that a push would go to.

    Raises ``UserError`` if there is no such remote, or no name for the person.
    """
    if (
        remote_name
        and git_command.git_output_or_none("remote", "get-url", remote_name, cwd=repo_paths.top)
        is None
    ):
        raise remote.missing_remote_error(remote_name, repo_paths.top)
    return LabBranch(
        remote_name or remote.default_remote_name(repo_paths.top), lab_user(repo_paths)
    )


def lab_user(repo_paths: RepoPaths) -> str:
    """Return the name in the lab branch: ``fyre.user``, else the local part of ``user.email``.

    Raises ``UserError`` if neither is set.
    """
    configured = git_command.git_output_or_none("config", "--get", "fyre.user", cwd=repo_paths.top)
    email = git_command.git_output_or_none(
        "config", "--get", "user.email", cwd=repo_paths.top
    ) or os.environ.get("GIT_AUTHOR_EMAIL", "")
    name = sanitise_user(configured or email.partition("@")[0])
    if not name:
        raise UserError(
            "whose lab branch is it? neither fyre.user nor user.email is set",
            hint="git config fyre.user NAME",
        )
    return name


def sanitise_user(text: str) -> str:
    """Return a name that a branch may have on any machine.

    It is in lower case, without marks on letters (``ünal`` is ``unal``), and has no ``12345+`` of
    GitHub's private mail addresses.
    """
    letters = unicodedata.normalize("NFKD", text.lower().translate(_LATIN_LETTERS))
    plain = re.sub(r"^\d+\+", "", letters.encode("ascii", "ignore").decode())
    plain = re.sub(r"[^a-z0-9._-]+", "-", plain)
    return re.sub(r"\.{2,}", ".", plain).removesuffix(".lock").strip("-.")


def compose_message(pairs: compose.TrailerPairs, note: str, head: str) -> str:
    """Return the commit message of a snapshot.

    Raises ``UserError`` if its trailers would not be read back as they were given.
    """
    commands = [value for key, value in pairs if key == "Fyre-Run"]
    text = compose.compose_subject(commands) + (f"\n\n{note.strip()}" if note.strip() else "")
    all_pairs = [*pairs, ("Fyre-Id", fyre_ids.new_fyre_id()), ("Fyre-From", head or ZERO_SHA)]
    text = compose.add_trailers(text, all_pairs)
    if note:
        from fyre.message import near_misses  # only messages that people wrote need it

        remedy = "a note holds no trailers: leave the line out, and see `fyre run --help`"
        near_misses.reject_near_misses(text, remedy)
    compose.verify_message(text, all_pairs)
    return text


def list_publish_warnings(
    repo_paths: RepoPaths, status: WorktreeStatus, branch: LabBranch
) -> list[str]:
    """Return a line for each thing that a push would publish, perhaps by mistake."""
    return [
        *publish_check.find_suspect_files(
            repo_paths.top, status.new_files, publish_check.read_large_limit(repo_paths.top)
        ),
        *_unpublished_commits(repo_paths, status, branch),
    ]


def _unpublished_commits(
    repo_paths: RepoPaths, status: WorktreeStatus, branch: LabBranch
) -> list[str]:
    """Return a line for each commit below the snapshot that is not published yet.

    Published means: on a known branch of the remote, or on the lab branch.
    """
    if not status.head:
        return []
    tracking_refs = [branch.tracking_ref] if known_tip(repo_paths, branch) else []
    log_output = git_command.git_output(
        "log", "--no-show-signature", "--format=%h %s", status.head,
        "--not", f"--remotes={branch.remote_name}", *tracking_refs, "--", cwd=repo_paths.top,
    )  # fmt: skip
    lines = [f"commit {line}" for line in log_output.encode(errors="replace").decode().splitlines()]
    if lines:
        _reject_unpushed_moves(repo_paths, status, branch)
    rest = (
        [f"and {len(lines) - _MAX_LISTED_COMMITS} commits more"]
        if len(lines) > _MAX_LISTED_COMMITS
        else []
    )
    return [*(f"{line} is not published yet" for line in lines[:_MAX_LISTED_COMMITS]), *rest]


def _reject_unpushed_moves(
    repo_paths: RepoPaths, status: WorktreeStatus, branch: LabBranch
) -> None:
    """Raise ``UserError`` if unpublished commits move a submodule to an unpushed commit.

    Nobody else could fetch such a commit.
    """
    raw_changes = git_command.git_output(
        "log", "--format=", "--raw", "-z", "--no-renames", status.head,
        "--not", f"--remotes={branch.remote_name}", "--", cwd=repo_paths.top,
    ).split("\0")  # fmt: skip
    submodules = [
        path for change, path in pairwise(raw_changes) if change.lstrip("\n")[8:14] == "160000"
    ]
    snapshot.reject_unpushed_submodules(repo_paths, tuple(dict.fromkeys(submodules)))


def confirm_publish(
    publish_warnings: Sequence[str], branch: LabBranch, *, assume_yes: bool
) -> None:
    """Ask the person to agree to what would be published.

    Raises ``UserError`` if they do not agree, or if there is no terminal to ask on.
    """
    if not publish_warnings or assume_yes:
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(
            f"there is no terminal to ask whether to publish this on {branch.remote_name}: "
            f"{'; '.join(publish_warnings)}",
            hint="--yes publishes it; .gitignore keeps files out",
        )
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
    """Commit the tree on top of the lab branch, push only that, and return the commit's SHA.

    The parent is the last known tip. If somebody else has pushed since, the push is rejected, and
    is tried again on top of their commit.

    Raises ``UserError`` if the snapshot can't be pushed.
    """
    sign = (
        git_command.git_output_or_none(
            "config", "--type=bool", "--get", "commit.gpgsign", cwd=repo_paths.top
        )
        == "true"
    )
    with _push_lock(repo_paths):
        tip = known_tip(repo_paths, branch) or fetch_lab_branch(repo_paths, branch)
        unchanged_tips = 0
        for attempt in range(MAX_PUSH_ATTEMPTS):
            sha = snapshot.commit_tree(repo_paths, tree, (tip, status.head), text, sign=sign)
            rejected, output = _push_commit(repo_paths, sha, tip, branch)
            if not rejected:
                git_command.run_git("update-ref", branch.tracking_ref, sha, cwd=repo_paths.top)
                sys.stderr.write(output)
                return sha
            old_tip, tip = tip, fetch_lab_branch(repo_paths, branch)
            unchanged_tips = unchanged_tips + 1 if tip == old_tip else 0
            if (
                unchanged_tips > 1
            ):  # nobody else pushed: it is the remote itself that rejects the commit
                break
            time.sleep(_BACKOFF.with_jitter(_BACKOFF.nth(attempt)))
    raise UserError(
        f"the snapshot was not pushed: {_rejection_reason(output)}",
        hint=f"try again; what was taken is commit {sha}",
    )


@contextmanager
def _push_lock(repo_paths: RepoPaths) -> Iterator[None]:
    """Hold a lock so that pushes from one clone wait for each other.

    A loop that starts a hundred runs then has no race with itself.
    """
    descriptor = os.open(repo_paths.common_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems have no locks; then the pushes race
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def known_tip(repo_paths: RepoPaths, branch: LabBranch) -> str:
    """Return the last known tip of the lab branch; "" if none is known."""
    return (
        git_command.git_output_or_none(
            "rev-parse", "--verify", "--quiet", branch.tracking_ref, cwd=repo_paths.top
        )
        or ""
    )


def fetch_lab_branch(repo_paths: RepoPaths, branch: LabBranch) -> str:
    """Fetch the lab branch and return its tip; "" if the remote has no such branch (any more).

    The fetch never has a depth, which would make a whole clone shallow.
    """
    ls_remote = git_command.run_git(
        "ls-remote",
        "--quiet",
        "--exit-code",
        branch.remote_name,
        branch.remote_ref,
        cwd=repo_paths.top,
        check=False,
    )
    if ls_remote.returncode == _LS_REMOTE_NO_MATCH:
        _forget_tip(repo_paths, branch)
    elif not ls_remote.returncode:
        options = (
            "--quiet",
            *FETCH_OPTIONS,
            branch.remote_name,
            f"+{branch.remote_ref}:{branch.tracking_ref}",
        )
        git_command.run_git("fetch", *options, cwd=repo_paths.top, check=False)
    return known_tip(repo_paths, branch)


def _forget_tip(repo_paths: RepoPaths, branch: LabBranch) -> None:
    """Delete the tracking ref of a lab branch that the remote no longer has.

    It may have been deleted because of what was in it, so it must not be pushed again.
    """
    if old_tip := known_tip(repo_paths, branch):
        git_command.run_git("update-ref", "-d", branch.tracking_ref, old_tip, cwd=repo_paths.top)
        sys.stderr.write(
            f"fyre: {branch.remote_name} has no fyre/{branch.user} any more: a new one begins "
            f"(it was {old_tip})\n"
        )


def _push_commit(
    repo_paths: RepoPaths, sha: str, expected_tip: str, branch: LabBranch
) -> tuple[bool, str]:
    """Push only the snapshot, with hooks; return True if the ref was rejected, and git's output.

    The lease (``--force-with-lease``) requires the tip that we know, so that snapshots which were
    deleted on this remote, or which another remote had under this name, are not published again.

    Raises ``UserError`` if the remote gave no answer about the ref: a hook in this clone rejected
    the push, or the remote can't be reached.
    """
    push = git_command.run_git(
        "-c", f"remote.{branch.remote_name}.mirror=false", "push", "--quiet", "--porcelain",
        "--no-follow-tags", "--recurse-submodules=no",
        f"--force-with-lease={branch.remote_ref}:{expected_tip}", branch.remote_name,
        f"{sha}:{branch.remote_ref}", cwd=repo_paths.top, check=False,
        env={"FYRE_PUSH_QUIET": "1"},  # our pre-push hook names no runs: the caller does
    )  # fmt: skip
    output = push.stderr.decode(errors="replace")
    rejected = any(line.startswith(b"!\t") for line in push.stdout.splitlines())
    if push.returncode and not rejected:
        sys.stderr.write(output)
        failure = failed_push.explain_failure(branch.remote_name, output, repo_paths.top)
        if failure is not None:
            raise UserError(f"the snapshot was not pushed: {failure.reason}", hint=failure.hint)
        raise UserError(
            f"the snapshot was not pushed to {branch.remote_name}",
            hint=f"git push {branch.remote_name} {sha}:{branch.remote_ref}",
        )
    if push.returncode:
        return True, output + push.stdout.decode(errors="replace")
    return False, output


def _rejection_reason(output: str) -> str:
    """Return the reason of a rejected push: the remote's own words, else git's last line."""
    lines = [line.strip() for line in output.splitlines()]
    return next(
        (line.split("\t")[-1] for line in lines if line.startswith("!\t")),
        lines[-1] if lines else "",
    )
