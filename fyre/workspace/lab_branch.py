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
from fyre.workspace.snapshot import Look, Place

TRIES = 5
"""Pushes before giving up on a race that others keep winning."""

_BACKOFF = Backoff(0.2, 3.2, jitter=0.5)  # before the second push and each further one
_LISTED = 10
_NOT_THERE = 2  # what git-ls-remote(1) exits with when the remote answered, and has no such branch
_NO_EXTRAS = (
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--refmap=",
)
"""A fetch that brings one branch and changes no ref but the one it is told to."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """The lab branch of one person on one remote."""

    remote: str
    user: str

    @property
    def branch(self) -> str:
        """Its full name on the remote."""
        return f"refs/heads/fyre/{self.user}"

    @property
    def tracking(self) -> str:
        """The ref here that remembers its tip."""
        return f"refs/fyre/lab/{self.remote}/{self.user}"


def notebook(where: Place, remote_name: str = "") -> Notebook:
    """The person's notebook on that remote, or on the one that a push would go to. Raises ``UserError``."""
    if remote_name and git_command.ask("remote", "get-url", remote_name, cwd=where.top) is None:
        raise UserError(
            f"there is no remote {remote_name!r}", hint=f"git remote add {remote_name} URL"
        )
    return Notebook(remote_name or remote.default_name(where.top), user(where))


def user(where: Place) -> str:
    """Whose notebook: ``fyre.user``, else the local part of ``user.email``. Raises ``UserError`` without either."""
    own = git_command.ask("config", "--get", "fyre.user", cwd=where.top)
    email = git_command.ask("config", "--get", "user.email", cwd=where.top) or os.environ.get(
        "GIT_AUTHOR_EMAIL", ""
    )
    name = sanitised(own or email.partition("@")[0])
    if not name:
        raise UserError(
            "whose lab branch is it? neither fyre.user nor user.email is set",
            hint="git config fyre.user NAME",
        )
    return name


def sanitised(text: str) -> str:
    """A name that a branch may have on any machine: lower case, no ``12345+`` of GitHub's private addresses."""
    plain = re.sub(r"^\d+\+", "", text.lower())
    plain = re.sub(r"[^a-z0-9._-]+", "-", plain)
    return re.sub(r"\.{2,}", ".", plain).removesuffix(".lock").strip("-.")


def minted(pairs: compose.Pairs, note: str, head: str) -> str:
    """The message of a snapshot. Raises ``UserError`` when the trailers do not say what was meant."""
    commands = [value for key, value in pairs if key == "Fyre-Run"]
    text = compose.subject(commands) + (f"\n\n{note.strip()}" if note.strip() else "")
    whole = [*pairs, ("Fyre-Id", fyre_ids.mint()), ("Fyre-From", head or ZERO_SHA)]
    text = compose.append(text, whole)
    if note:
        from fyre.message import near_misses  # only messages that people wrote need it

        near_misses.refuse(text)
    compose.verify(text, whole)
    return text


def doubts(where: Place, seen: Look, book: Notebook) -> list[str]:
    """What a push would make public that nobody may have meant to: a line each."""
    bound = git_command.ask("config", "--type=int", "--get", "fyre.large", cwd=where.top)
    return [
        *publish_check.of(where.top, seen.new, int(bound) if bound else publish_check.LARGE),
        *_unpublished(where, seen, book),
    ]


def _unpublished(where: Place, seen: Look, book: Notebook) -> list[str]:
    """The commits below the snapshot that are on no branch of the remote we know of, and not in the notebook."""
    if not seen.head:
        return []
    known = [book.tracking] if tip(where, book) else []
    said = git_command.out("log", "--no-show-signature", "--format=%h %s", seen.head, "--not", f"--remotes={book.remote}",
                   *known, "--", cwd=where.top)  # fmt: skip
    rows = [f"commit {row}" for row in said.encode(errors="replace").decode().splitlines()]
    if rows:
        _refuse_unpushed(where, seen, book)
    more = [f"and {len(rows) - _LISTED} commits more"] if len(rows) > _LISTED else []
    return [*(f"{row} is not published yet" for row in rows[:_LISTED]), *more]


def _refuse_unpushed(where: Place, seen: Look, book: Notebook) -> None:
    """Raise ``UserError`` over submodules that unpublished commits moved to where nobody else can fetch."""
    said = git_command.out("log", "--format=", "--raw", "-z", "--no-renames", seen.head, "--not", f"--remotes={book.remote}",
                   "--", cwd=where.top).split("\0")  # fmt: skip
    moved = [path for change, path in pairwise(said) if change.lstrip("\n")[8:14] == "160000"]
    snapshot.refuse_unpushed(where, tuple(dict.fromkeys(moved)))


