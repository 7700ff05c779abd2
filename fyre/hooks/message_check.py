"""Check a commit message that mentions Fyre, for the commit-msg hook."""

from __future__ import annotations

import os
import sys

from fyre.hooks.message_file import MessageDraft
from fyre.message import compose, fyre_ids, near_misses, request, trailer_slips, trailers
from fyre.message.request import RunRequest

CREDENTIAL_WORDS = (
    "akia", "asia", "gh", "github_pat_", "glpat-", "xox", "aiza", "hf_", "npm_", "pypi-", "sk-",
    "sk_", "eyj", "private key-----", "://", "authorization", "pass", "pwd", "secret", "token",
    "key",
)  # fmt: skip
"""Words without which ``credential_scan`` finds nothing: to load it takes a hook's time."""


_PARENTS_ASKED = 6
"""Processes between this one and git: the hook's shell, and those of a program that runs hooks."""


def check_message_file(path: str) -> int:
    """Print the problems of a message and return 1, or add a missing Fyre-Id and return 0."""
    draft = MessageDraft(path)
    run_request = request.parse_message(draft.kept_text)
    problems = _near_miss_lines(draft) + _problem_lines(run_request)
    config_problem = _find_config_problem(draft, run_request)
    if problems or config_problem:
        fixed_text = near_misses.fix_near_misses(draft.kept_text)
        fixed_lines = (
            ["fixed, it reads:", "", _indent_text(fixed_text), ""]
            if fixed_text != draft.kept_text
            else []
        )
        again = f"git commit {_amend_option()}-e -F {path}"
        advice = f"your message is kept; fix it with: {again}"
        if config_problem:
            advice = f"your message is kept: fix .fyre.yaml, add it, {again}"
            problems.append(config_problem)
        lines = ["fyre: not committed", *problems, *fixed_lines, advice]
        print("\n".join(lines).encode(errors="replace").decode(), file=sys.stderr)
        return 1
    _warn_of_credentials(run_request)
    for note in trailer_slips.list_notes(draft.kept_text):
        print(f"fyre: note: {note}".encode(errors="replace").decode(), file=sys.stderr)
    if run_request.runs and not run_request.fyre_id:
        _add_fyre_id(draft)
    return 0


def _amend_option() -> str:
    """Return ``--amend`` and a blank if git was told so, as one of the parent processes; else "".

    Git tells this hook nothing of it. Where there is no /proc, it is not known: then both is said.
    """
    process = os.getppid()
    for _ in range(_PARENTS_ASKED):
        try:
            # no pathlib in a hook: it is too slow to load
            with open(f"/proc/{process}/cmdline", "rb") as file:  # noqa: PTH123
                words = file.read().split(b"\0")
            with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
                process = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return "" if os.path.isdir("/proc/self") else "[--amend] "  # noqa: PTH112
        if b"commit" in words:
            return "--amend " if b"--amend" in words else ""
    return ""


def _find_config_problem(draft: MessageDraft, run_request: RunRequest) -> str:
    """Return what is wrong with the ``.fyre.yaml`` of a commit that asks for runs."""
    if not run_request.runs or not _may_have_config(draft):
        return ""
    from fyre.hooks import config_check

    return config_check.find_staged_problem()


def _may_have_config(draft: MessageDraft) -> bool:
    """Return False if no ``.fyre.yaml`` is about to be committed: git need not be asked.

    The index holds each name as it is in versions 2 and 3 (gitformat-index(5)), unless a part of
    it is in another file, which the extension "link" names.
    """
    path = os.environ.get("GIT_INDEX_FILE") or f"{draft.git_dir}/index"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            index = file.read()
    except OSError:
        return False
    is_plain = index[4:8] in {b"\0\0\0\2", b"\0\0\0\3"} and b"link" not in index
    return not is_plain or b".fyre.yaml\0" in index


def _warn_of_credentials(run_request: RunRequest) -> None:
    """Say which run holds what looks like a credential; the person may mean it."""
    texts = [
        (line, text)
        for line, spec in zip(run_request.run_lines, run_request.runs, strict=True)
        for text in (spec.command, *(f"{name}={value}" for name, value in spec.env))
    ]
    lower = "\n".join(text for _, text in texts).lower()
    if not any(word in lower for word in CREDENTIAL_WORDS):
        return
    from fyre.message import credential_scan

    for line, text in texts:
        for credential in credential_scan.find_credentials(text)[:1]:
            shown = credential_scan.mask_credentials(text)[:200]
            warning = (
                f"fyre: warning: the run of line {line} holds what looks like {credential.kind}, "
                f"and commits are for ever: {shown}\n"
                "  hint: keep it in a secret of the cluster and name that with Fyre-Secret; "
                "then git commit --amend"
            )
            print(warning.encode(errors="replace").decode(), file=sys.stderr)


def _near_miss_lines(draft: MessageDraft) -> list[str]:
    """Return a line for each text that looks like a trailer and is none.

    A rebase that squashes commits is full of such lines, so none are returned then.
    """
    # no pathlib in a hook: it is too slow to load
    if os.path.isdir(os.path.join(draft.git_dir, "rebase-merge")):  # noqa: PTH112, PTH118
        return []
    return [
        f"line {near_miss.line}: {near_miss.text.strip()!r}: {near_miss.reason}"
        for near_miss in near_misses.find_near_misses(draft.kept_text)
    ]


def _problem_lines(run_request: RunRequest) -> list[str]:
    lines = []
    for problem in run_request.problems:
        lines.append(f"line {problem.line}: {problem.message}")
        lines += [f"  hint: {problem.hint}"] if problem.hint else []
    return lines


def _indent_text(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.rstrip("\n").split("\n"))


def _add_fyre_id(draft: MessageDraft) -> None:
    """Add a new Fyre-Id below the last of Fyre's trailers, and change nothing else."""
    fyre_trailers = [
        trailer for trailer in trailers.parse(draft.kept_text) if trailer.key[:5].lower() == "fyre-"
    ]
    index = draft.find_line(fyre_trailers[-1])
    if index < 0:
        return  # without an id, the commit is known by its SHA
    lines = compose.split_lines(draft.text)
    index = compose.trailer_end_line(lines, index + 1)
    if not lines[index - 1].endswith("\n"):
        lines[index - 1] += "\n"
    line_end = "\r\n" if lines[index - 1].endswith("\r\n") else "\n"
    draft.write_lines(
        [*lines[:index], f"Fyre-Id: {fyre_ids.new_fyre_id()}{line_end}", *lines[index:]]
    )
