"""``fyre check``: what a message asks for, and what is wrong with it, before anything runs."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fyre.cli import table
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import near_misses, request
from fyre.message import spec as specs
from fyre.message.request import Asked
from fyre.workspace import worktree

FILE = ".fyre.yaml"


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something to mend. ``where`` is ``message`` or the name of the file, ``line`` counts from 1."""

    where: str
    line: int
    message: str
    hint: str


def main(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[REV | FILE | -]", help="A revision, a file with a message, or - for stdin."
        ),
    ] = "HEAD",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a commit's message asks for, and what is wrong with it and with .fyre.yaml.

    Exits with 1 when something is wrong. A file of the name wins over a revision of that name.
    """
    text, config = _read(what)
    found = request.read(text)
    wrong = [*of_message(text, found), *(of_config(config) if config is not None else [])]
    if as_json:
        import json

        print(
            json.dumps({"runs": _runs(found), "errors": [asdict(one) for one in wrong]}, indent=2)
        )
    else:
        _tell(text, found, wrong)
    if wrong:
        raise SystemExit(1)


def _read(what: str) -> tuple[str, str | None]:
    """The message, and the text of the .fyre.yaml that goes with it. Raises ``UserError`` where there is none."""
    if what == "-":
        return _decoded(sys.stdin.buffer.read()), _of_worktree()
    path = Path(what)
    if path.is_file():
        text = _decoded(path.read_bytes())
        return near_misses.strip_comments(text, _comment_char()), _of_worktree()
    sha = git_command.ask(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{what}^{{commit}}"
    )
    if sha is None:
        worktree.required()
        hint = (
            "commit first, or give a FILE or -"
            if what == "HEAD"
            else "give a revision, a file, or - for stdin"
        )
        raise UserError(f"there is no commit and no file {what[:100]!r}", hint=hint)
    text = git_command.out(
        "log", "-1", "--encoding=UTF-8", "--no-show-signature", "--format=%B", sha, "--"
    )
    return text, _of_worktree() if what == "HEAD" else git_command.ask("show", f"{sha}:{FILE}")


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _comment_char() -> str:
    char = git_command.ask("config", "core.commentChar") or "#"
    return "#" if char == "auto" else char


def _of_worktree() -> str | None:
    """The .fyre.yaml at the top of the work tree we stand in, if any."""
    top = git_command.ask("rev-parse", "--show-toplevel")
    path = Path(top or ".") / FILE
    return _decoded(path.read_bytes()) if path.is_file() else None


def of_message(text: str, found: Asked) -> list[Wrong]:
    """What is wrong with a message."""
    alike = [
        Wrong(
            "message", one.line, f"{one.text.strip()!r}: {one.why}", "`fyre check` shows it mended"
        )
        for one in near_misses.find(text)
    ]
    problems = [Wrong("message", one.line, one.message, one.hint) for one in found.problems]
    return sorted([*alike, *problems], key=lambda one: one.line)


def of_config(text: str) -> list[Wrong]:
    """What is wrong with a ``.fyre.yaml``."""
    from fyre.runs import repo_config  # PyYAML and jsonschema, only where there is such a file

    try:
        repo_config.read(text)
    except repo_config.BadFileError as error:
        return [Wrong(FILE, error.line, error.message, error.hint)]
    return []


def _runs(found: Asked) -> list[dict[str, Any]]:
    """Each run as plain data; what was not said is left out."""
    return [
        {
            "name": name,
            "command": spec.command,
            **{key: dict(value) if key in ("resources", "env") else value
               for key, value in specs.to_json(spec).items()
               if key not in ("name", "command") and value not in (None, ())},
        }
        for name, spec in zip(found.names, found.runs, strict=True)
    ]  # fmt: skip


def _tell(text: str, found: Asked, wrong: list[Wrong]) -> None:
    """The runs on stdout, for people; what is wrong on stderr."""
    for run in _runs(found):
        print(_printable(f"{run.pop('name')}: {run.pop('command')}"))
        for key, value in run.items():
            print(_printable(f"  {key}: {_shown(key, value)}"))
    for one in wrong:
        print(_printable(f"{one.where} line {one.line}: {one.message}"), file=sys.stderr)
        if one.hint:
            print(_printable(f"  hint: {one.hint}"), file=sys.stderr)
    mended = near_misses.mend(text)
    if mended != text and near_misses.find(text):
        print(_printable(f"mended, the message reads:\n\n{mended}"), file=sys.stderr)
    elif not found.runs and not wrong:
        print("nothing to run", file=sys.stderr)


def _shown(key: str, value: Any) -> str:  # noqa: ANN401 - whatever a Spec holds
    from fyre.message import notation

    if key == "timeout":
        return notation.text_of(value)
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items())
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _printable(text: str) -> str:
    """What any terminal can be given: no bytes that are not UTF-8, no control characters."""
    return "\n".join(map(table.printable, text.encode(errors="replace").decode().split("\n")))
