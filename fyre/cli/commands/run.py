"""``fyre run``: a command on the working tree as it is, without touching HEAD, the index or the branch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from fyre.errors import UserError
from fyre.message import compose, credential_scan, request
from fyre.message.request import REFINES, Asked
from fyre.workspace import lab_branch, snapshot
from fyre.workspace import remote as remotes
from fyre.workspace.snapshot import Look, Place

CONTEXT = {
    "allow_interspersed_args": False
}  # the command's own options are its own, with or without a `--`

_Words = Annotated[
    list[str],
    typer.Argument(metavar="-- CMD…", help="One word is for the shell; several are quoted."),
]
_Many = Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be given again.")]
_Secrets = Annotated[
    list[str] | None, typer.Option(help="A secret of the cluster, by name; may be given again.")
]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: what is left when the command and its refinements are taken away."""

    note: str = ""
    remote: str = ""
    rev: str = ""
    yes: bool = False
    detach: bool = False
    as_json: bool = False
    dry_run: bool = False
    local: bool = False
    keep: bool = False


def main(
    words: _Words,
    *,
    name: Annotated[str, typer.Option(help="Its name; the status is fyre/NAME.")] = "",
    profile: Annotated[str, typer.Option(help="A profile of the cluster.")] = "",
    image: Annotated[str, typer.Option(help="A container image.")] = "",
    resources: Annotated[
        str, typer.Option(help='Such as "cpu=4 memory=16Gi nvidia.com/gpu=1".')
    ] = "",
    timeout: Annotated[str, typer.Option(help="Such as 30m or 2h.")] = "",
    retries: Annotated[str, typer.Option(help="Further starts after one that failed.")] = "",
    env: _Many = None,
    secret: _Secrets = None,
    workdir: Annotated[str, typer.Option(help="A directory of the checkout.")] = "",
    note: Annotated[
        str, typer.Option("-m", "--message", help="A note in the snapshot's message.")
    ] = "",
    remote: Annotated[str, typer.Option(help="The remote to push the snapshot to.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Publish without asking.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the SHA and do not follow.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --detach: print JSON.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run on what, and do nothing.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Run here, on a clean checkout; push nothing.")
    ] = False,
    commit: Annotated[str, typer.Option(help="With --local: run on this commit.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="With --local: keep the checkout.")] = False,
    allow_credential: Annotated[
        bool, typer.Option("--allow-credential", help="Even if it seems to hold one.")
    ] = False,
) -> None:
    """Run a command on the working tree as it is, uncommitted and new files included, and follow its output.

    A snapshot goes to your lab branch, fyre/USER, and nothing else changes. Exits with the command's own code.
    """
    one = {"--name": name, "--profile": profile, "--image": image, "--resources": resources, "--timeout": timeout,
           "--retries": retries, "--workdir": workdir}  # fmt: skip
    many = {"--env": env or [], "--secret": secret or []}
    given = [*one.items(), *((key, value) for key, values in many.items() for value in values)]
    pairs = [
        ("Fyre-Run", compose.command_of(words)),
        *((REFINES[key], value) for key, value in given if value),
    ]
    options = Options(note, remote, commit, yes, detach, as_json, dry_run, local, keep)
    _refuse_mixed(options)
    if not allow_credential:
        credential_scan.refuse(*(value for key, value in pairs if key in ("Fyre-Run", "Fyre-Env")))
    raise SystemExit((_here if local else _there)(pairs, options))


def _refuse_mixed(options: Options) -> None:
    """Raise ``UserError`` for options that do not go together."""
    for given, needed, name, other in (
        (options.rev, options.local, "--commit", "--local"),
        (options.keep, options.local, "--keep", "--local"),
        (options.as_json, options.detach, "--json", "--detach"),
    ):
        if given and not needed:
            raise UserError(f"{name} goes with {other}", hint="see `fyre run --help`", code=2)
    if options.local and (options.detach or options.remote):
        raise UserError(
            "--local runs here, and follows", hint="leave out --detach and --remote", code=2
        )


def _there(pairs: compose.Pairs, options: Options) -> int:
    """Snapshot, push, follow."""
    where = snapshot.place()
    book = lab_branch.notebook(where, options.remote)
    forge = None if options.detach or options.dry_run else remotes.of(where.top, book.remote)
    seen = snapshot.look(where)
    text = lab_branch.minted(pairs, options.note, seen.head)
    wants = request.read(text)
    snapshot.refuse(where, seen)
    doubts = lab_branch.doubts(where, seen, book)
    if options.dry_run:
        return _tell(seen, wants, doubts)
    lab_branch.confirm(doubts, book, yes=options.yes)
    tree = snapshot.write(where)
    _note(*tree.notes, *_place(where, wants))
    sha = lab_branch.publish(where, seen, tree.sha, text, book)
    if forge is None:
        _print(sha, book, wants, as_json=options.as_json)
        return 0
    _note(f"{sha[:7]} on fyre/{book.user}: {wants.runs[0].command}")
    return _follow(forge, sha, wants.names[0])


def _follow(forge: remotes.Remote, sha: str, name: str) -> int:
    """The run's output and its exit code; Ctrl-C lets go of it."""
    try:
        from fyre.cli import follow  # with all that speaks HTTP: not before the push

        return follow.follow(forge, sha, f"fyre/{name}")
    except KeyboardInterrupt:
        _note(
            "the run goes on",
            f"its output: fyre logs -f {sha[:12]}",
            f"to end it: fyre cancel {sha[:12]}",
        )
        return 130


def _here(pairs: compose.Pairs, options: Options) -> int:
    """Run on a clean checkout here: of a commit that is there, or of a snapshot that no ref will hold."""
    from fyre.apps import local_run

    where = snapshot.place()
    sha = local_run.commit_of(where, options.rev) if options.rev else ""
    seen = None if sha else snapshot.look(where)
    text = lab_branch.minted(pairs, options.note, seen.head if seen else "")
    wants = request.read(text)
    if seen:
        snapshot.refuse(where, seen)
    if options.dry_run:
        return _tell(seen, wants, [])
    _note(*_place(where, wants))
    if seen:
        tree = snapshot.write(where)
        _note(*tree.notes)
        sha = snapshot.commit(where, tree.sha, (seen.head,), text, sign=False)
    return local_run.go(where, sha, wants.runs[0], name=wants.names[0], keep=options.keep)


def _place(where: Place, wants: Asked) -> list[str]:
    """What to say to whoever stands below the top and may expect the command to run there."""
    below = where.prefix.rstrip("/")
    if not below or wants.runs[0].workdir:
        return []
    return [f"the command runs at the repository's top; --workdir {below} runs it here"]


def _tell(seen: Look | None, wants: Asked, doubts: list[str]) -> int:
    """A dry run: what differs from HEAD, what would run, what would be asked about."""
    for letters, path in seen.changed if seen else ():
        print(f"{letters.replace('.', ' ')} {snapshot.some([path])}")
    print(f"{wants.names[0]}: {wants.runs[0].command}")
    _note(*(f"would ask: {line}" for line in doubts))
    return 0


def _print(sha: str, book: lab_branch.Notebook, wants: Asked, *, as_json: bool) -> None:
    """The SHA, for whoever follows it later."""
    if as_json:
        runs = [{"name": wants.names[0], "command": wants.runs[0].command}]
        print(
            json.dumps(
                {
                    "sha": sha,
                    "remote": book.remote,
                    "ref": book.branch,
                    "fyre_id": wants.fyre_id,
                    "runs": runs,
                }
            )
        )
    else:
        print(sha)


def _note(*lines: str) -> None:
    for line in lines:
        print(f"fyre: {line}".encode(errors="replace").decode(), file=sys.stderr)
