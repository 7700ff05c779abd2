"""``fyre run``: run a command on the work tree as it is; HEAD, index and branch stay untouched."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from fyre.cli import progress
from fyre.errors import UserError
from fyre.message import compose, credential_scan, output_notation, request
from fyre.message.request import OPTION_TRAILERS, RunRequest
from fyre.runs import results
from fyre.workspace import config_file, lab_branch, publish_check, snapshot
from fyre.workspace import remote as remotes
from fyre.workspace.snapshot import RepoPaths, SnapshotTree, WorktreeStatus

# options after the first word of the command belong to the command, with or without a `--`
CONTEXT = {"allow_interspersed_args": False}

_CommandArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="-- CMD…",
        help="The command. In one pair of quotes it is a line for the shell: -- 'a && b > c'; "
        "otherwise each word is taken as it is: -- python train.py --lr 3e-4.",
    ),
]
_EnvOption = Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be given again.")]
_SecretOption = Annotated[
    list[str] | None, typer.Option(help="A secret of the cluster, by name; may be given again.")
]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `fyre run`, apart from the command and the options that become trailers."""

    note: str = ""
    remote_name: str = ""
    rev: str = ""
    assume_yes: bool = False
    detach: bool = False
    as_json: bool = False
    dry_run: bool = False
    local: bool = False
    keep_checkout: bool = False


