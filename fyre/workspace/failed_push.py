"""Say why a remote took no push at all, and what to do about it, in its own words where it has any.

Git shows what a server says as lines that begin with ``remote:``, above an error of its own that
knows less.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from fyre.errors import TransientError
from fyre.git import git_command
from fyre.workspace import remote

_SPOKEN_MAX = 200  # characters of a remote's words that an error shows
_FULL_DISK = re.compile(r"returned error: 507\b")  # "Insufficient Storage"


class PushFailure(NamedTuple):
    """The reason why a push failed.

    ``hint`` says what to do; ``condition`` says the same after "push it again, …".
    """

    reason: str
    hint: str
    condition: str


def explain_failure(name: str, output: str, cwd: str | Path | None = None) -> PushFailure | None:
    """Return why a remote took no push; None if it wants a password, or if it can be read.

    ``output`` is what git said of that push.
    """
    address = f"git remote set-url {name} URL"
    if remote.WANTS_PASSWORD.search(output):
        return None
    if spoken := _remote_words(output):
        reason = f"{name} says: {spoken}"
        if _FULL_DISK.search(output):
            hint = "make room on the disk of its server, then try again"
            return PushFailure(reason, hint, "once there is room on that disk")
        hint = f"is that the right address, and may you push there? {address}"
        return PushFailure(reason, hint, f"once the address is right ({address})")
    if reason := remote.why_unreachable(name, cwd):
        return PushFailure(
            f"{name} can't be reached: {reason}",
            f"is the server running, and is that the right address? {address}",
            f"once its server runs and the address is right ({address})",
        )
    return None


def ask_again(name: str, cwd: str | Path | None = None) -> str:
    """Return what git says of a push to that remote that would change nothing there."""
    words = ("push", "--dry-run", "--no-verify", "--quiet", "--recurse-submodules=no", name)
    try:
        push = git_command.run_git(
            *words, "HEAD:refs/fyre/nothing", cwd=cwd, check=False,
            env=remote.NO_QUESTIONS, timeout=remote.REACH_TIMEOUT,
        )  # fmt: skip
    except TransientError:
        return ""
    return push.stderr.decode(errors="replace") if push.returncode else ""


def _remote_words(output: str) -> str:
    """Return what the remote itself said, as one line; "" if it said nothing."""
    lines = [
        line.removeprefix("remote:").strip()
        for line in output.splitlines()
        if line.startswith("remote:")
    ]
    spoken = " ".join(dict.fromkeys(line for line in lines if line))
    return "".join(character for character in spoken if character.isprintable())[:_SPOKEN_MAX]
