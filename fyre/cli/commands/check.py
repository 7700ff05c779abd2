"""``fyre check``: print what a message requests, and its errors, before anything runs."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fyre.cli import table
from fyre.errors import UserError
from fyre.git import git_command, message_encoding
from fyre.message import near_misses, request, spec_form
from fyre.message.request import RunRequest
from fyre.message.spec import RunSpec
from fyre.workspace import config_file, worktree
from fyre.workspace.config_file import CONFIG_FILE

_OTHER_CONFIG = (
    f"the runs of HEAD begin with the {CONFIG_FILE} of HEAD, which is what is shown here; "
    "the work tree has another one, which counts once it is committed"
)

_NO_CONFIG_YET = (
    f"HEAD has no {CONFIG_FILE}, so its runs begin without one; that of the work tree counts once "
    "it is committed"
)

_SEE_FIXED = "`fyre check` shows it fixed"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """An error to fix; ``where`` is ``message`` or the file's name, ``line`` counts from 1."""

    where: str
    line: int
    message: str
    hint: str


def main(
    source: Annotated[
        str,
        typer.Argument(
            metavar="[REV | FILE | -]",
            help="What to read: a commit, a file that holds a commit message, or - for stdin.",
        ),
    ] = "HEAD",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print the runs that a commit's message asks for, with what .fyre.yaml adds to them, and what
    is wrong with either.

    The .fyre.yaml is that of the commit; for a FILE and for - it is that of the work tree. Exits
    with 1 when something is wrong. Where a file and a commit have the same name, the file is read.
    """
    text, config, encoding = _read_message_and_config(source)
    run_request = request.parse_message(text)
    diagnostics = [
        *_diagnose_encoding(encoding, text),
        *diagnose_message(text, run_request),
        *(diagnose_config(config) if config is not None else []),
    ]
    notes = _list_notes(source, text, run_request)
    draft = _worktree_config() if source == "HEAD" else config
    if (draft or "").rstrip() != (config or "").rstrip():
        notes.append(_OTHER_CONFIG if config is not None else _NO_CONFIG_YET)
        diagnostics += [
            replace(one, message=f"{one.message} (in the work tree, not in HEAD)")
            for one in (diagnose_config(draft) if draft is not None else [])
        ]
    runs = _runs_to_dicts(run_request, config or "")
    if as_json:
        import json

        data = {
            "runs": runs,
            "errors": [asdict(diagnostic) for diagnostic in diagnostics],
        }
        print(json.dumps(data | ({"notes": notes} if notes else {}), indent=2))
    else:
        _print_diagnosis(text, runs, diagnostics)
        for note in notes:
            print(_escape_lines(f"note: {note}"), file=sys.stderr)
    if diagnostics:
        raise SystemExit(1)


def _read_message_and_config(source: str) -> tuple[str, str | None, str]:
    """Return the message, the text of the .fyre.yaml that goes with it, if any, and the encoding.

    The encoding is the one that a commit names, "" for none.

    Raises ``UserError`` if there is no message.
    """
    if source == "-":
        return _decode_bytes(sys.stdin.buffer.read()), _worktree_config(), ""
    path = Path(source)
    if path.is_file():
        text = _decode_bytes(path.read_bytes())
        return near_misses.strip_comments(text, _git_comment_char()), _worktree_config(), ""
    sha = git_command.git_output_or_none(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{source}^{{commit}}"
    )
    if sha is None:
        raise _missing_source_error(source)
    encoding, _, text = git_command.git_output(
        "log", "-1", "--encoding=UTF-8", "--no-show-signature", "--format=%e%n%B", sha, "--"
    ).partition("\n")
    return text, config_file.read_committed_config(sha), encoding


def _missing_source_error(source: str) -> UserError:
    """Return the error for what is no commit and no file. Raises it for no repository."""
    worktree.require_repository()
    if source == "HEAD":
        return UserError("there is no commit yet", hint="commit first, or give a FILE or -")
    hint = "give a revision, a file, or - for stdin"
    if Path(source).is_dir():
        return UserError(f"{source[:100]!r} is a directory", hint=hint)
    return UserError(f"there is no commit and no file {source[:100]!r}", hint=hint)


def _list_notes(source: str, text: str, run_request: RunRequest) -> list[str]:
    """Return what looks like a trailer, and what a merge or GitHub's own words do to the runs."""
    from fyre.message import merge_hints, trailer_slips
    from fyre.workspace import fork, merge_queue

    notes = [
        *trailer_slips.list_notes(text),
        *merge_hints.list_hints(text, run_request),
        *_credential_notes(run_request),
    ]
    if not run_request.runs:
        return notes
    if source == "HEAD" and (hint := merge_hints.squash_hint(_count_requesting_commits())):
        notes.append(hint)
    if fork.comes_from_fork():
        notes.append(merge_hints.FORK)
    top = git_command.git_output_or_none("rev-parse", "--show-toplevel")
    if top and merge_queue.has_merge_queue(Path(top)):
        notes.append(merge_hints.MERGE_QUEUE)
    return notes


def _credential_notes(run_request: RunRequest) -> list[str]:
    """Return a note on each run that seems to hold a credential: everybody would read it."""
    from fyre.message.credential_scan import find_credentials

    return [
        f"{name} holds what looks like {found[0].kind}, and commits are for ever: --secret, or a "
        "file that is not committed, instead"
        for name, spec in zip(run_request.run_names, run_request.runs, strict=True)
        if (found := find_credentials("\n".join([spec.command, *map("=".join, spec.env)])))
    ]


def _count_requesting_commits() -> int:
    """Return how many commits of a topic branch ask for runs; 0 on the default branch."""
    default = git_command.git_output_or_none(
        "for-each-ref", "--count=1", "--format=%(symref:lstrip=3)", "refs/remotes/*/HEAD"
    )
    branch = git_command.git_output_or_none("symbolic-ref", "--quiet", "--short", "HEAD")
    if not default or branch in (None, default):
        return 0
    messages = git_command.git_output_or_none(
        "log", "-z", "--max-count=100", "--encoding=UTF-8", "--no-show-signature", "--format=%B",
        "--regexp-ignore-case", "--grep=^fyre-run", "HEAD", "--not", "--glob=refs/remotes/*/HEAD",
        "--",
    )  # fmt: skip
    return sum(bool(request.parse_message(one).runs) for one in (messages or "").split("\0"))


def _diagnose_encoding(encoding: str, text: str) -> list[Diagnostic]:
    """Return the error of a commit whose message a receiver does not read."""
    try:
        message_encoding.check_encoding(encoding, text.encode(errors="surrogateescape"))
    except message_encoding.MessageEncodingError as error:
        return [Diagnostic("message", 1, str(error), message_encoding.HINT)]
    return []


def _decode_bytes(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _git_comment_char() -> str:
    char = git_command.git_output_or_none("config", "core.commentChar") or "#"
    return "#" if char == "auto" else char


def _worktree_config() -> str | None:
    """Return the text of the .fyre.yaml at the top of the current work tree, if any."""
    top = git_command.git_output_or_none("rev-parse", "--show-toplevel")
    return config_file.read_worktree_config(Path(top or "."))


def diagnose_message(text: str, run_request: RunRequest) -> list[Diagnostic]:
    """Return the errors of a message."""
    near_miss_diagnostics = [
        Diagnostic(
            "message",
            near_miss.line,
            f"{near_miss.text.strip()!r}: {near_miss.reason}",
            _SEE_FIXED,
        )
        for near_miss in near_misses.find_near_misses(text)
    ]
    problems = [
        Diagnostic("message", problem.line, problem.message, problem.hint)
        for problem in run_request.problems
    ]
    return sorted([*near_miss_diagnostics, *problems], key=lambda diagnostic: diagnostic.line)


def diagnose_config(text: str) -> list[Diagnostic]:
    """Return the error of a ``.fyre.yaml``, if any."""
    from fyre.runs import repo_config  # loads PyYAML and jsonschema: only if there is a file

    try:
        repo_config.parse_repo_config(text)
    except repo_config.RepoConfigError as error:
        return [Diagnostic(CONFIG_FILE, error.line, error.message, error.hint)]
    return []


def _runs_to_dicts(run_request: RunRequest, config: str) -> list[dict[str, Any]]:
    """Return each run as plain data, without the values that were not given.

    ``defaults`` holds what the text of the ``.fyre.yaml`` adds to it.
    """
    named_specs = [*zip(run_request.run_names, run_request.runs, strict=True)]
    runs = [
        {"name": name, "command": spec.command} | _spec_to_dict(spec) for name, spec in named_specs
    ]
    if not config or diagnose_config(config):
        return runs
    from fyre.runs import repo_config

    defaults = repo_config.parse_repo_config(config)
    for run, (name, spec) in zip(runs, named_specs, strict=True):
        merged = _spec_to_dict(repo_config.apply_repo_defaults(spec, name, defaults))
        added = {key: _added_values(run.get(key), value) for key, value in merged.items()}
        run["defaults"] = {key: value for key, value in added.items() if value not in _EMPTY}
    return [{key: value for key, value in run.items() if value != {}} for run in runs]


_EMPTY: tuple[Any, ...] = (None, (), {})
"""Values that were not given."""


def _spec_to_dict(spec: RunSpec) -> dict[str, Any]:
    return {
        key: dict(value) if key in ("resources", "env", "metric_goals") else value
        for key, value in spec_form.to_json(spec).items()
        if key not in ("name", "command") and value not in (None, ())
    }


def _added_values(own: Any, merged: Any) -> Any:  # noqa: ANN401 - any value of a run
    """Return what a merged value has and a run's own has not; None for nothing."""
    if isinstance(merged, dict):
        return {key: value for key, value in merged.items() if key not in (own or {})}
    if isinstance(merged, tuple):
        return tuple(value for value in merged if value not in (own or ()))
    return merged if own is None else None


def _print_diagnosis(text: str, runs: list[dict[str, Any]], diagnostics: list[Diagnostic]) -> None:
    """Print the runs to stdout, for people, and the errors to stderr."""
    for run in runs:
        print(_escape_lines(f"{run['name']}: {_show_value('command', run['command'])}"))
        for key, value in run.items():
            if key not in ("name", "command", "defaults"):
                print(_escape_lines(f"  {key}: {_show_value(key, value)}"))
        for key, value in run.get("defaults", {}).items():
            print(_escape_lines(f"  {key}: {_show_value(key, value)} (from {CONFIG_FILE})"))
    for diagnostic in diagnostics:
        print(
            _escape_lines(f"{diagnostic.where} line {diagnostic.line}: {diagnostic.message}"),
            file=sys.stderr,
        )
        if diagnostic.hint and diagnostic.hint != _SEE_FIXED:  # it is shown below
            print(_escape_lines(f"  hint: {diagnostic.hint}"), file=sys.stderr)
    fixed_text = near_misses.fix_near_misses(text)
    if fixed_text != text and near_misses.find_near_misses(text):
        print(_escape_lines(f"fixed, the message reads:\n\n{fixed_text}"), file=sys.stderr)
    elif not runs and not diagnostics:
        print("nothing to run", file=sys.stderr)


def _show_value(key: str, value: Any) -> str:  # noqa: ANN401 - any value of a run
    """Return a value for people, without what looks like a credential in it."""
    from fyre.message.credential_scan import mask_credentials

    return mask_credentials(_format_value(key, value))


def _format_value(key: str, value: Any) -> str:  # noqa: ANN401 - any value of a run
    from fyre.message import value_parsers

    if key == "timeout":
        return value_parsers.format_duration(value)
    if key == "setup":
        return "; ".join(value)
    if isinstance(value, dict):
        return " ".join(f"{name}={item}" for name, item in value.items())
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _escape_lines(text: str) -> str:
    """Return the text without invalid UTF-8 and without control characters, for any terminal."""
    return "\n".join(
        map(table.escape_unprintable, text.encode(errors="replace").decode().split("\n"))
    )