def main(
    words: _CommandArgument,
    *,
    name: Annotated[str, typer.Option(help="Its name; the status is fyre/NAME.")] = "",
    profile: Annotated[str, typer.Option(help="A profile of the cluster.")] = "",
    image: Annotated[str, typer.Option(help="A container image.")] = "",
    resources: Annotated[
        str, typer.Option(help='Such as "cpu=4 memory=16Gi nvidia.com/gpu=1".')
    ] = "",
    timeout: Annotated[str, typer.Option(help="Such as 30m or 2h.")] = "",
    retries: Annotated[str, typer.Option(help="Further starts after one that failed.")] = "",
    env: _EnvOption = None,
    secret: _SecretOption = None,
    workdir: Annotated[
        str, typer.Option(help="A directory of the checkout; without it, where you are.")
    ] = "",
    output: Annotated[
        list[str] | None,
        typer.Option(help="Files to keep: model.pt, ckpt/, plots/*.png; may be given again."),
    ] = None,
    note: Annotated[str, typer.Option(help="A note, which `fyre log` shows.")] = "",
    message: Annotated[
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
    """Run a command on the working tree as it is, with all uncommitted files; follow its output.

    A snapshot goes to your lab branch, and nothing else changes. The branch is fyre/USER, where
    USER is `git config fyre.user`, else the part of your user.email before the @. Exits with the
    command's own code.
    """
    prefix = "" if workdir else snapshot.locate_repo().prefix
    single = {
        "--name": name,
        "--profile": profile,
        "--image": image,
        "--resources": resources,
        "--timeout": timeout,
        "--retries": retries,
        "--workdir": workdir or prefix.rstrip("/"),
        "--note": note,
    }
    outputs = [output_notation.below(prefix, path) for path in output or []]
    repeated = {"--env": env or [], "--secret": secret or [], "--output": outputs}
    options_given = [
        *single.items(),
        *((key, value) for key, values in repeated.items() for value in values),
    ]
    if not "".join(words).strip():
        raise UserError("the command is empty", hint="fyre run -- python train.py", exit_code=2)
    pairs = [
        ("Fyre-Run", compose.command_from_words(words)),
        *((OPTION_TRAILERS[key], value) for key, value in options_given if value),
    ]
    compose.reject_bad_options(pairs)
    options = RunOptions(message, remote, commit, yes, detach, as_json, dry_run, local, keep)
    _reject_option_conflicts(options)
    if not allow_credential:
        credential_scan.reject_credentials(
            *(value for key, value in pairs if key in ("Fyre-Run", "Fyre-Env"))
        )
    raise SystemExit((_run_locally if local else _run_remotely)(pairs, options))


def _reject_option_conflicts(options: RunOptions) -> None:
    """Raise ``UserError`` for options that do not go together."""
    for is_given, allowed, option, needed_option in (
        (options.rev, options.local, "--commit", "--local"),
        (options.keep_checkout, options.local, "--keep", "--local"),
        (options.as_json, options.detach, "--json", "--detach"),
    ):
        if is_given and not allowed:
            raise UserError(
                f"{option} goes with {needed_option}", hint="see `fyre run --help`", exit_code=2
            )
    if options.local and (options.detach or options.remote_name):
        raise UserError(
            "--local runs here, and follows", hint="leave out --detach and --remote", exit_code=2
        )


_LOOKING = "looking for what has changed"

_SLOW_PUSH_BYTES = 10_000_000
"""Bytes of changed files whose push is named before it begins: git may ask for a password in it,
and a line in the middle of that would be in the way."""


def _write_tree(
    repo_paths: RepoPaths, sizes: Mapping[str, int], run_request: RunRequest
) -> SnapshotTree:
    """Write the work tree as a tree object, and print the notes about it.

    ``sizes`` are those of the changed files, in bytes.
    """
    files = f"{len(sizes)} changed file{'s' * (len(sizes) != 1)}"
    total = results.format_bytes(sum(sizes.values()))
    with progress.name_slow_step(f"storing {files}, {total}, in git"):
        tree = snapshot.write_tree(repo_paths)
    _print_notes(*tree.notes)
    snapshot.reject_missing_workdir(repo_paths, tree.sha, run_request.runs[0].workdir)
    return tree


def _changed_sizes(repo_paths: RepoPaths, status: WorktreeStatus) -> dict[str, int]:
    return publish_check.file_sizes(repo_paths.top, [path for _, path in status.changed])


def _run_remotely(pairs: compose.TrailerPairs, options: RunOptions) -> int:
    """Push a snapshot and follow its run; return the exit code."""
    repo_paths = snapshot.locate_repo()
    branch = lab_branch.find_lab_branch(repo_paths, options.remote_name)
    remote_info = (
        None
        if options.detach or options.dry_run
        else remotes.resolve_remote(repo_paths.top, branch.remote_name)
    )
    with progress.name_slow_step(_LOOKING):
        status = snapshot.read_status(repo_paths)
    text = lab_branch.compose_message(pairs, options.note, status.head)
    run_request = request.parse_message(text)
    snapshot.reject_unrepresentable(repo_paths, status)
    config = config_file.read_worktree_config(repo_paths.top)
    config_file.reject_bad_config(config, "nothing was published")
    with progress.name_slow_step("looking for secrets and large files"):
        publish_warnings = lab_branch.list_publish_warnings(repo_paths, status, branch)
    if options.dry_run:
        place = f"would be pushed to {branch.remote_name}, as fyre/{branch.user}"
        return _print_dry_run(status, run_request, publish_warnings, place)
    if publish_warnings and not options.assume_yes:  # nobody is asked in vain
        remotes.reject_missing_server(branch.remote_name, repo_paths.top)
    lab_branch.confirm_publish(publish_warnings, branch, assume_yes=options.assume_yes)
    sizes = _changed_sizes(repo_paths, status)
    tree = _write_tree(repo_paths, sizes, run_request)
    if tree.lfs_files and not _is_local_forge(repo_paths, branch):
        _print_notes(
            "the run sees the content of these files only if its receiver takes Git LFS: "
            + snapshot.format_paths(tree.lfs_files)
        )
    if sum(sizes.values()) >= _SLOW_PUSH_BYTES:
        progress.name_step(f"pushing it to {branch.remote_name}")
    sha = lab_branch.push_snapshot(repo_paths, status, tree.sha, text, branch)
    if remote_info is None:
        _print_submission(sha, branch, run_request, as_json=options.as_json)
        return 0
    _print_notes(f"{sha[:7]} on fyre/{branch.user}: {run_request.runs[0].command}")
    if config and (setup := _describe_setup(config)):
        _print_notes(f"the setup of .fyre.yaml runs first: {setup}")
    return _follow_remote_run(remote_info, sha, run_request.run_names[0])


def _describe_setup(config: str) -> str:
    """Return the setup of a ``.fyre.yaml`` for people; "" if there is none."""
    from fyre.runs import repo_config  # loads the YAML parser: only where there is a file

    commands = repo_config.parse_repo_config(config).all_runs.setup
    return credential_scan.mask_credentials("; ".join(" ".join(one.split()) for one in commands))


def _is_local_forge(repo_paths: RepoPaths, branch: lab_branch.LabBranch) -> bool:
    """Return True for a `fyre up` on this machine, which takes Git LFS."""
    try:
        return remotes.resolve_remote(repo_paths.top, branch.remote_name).is_local
    except UserError:  # a remote that is no forge, with --detach
        return False


def _follow_remote_run(remote_info: remotes.Remote, sha: str, run_name: str) -> int:
    """Print the run's output and return its exit code; Ctrl-C ends that, but not the run."""
    try:
        from fyre.cli import follow  # loads HTTP libraries: not before the push
        from fyre.client.run_client import RunClient

        return follow.print_run(RunClient.from_remote(remote_info), sha, run_name)
    except KeyboardInterrupt:
        revision = f"{sha[:12]}{remotes.option_for(remote_info.name)}"
        _print_notes(
            "the run goes on",
            f"its output: fyre logs -f {revision}",
            f"to end it: fyre cancel {revision}",
        )
        return 130


def _run_locally(pairs: compose.TrailerPairs, options: RunOptions) -> int:
    """Run on a clean checkout on this machine, and return the exit code.

    It is a checkout of the given commit, or of a snapshot that no ref holds.
    """
    from fyre.apps import local_run

    repo_paths = snapshot.locate_repo()
    sha = local_run.resolve_commit(repo_paths, options.rev) if options.rev else ""
    with progress.name_slow_step(_LOOKING):
        status = None if sha else snapshot.read_status(repo_paths)
    text = lab_branch.compose_message(pairs, options.note, status.head if status else "")
    run_request = request.parse_message(text)
    if status:
        snapshot.reject_unrepresentable(repo_paths, status)
    if options.dry_run:
        place = f"commit {sha[:7]}" if sha else ""
        return _print_dry_run(status, run_request, [], f"{place} would run here".strip())
    if status:
        tree = _write_tree(repo_paths, _changed_sizes(repo_paths, status), run_request)
        sha = snapshot.commit_tree(repo_paths, tree.sha, (status.head,), text, sign=False)
    return local_run.run_on_commit(
        repo_paths,
        sha,
        run_request.runs[0],
        name=run_request.run_names[0],
        keep_checkout=options.keep_checkout,
    )


def _print_dry_run(
    status: WorktreeStatus | None, run_request: RunRequest, publish_warnings: list[str], place: str
) -> int:
    """Print what differs from HEAD, what would run, where, and what would be asked; return 0."""
    for letters, path in status.changed if status else ():
        print(f"{letters.replace('.', ' ')} {snapshot.format_paths([path])}")
    print(f"{run_request.run_names[0]}: {run_request.runs[0].command}")
    if status:
        base = f"commit {status.head[:7]}" if status.head else "no commit"
        count = len(status.changed)
        files = f" with {count} changed file{'s' * (count > 1)}" if count else ""
        place = f"{base}{files} {place}"
    _print_notes(place, *(f"without --yes you are asked: {line}" for line in publish_warnings))
    return 0


def _print_submission(
    sha: str, branch: lab_branch.LabBranch, run_request: RunRequest, *, as_json: bool
) -> None:
    """Print the SHA, with which the run can be followed later."""
    if as_json:
        runs = [{"name": run_request.run_names[0], "command": run_request.runs[0].command}]
        print(
            json.dumps(
                {
                    "sha": sha,
                    "remote": branch.remote_name,
                    "ref": branch.remote_ref,
                    "fyre_id": run_request.fyre_id,
                    "runs": runs,
                }
            )
        )
    else:
        print(sha)


def _print_notes(*lines: str) -> None:
    for line in lines:
        print(f"fyre: {line}".encode(errors="replace").decode(), file=sys.stderr)
