"""pre-push: print the runs that the push will start, and reject those that can't run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from fyre.git import git_command
from fyre.message import request
from fyre.message.request import MessageProblem, RunRequest
from fyre.runs.run import ZERO_SHA

HISTORY_SECONDS = 7 * 86400
"""Age in seconds up to which a push launches a commit: the receiver's default.

Nothing is printed about older commits.
"""

QUIET_VARIABLE = "FYRE_PUSH_QUIET"
"""Set by ``fyre commit --push`` and ``fyre run``, which name the runs themselves."""

MAX_SHOWN_RUNS = 20
"""Number of runs that are printed one by one."""

_LAB_REF_PREFIX = "refs/heads/fyre/"


def main(argv: list[str]) -> int:
    """Check the commits that are new to the remote ``argv[0]``; return 0 to let git push."""
    refs = [line.split() for line in _read_ref_lines() if len(line.split()) == 4]
    # Only branches start runs: no deletions, no tags, no other refs.
    pushed_refs = [ref for ref in refs if set(ref[1]) != {"0"} and ref[2].startswith("refs/heads/")]
    pushed_refs = [ref for ref in pushed_refs if _has_readable_name(ref[2])]
    if not pushed_refs:
        return 0
    remote_name = (argv or [os.environ.get("PRE_COMMIT_REMOTE_NAME", "")])[0]
    requests = list(_requesting_commits(pushed_refs, remote_name))
    runs = [
        f"fyre: {sha[:7]} {name}: {_mask(spec.command)}"
        for sha, run_request in requests
        if not run_request.problems
        for name, spec in zip(run_request.run_names, run_request.runs, strict=True)
    ]
    rest = [f"fyre: and {len(runs) - MAX_SHOWN_RUNS} more"] if len(runs) > MAX_SHOWN_RUNS else []
    problems = [
        line for sha, run_request in requests for line in _format_problems(sha, run_request)
    ] + list(_config_problems([sha for sha, run_request in requests if run_request.runs]))
    shown_runs = [] if os.environ.get(QUIET_VARIABLE) else [*runs[:MAX_SHOWN_RUNS], *rest]
    for line in problems or shown_runs:
        print(line.encode(errors="replace").decode(), file=sys.stderr)
    if problems:
        return 1
    shas = [sha for sha, run_request in requests if run_request.runs]
    _warn_of_credentials(requests)
    _warn_of_submodules(shas)
    return 0 if _may_run_again(shas, remote_name) else 1


def _warn_of_submodules(shas: list[str]) -> None:
    """Say which submodules the newest of these commits has at a commit that nobody can fetch.

    It is no refusal: git calls the hook before it pushes submodules itself.
    """
    if not shas or os.environ.get(QUIET_VARIABLE) or not os.path.lexists(".gitmodules"):
        return
    from pathlib import Path

    from fyre.git import submodules

    if unpushed := submodules.find_unpushed(shas[-1], Path()):
        warning = (
            f"fyre: warning: a submodule of {shas[-1][:7]} is at a commit that is not pushed, so "
            f"its run can't fetch it: {', '.join(unpushed)}\nfyre:   hint: {submodules.HINT}"
        )
        print(warning.encode(errors="replace").decode(), file=sys.stderr)


def _warn_of_credentials(requests: list[tuple[str, RunRequest]]) -> None:
    """Name the commits whose runs seem to hold a credential: after the push it is too late."""
    shas = [
        sha[:7]
        for sha, run_request in requests
        if any(
            _mask(text) != text
            for spec in run_request.runs
            for text in (spec.command, *map("=".join, spec.env))
        )
    ]
    if shas:
        print(
            f"fyre: warning: what looks like a credential is in {', '.join(shas[:5])}, and a push "
            "shows it to everybody who reads the repository\n"
            "fyre:   hint: revoke it if it is pushed by now; else write the commit anew",
            file=sys.stderr,
        )


def _mask(command: str) -> str:
    """Return a command as it is shown, without what looks like a credential in it."""
    from fyre.message import credential_scan  # only for a push that starts something

    return credential_scan.mask_credentials(command)


def _has_readable_name(ref: str) -> bool:
    """Return False, and say so, for a branch that no forge can name to a receiver, in JSON."""
    try:
        ref.encode()
    except UnicodeEncodeError:
        shown = str(os.fsencode(ref.removeprefix("refs/heads/")))[2:-1]
        print(f"fyre: nothing runs on {shown}: the branch's name is not UTF-8", file=sys.stderr)
        return False
    return True


def _may_run_again(shas: list[str], remote_name: str) -> bool:
    """Return False if a person says that what another remote has is not to run here as well."""
    others = [name for name in _remote_names() if name != remote_name]
    if not shas or not others or remote_name not in _remote_names():
        return True
    new_everywhere = git_command.run_git(
        "rev-list", "--no-walk", *shas, "--not", *(f"--remotes={name}" for name in others), "--"
    ).stdout.decode()
    again = len(set(shas) - set(new_everywhere.split()))
    if not again:
        return True
    setting = f"remote.{remote_name}.fyreRunsAgain"
    if git_command.git_output_or_none("config", "--type=bool", "--get", setting) == "true":
        return True
    commits = "1 commit that asks" if again == 1 else f"{again} commits that ask"
    print(
        f"fyre: {commits} for runs came to another remote before: if a receiver serves "
        f"{remote_name}, all of it runs again there",
        file=sys.stderr,
    )
    if _ask("fyre: push it? [y/N] "):
        return True
    hint = f"git config {setting} true (it is not asked again), or git push --no-verify"
    print(f"fyre: not pushed\nfyre:   hint: {hint}", file=sys.stderr)
    return False


def _remote_names() -> list[str]:
    return git_command.git_output("remote").splitlines()


def _ask(question: str) -> bool:
    """Ask the person at the terminal; return True if they agree, or nobody is there to be asked.

    A hook's stdin holds the refs, so the terminal itself is read.
    """
    if not sys.stderr.isatty():
        return True
    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:  # noqa: PTH123 - no pathlib in a hook
            terminal.write(question.encode())
            return terminal.readline().strip().lower() in (b"y", b"yes")
    except OSError:
        return True


def _read_ref_lines() -> Iterable[str]:
    """Return the ref lines that git writes to stdin.

    pre-commit reads stdin itself, and gives one ref at a time in environment variables.
    """
    local_branch = os.environ.get("PRE_COMMIT_LOCAL_BRANCH", "")
    remote_branch = os.environ.get("PRE_COMMIT_REMOTE_BRANCH", "")
    if not remote_branch:
        # The name of a branch may be any bytes.
        return sys.stdin.buffer.read().decode(errors="surrogateescape").splitlines()
    # pre-commit names no commits for a branch that is pushed with all of its history
    to_ref = os.environ.get("PRE_COMMIT_TO_REF") or local_branch
    from_ref = os.environ.get("PRE_COMMIT_FROM_REF") or ZERO_SHA
    return [f"{local_branch} {to_ref} {remote_branch} {from_ref}"]


def _requesting_commits(
    refs: list[list[str]], remote_name: str
) -> Iterable[tuple[str, RunRequest]]:
    """Yield the new commits that request runs, oldest first, with their requests.

    It is one git process, and git itself skips all other commits.
    """
    tips = {sha: name for _, sha, name, _ in refs}
    old_commits = [f"^{old_sha}" for _, _, _, old_sha in refs if set(old_sha) != {"0"}]
    # --remotes=NAME is a glob over refs/remotes; a remote without a name (a URL) has no refs there.
    published = (
        ["--not", f"--remotes={remote_name}", "--not"]
        if remote_name and "/" not in remote_name and ":" not in remote_name
        else []
    )
    log_output = git_command.run_git(
        "log", "-z", "--source", "--reverse", "--no-show-signature", "--encoding=UTF-8",
        "--ignore-missing", "--regexp-ignore-case", "--grep=^fyre-", "--format=%H %ct %S%n%e%n%B",
        *published, *old_commits, *tips, "--",
    ).stdout  # fmt: skip
    for entry in log_output.decode(errors="surrogateescape").split("\0"):
        header, _, body = entry.partition("\n")
        encoding, _, text = body.partition("\n")
        sha, committed_at, tip = (*header.split(" ", 2), "", "")[:3]
        if not sha or float(committed_at) < time.time() - HISTORY_SECONDS:
            continue
        run_request = _parse_message(text, encoding)
        if run_request.fyre_from or not tips.get(tip, "").startswith(_LAB_REF_PREFIX):
            yield sha, run_request


def _parse_message(text: str, encoding: str) -> RunRequest:
    """Return what a message requests; the problem if a receiver does not read its encoding."""
    if encoding:
        from fyre.git import message_encoding  # hardly any commit names one

        try:
            message_encoding.check_encoding(encoding, text.encode(errors="surrogateescape"))
        except message_encoding.MessageEncodingError as error:
            problem = MessageProblem(0, str(error), message_encoding.HINT)
            return RunRequest(problems=(problem,))
    return request.parse_message(text)


def _format_problems(sha: str, run_request: RunRequest) -> Iterable[str]:
    for problem in run_request.problems:
        yield f"fyre: {sha[:7]} {problem.described}"
        hint = problem.hint or "fix its message"
        yield f"fyre:   hint: {hint} (`git commit --amend`, `git rebase -i {sha[:7]}^`)"


def _config_problems(shas: list[str]) -> Iterable[str]:
    """Yield the lines for commits that ask for runs with a broken ``.fyre.yaml``."""
    if not shas:
        return
    from fyre.hooks import config_check

    for sha, problem in config_check.find_committed_problems(shas).items():
        for line in f"{sha[:7]} {problem}".split("\n"):
            yield f"fyre: {line}"
        yield f"fyre:   fix it in that commit (`git commit --amend`, `git rebase -i {sha[:7]}^`)"
