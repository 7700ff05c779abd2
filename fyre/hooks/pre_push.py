"""pre-push: say what the push will start, and hold back what can't run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from fyre.git import git_command
from fyre.message import request
from fyre.message.request import RunRequest
from fyre.runs.run import ZERO_SHA

HISTORY_SECONDS = 7 * 86400
"""Seconds: an older commit is launched by no push (the receiver's default), so nothing is said of it."""

MAX_SHOWN_RUNS = 20
"""Runs that are told one by one."""

_LAB_REF_PREFIX = "refs/heads/fyre/"


def main(argv: list[str]) -> int:
    """Look at the commits that are new to the remote ``words[0]``: 0 lets git push, 1 does not."""
    refs = [row.split() for row in _read_ref_lines() if len(row.split()) == 4]
    # Deletions start nothing, nor do tags and whatever else is no branch.
    news = [ref for ref in refs if set(ref[1]) != {"0"} and ref[2].startswith("refs/heads/")]
    if not news:
        return 0
    remote = (argv or [os.environ.get("PRE_COMMIT_REMOTE_NAME", "")])[0]
    found = list(_requesting_commits(news, remote))
    runs = [
        f"fyre: {sha[:7]} {name}: {spec.command}"
        for sha, one in found
        if not one.problems
        for name, spec in zip(one.run_names, one.runs, strict=True)
    ]
    more = [f"fyre: and {len(runs) - MAX_SHOWN_RUNS} more"] if len(runs) > MAX_SHOWN_RUNS else []
    bad = [line for sha, one in found for line in _format_problems(sha, one)]
    for line in bad or [*runs[:MAX_SHOWN_RUNS], *more]:
        print(line.encode(errors="replace").decode(), file=sys.stderr)
    return 1 if bad else 0


def _read_ref_lines() -> Iterable[str]:
    """git's lines on stdin; pre-commit reads those itself and tells them one ref at a time by its environment."""
    of = os.environ.get
    local, there = of("PRE_COMMIT_LOCAL_BRANCH", ""), of("PRE_COMMIT_REMOTE_BRANCH", "")
    if there:  # for a branch with all of history pre-commit names no commits
        return [
            " ".join(
                (
                    local,
                    of("PRE_COMMIT_TO_REF") or local,
                    there,
                    of("PRE_COMMIT_FROM_REF") or ZERO_SHA,
                )
            )
        ]
    return sys.stdin


def _requesting_commits(
    refs: list[list[str]], remote_name: str
) -> Iterable[tuple[str, RunRequest]]:
    """The new commits that ask for something, oldest first. One process, and git itself skips all other commits."""
    tips = {sha: name for _, sha, name, _ in refs}
    known = [f"^{before}" for _, _, _, before in refs if set(before) != {"0"}]
    # `=` after --remotes is a glob over refs/remotes; a remote without a name (a URL) has none there.
    there = (
        ["--not", f"--remotes={remote_name}", "--not"]
        if remote_name and "/" not in remote_name and ":" not in remote_name
        else []
    )
    said = git_command.run_git("log", "-z", "--source", "--reverse", "--no-show-signature", "--encoding=UTF-8", "--ignore-missing",
                   "--regexp-ignore-case", "--grep=^fyre-", "--format=%H %ct %S%n%B",
                   *there, *known, *tips, "--").stdout  # fmt: skip
    for entry in said.decode(errors="surrogateescape").split("\0"):
        head, _, text = entry.partition("\n")
        sha, made, tip = (*head.split(" ", 2), "", "")[:3]
        if not sha or float(made) < time.time() - HISTORY_SECONDS:
            continue
        one = request.parse_message(text)
        if one.fyre_from or not tips.get(tip, "").startswith(_LAB_REF_PREFIX):
            yield sha, one


def _format_problems(sha: str, run_request: RunRequest) -> Iterable[str]:
    for problem in run_request.problems:
        yield f"fyre: {sha[:7]} line {problem.line}: {problem.message}"
        yield f"fyre:   hint: {problem.hint or 'mend its message'} (`git commit --amend`, `git rebase -i {sha[:7]}^`)"