def confirm(found: Sequence[str], book: Notebook, *, yes: bool) -> None:
    """Have a person agree to what would be published. Raises ``UserError`` unless they do."""
    if not found or yes:
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"this would be published on {book.remote}: {'; '.join(found)}",
                        hint="--yes publishes it; .gitignore keeps files out")  # fmt: skip
    sys.stderr.write(
        f"This would be published on {book.remote}:\n" + "".join(f"  {line}\n" for line in found)
    )
    sys.stderr.write("Publish it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(
            "nothing was published", hint="--yes does not ask; .gitignore keeps files out"
        )


def publish(where: Place, seen: Look, tree: str, text: str, book: Notebook) -> str:
    """Commit the tree on top of the notebook and push that alone; answers with the SHA. Raises ``UserError``.

    The tip is what we saw last; where somebody else has written since, the push fails, and is tried again on theirs.
    """
    sign = (
        git_command.ask("config", "--type=bool", "--get", "commit.gpgsign", cwd=where.top) == "true"
    )
    with _one_at_a_time(where):
        below = tip(where, book) or fetch(where, book)
        stood = 0
        for number in range(TRIES):
            sha = snapshot.commit(where, tree, (below, seen.head), text, sign=sign)
            refused, said = _push(where, sha, below, book)
            if not refused:
                git_command.run("update-ref", book.tracking, sha, cwd=where.top)
                sys.stderr.write(said)
                return sha
            before, below = below, fetch(where, book)
            stood = stood + 1 if below == before else 0
            if stood > 1:  # nobody else wrote: the remote itself does not want it
                break
            time.sleep(_BACKOFF.with_jitter(_BACKOFF.nth(number)))
    raise UserError(
        f"the snapshot was not pushed: {_last(said)}",
        hint=f"try again; what was taken is commit {sha}",
    )


@contextmanager
def _one_at_a_time(where: Place) -> Iterator[None]:
    """Let the runs of one clone queue up, so that a loop which starts a hundred of them is no race at all."""
    file = os.open(where.common, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system has locks; then the pushes race
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def tip(where: Place, book: Notebook) -> str:
    """The notebook's last page as we know it, "" when we know of none."""
    return git_command.ask("rev-parse", "--verify", "--quiet", book.tracking, cwd=where.top) or ""


def fetch(where: Place, book: Notebook) -> str:
    """The notebook's last page on the remote, its history fetched; "" where there is none, or none any more.

    Never with a depth, which would make a whole clone shallow.
    """
    there = git_command.run(
        "ls-remote", "--quiet", "--exit-code", book.remote, book.branch, cwd=where.top, check=False
    )
    if there.returncode == _NOT_THERE:
        _forget(where, book)
    elif not there.returncode:
        words = ("--quiet", *_NO_EXTRAS, book.remote, f"+{book.branch}:{book.tracking}")
        git_command.run("fetch", *words, cwd=where.top, check=False)
    return tip(where, book)


def _forget(where: Place, book: Notebook) -> None:
    """Let go of a notebook that the remote has no more: it may have been deleted for what was in it."""
    if last := tip(where, book):
        git_command.run("update-ref", "-d", book.tracking, last, cwd=where.top)
        sys.stderr.write(
            f"fyre: {book.remote} has no fyre/{book.user} any more: a new one begins (it was {last})\n"
        )


def _push(where: Place, sha: str, below: str, book: Notebook) -> tuple[bool, str]:
    """Push the snapshot alone, hooks and all: whether that ref was refused, and what was said.

    The lease holds it to what we know of the remote, so that pages which were deleted there, or which another
    remote had under this name, are not published again.
    Raises ``UserError`` when it came to no answer: a hook of ours said no, the remote can't be reached.
    """
    done = git_command.run("-c", f"remote.{book.remote}.mirror=false", "push", "--quiet", "--porcelain", "--no-follow-tags",
                   "--recurse-submodules=no", f"--force-with-lease={book.branch}:{below}", book.remote,
                   f"{sha}:{book.branch}", cwd=where.top, check=False)  # fmt: skip
    said = done.stderr.decode(errors="replace")
    refused = any(line.startswith(b"!\t") for line in done.stdout.splitlines())
    if done.returncode and not refused:
        sys.stderr.write(said)
        raise UserError(
            f"the snapshot was not pushed to {book.remote}",
            hint=f"git push {book.remote} {sha}:{book.branch}",
        )
    return bool(done.returncode), said + done.stdout.decode(
        errors="replace"
    ) if done.returncode else said


def _last(said: str) -> str:
    """Why the remote refused: its own words, else git's."""
    lines = [line.strip() for line in said.splitlines()]
    return next(
        (line.split("\t")[-1] for line in lines if line.startswith("!\t")),
        lines[-1] if lines else "",
    )
