"""``fyre commit``: make a git commit whose message requests runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from fyre.cli import commit_args
from fyre.cli.commit_args import CommitArgs
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import compose, credential_scan, fyre_ids, request
from fyre.workspace import worktree
from fyre.workspace.worktree import Worktree

_GIT_USAGE_EXIT_CODE = 129
"""Exit code of git for arguments that it does not accept."""

HELP_TEXT = """\
Usage: fyre commit --run CMD [REFINEMENTS] [--run CMD …] [OPTIONS] [GIT COMMIT OPTIONS]

Commit, with one or more commands that run on that commit once it is pushed.

Runs, and what refines the run before it:
  --run CMD            a command, for `sh -c`, verbatim; may be given again
  --name NAME          its name; the status is fyre/NAME
  --profile NAME       a profile of the cluster
  --image IMAGE        a container image
  --resources LIST     such as "cpu=4 memory=16Gi nvidia.com/gpu=1"
  --timeout TIME       such as 30m or 2h
  --retries N          further starts after one that failed
  --env NAME=VALUE     may be given again
  --secret NAME        a secret of the cluster, by name; may be given again
  --workdir DIR        start it in this directory of the repository; without it a run
                       starts at the top, wherever `fyre commit` is typed
  --output PATH        files that are kept: model.pt, ckpt/, plots/*.png; ?PATH need
                       not be there; may be given again
  --note TEXT          a note, which `fyre log` shows

Options:
  -m, -F, -C, -c       the message, as git's; without one it says what runs
  -a                   take along what changed in tracked files, as git's
  --autocommit         take along new files too, unless they are ignored
  --push               push the branch afterwards
  --dry-run            print the message and what would run, and do nothing
  --json               print what was committed as JSON
  --allow-dirty        leave changed files out of the commit
  --allow-credential   commit a command that seems to hold a credential

With --amend, -C or -c, the runs given here take the place of the message's own.
All other words are git commit's, and so are all words after `--`."""


def main(argv: list[str]) -> int:
    """Commit as the arguments say; raise ``UserError``."""
    args = commit_args.parse_commit_args(argv)
    if "help" in args.flags:
        print(HELP_TEXT)
        return 0
    compose.reject_bad_options(args.trailers)
    if "allow-credential" not in args.flags:
        credential_scan.reject_credentials(
            *(value for key, value in args.trailers if key in ("Fyre-Run", "Fyre-Env"))
        )
    work_tree = worktree.read_worktree(
        exclude=tuple(path for path in args.pathspecs if not path.startswith(":"))
    )
    push_command = _push_command(work_tree) if "push" in args.flags else []
    _reject_dirty_tree(args, work_tree)
    _reject_bad_config(args, work_tree)
    _print_start_directory(args, work_tree)
    pairs = [*args.trailers, ("Fyre-Id", fyre_ids.new_fyre_id())]
    text, author = _build_message(args, work_tree)
    text = compose.add_trailers(text, pairs)
    if args.messages or args.files:
        from fyre.message import near_misses  # only messages that people wrote need it

        near_misses.reject_near_misses(text)
    requested = compose.verify_message(text, pairs)
    if not requested.runs:
        raise UserError(
            "nothing to run",
            hint=commit_args.suggest_options(args.git_args)
            or 'say what: fyre commit --run "python train.py"',
            exit_code=2,
        )
    if "dry-run" in args.flags:
        _print_commit(args, "", text, requested)
        return 0
    sha, text = _run_git_commit(args, work_tree, [*args.git_args, *author], text, pairs)
    committed = request.parse_message(text)
    _print_commit(args, sha, text, committed)
    _verify_commit(args, sha, requested, committed)
    _warn_of_submodules(sha, work_tree)
    if push_command:
        _push_branch(push_command)
    return 0


def _build_message(args: CommitArgs, work_tree: Worktree) -> tuple[str, list[str]]:
    """Return the message without the new trailers, and git options for a reused commit's author."""
    reused = (args.reuse or args.reedit or (["HEAD"] if "amend" in args.flags else []))[:1]
    author_options: list[str] = []
    if args.git_makes_message:
        return "", []
    if args.messages:
        text = "\n\n".join(part.rstrip("\n") for part in args.messages)
    elif args.files:
        text = _read_message_file(args.files[0])
    elif reused:
        author_name, author_date, text = git_command.git_output(
            "log", "-1", "--encoding=UTF-8", "--no-show-signature", "--date=raw",
            "--format=%an <%ae>%n%ad%n%B", reused[0], "--",
        ).split("\n", 2)  # fmt: skip
        author_options = (
            [f"--author={author_name}", f"--date={author_date}"]
            if args.reuse or args.reedit
            else []
        )
    elif pending := work_tree.pending_message_file:
        text = "".join(
            line
            for line in compose.split_lines(_read_message_file(str(pending)))
            if not line.startswith("#")
        )
    else:
        text = ""
    # the runs of a reused message give way to new ones
    keeps_runs = bool(args.messages or args.files or not args.runs)
    text = compose.remove_trailers(
        text, ("fyre-id", "fyre-from").__contains__ if keeps_runs else _is_fyre_key
    )
    if not text.strip():  # without a subject, git would read the trailers as the subject
        text = compose.compose_subject(
            [value for key, value in args.trailers if key == "Fyre-Run"] or [""]
        )
    return text, author_options


def _is_fyre_key(key: str) -> bool:
    return key.startswith("fyre-")


def _read_message_file(path: str) -> str:
    """Return a message from a file, or from stdin for ``-``."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"can't read {path}: {error.strerror}", hint="give a file to -F, or - for stdin"
        ) from error
    return raw.decode(errors="surrogateescape")


def _reject_dirty_tree(args: CommitArgs, work_tree: Worktree) -> None:
    """Raise ``UserError`` if there are changes that the commit would leave out.

    The code that runs must be the code that the person sees.
    """
    if work_tree.unmerged:
        raise UserError(
            f"not merged yet: {_list_paths(work_tree.unmerged)}",
            hint="fix them, `git add` them, and commit again",
        )
    if work_tree.untracked and "autocommit" in args.flags:
        _check_new_files(args)
    if "allow-dirty" in args.flags:
        return
    if work_tree.submodules:
        raise UserError(
            f"a submodule has changes of its own: {_list_paths(work_tree.submodules)}",
            hint="commit and push them there first, or leave them out with --allow-dirty",
        )
    if work_tree.unstaged and not args.flags & {"all", "autocommit"}:
        raise UserError(
            f"changed, and not in the commit: {_list_paths(work_tree.unstaged)}",
            hint="take them along with -a, `git add` them, or leave them out with --allow-dirty",
        )
    if work_tree.untracked and "autocommit" not in args.flags:
        paths = _list_paths(work_tree.untracked)
        print(
            f"note: new files stay out of the commit (--autocommit takes them): {paths}; "
            "the run will not have them",
            file=sys.stderr,
        )


def _reject_bad_config(args: CommitArgs, work_tree: Worktree) -> None:
    """Raise ``UserError`` if the commit would have a ``.fyre.yaml`` that no run can begin with."""
    path = ".fyre.yaml"
    is_left_out = "autocommit" not in args.flags and path in work_tree.untracked
    if (
        is_left_out
        or not os.path.lexists(work_tree.top / path)
        or (path in work_tree.unstaged and not args.flags & {"all", "autocommit"})
    ):
        return
    from fyre.workspace import config_file  # only where there is such a file

    config = config_file.read_worktree_config(work_tree.top)
    config_file.reject_bad_config(config, "nothing was committed")


def _print_start_directory(args: CommitArgs, work_tree: Worktree) -> None:
    """Say in a subdirectory that a run without a directory starts at the top."""
    if work_tree.prefix and any("Fyre-Workdir" not in dict(run) for run in args.runs):
        folder = work_tree.prefix.rstrip("/")
        print(
            "note: the command starts at the top of the repository "
            f"(to start it here: --workdir {folder})",
            file=sys.stderr,
        )


def _check_new_files(args: CommitArgs) -> None:
    """Raise ``UserError`` for a repository or a large file that is new, or a credential in one."""
    from fyre.workspace import publish_check, snapshot  # only new files can hold those

    repo_paths = snapshot.locate_repo()
    status = snapshot.read_status(repo_paths)
    snapshot.reject_nested_repos(status)
    if "allow-credential" not in args.flags:
        publish_check.reject_credential_files(repo_paths.top, status.new_files)
    publish_check.reject_large_files(repo_paths.top, status.new_files)


def _list_paths(paths: list[str]) -> str:
    rest = f" and {len(paths) - 20} more" if len(paths) > 20 else ""
    return ", ".join(map(worktree.printable_path, paths[:20])) + rest


def _run_git_commit(
    args: CommitArgs,
    work_tree: Worktree,
    git_args: list[str],
    text: str,
    pairs: list[tuple[str, str]],
) -> tuple[str, str]:
    """Run ``git commit``, and return the new commit's SHA and message.

    Raises ``UserError`` if git makes no commit; then the message is kept in a file.
    """
    _reject_misspelt_options(git_args)
    if "autocommit" in args.flags:
        git_command.run_git("add", "--all", "--", ":/")
    message_file = work_tree.git_dir / "FYRE_EDITMSG"
    try:
        message_file.write_bytes(text.encode(errors="surrogateescape"))
    except OSError as error:
        hint = "git writes there as well: is the disk full, or read-only?"
        raise UserError(f"can't write {message_file}: {error.strerror}", hint=hint) from error
    if args.git_makes_message:
        settings = [
            f"trailer.{key}"
            for key in ("ifexists=add", "ifmissing=add", "where=end", "separators=:")
        ]
        source = [f"--trailer={key}: {value}" for key, value in pairs]
    else:
        settings = ["i18n.commitEncoding=UTF-8"]
        source = ["-F", str(message_file), *(["--edit"] if args.reedit else [])]
    config_options = [word for setting in settings for word in ("-c", setting)]
    code = git_command.run_git_in_terminal(
        *config_options, "commit", "--allow-empty", *source, *git_args, stdout=2
    )
    log = git_command.run_git(
        "log", "-1", "--encoding=UTF-8", "--no-show-signature", "--format=%H%n%B", check=False
    )
    sha, _, message = log.stdout.decode(errors="surrogateescape").partition("\n")
    if code or sha == work_tree.head:
        retry = (
            ""
            if args.git_makes_message
            else f"the message is kept: git commit --allow-empty -e -F {message_file}"
        )
        if code == _GIT_USAGE_EXIT_CODE:
            raise UserError(
                "git commit does not take these words",
                hint=retry,
                exit_code=2,
            )
        raise UserError(f"git made no commit (exit {code})", hint=retry)
    message_file.unlink(missing_ok=True)
    return sha, message.removesuffix("\n")


def _reject_misspelt_options(git_args: list[str]) -> None:
    """Raise ``UserError`` for what may be meant as our option and is none of git's.

    Git itself would print all of its options first.
    """
    if not (hint := commit_args.suggest_options(git_args)):
        return
    dry_run = git_command.run_git("commit", "--dry-run", *git_args, stdin=b"", check=False)
    if dry_run.returncode == _GIT_USAGE_EXIT_CODE:
        raise UserError("git commit does not take these words", hint=hint, exit_code=2)


def _verify_commit(
    args: CommitArgs, sha: str, requested: request.RunRequest, committed: request.RunRequest
) -> None:
    """Check that the commit requests what was given, whatever hooks and editors did.

    Raises ``UserError`` if it does not; the commit is kept.
    """
    edited = "edit" in args.flags or bool(args.reedit) or args.git_makes_message
    for problem in committed.problems:
        raise UserError(
            f"{sha[:7]} is committed and can't run: {problem.message}", hint=problem.hint
        )
    if (committed.runs, committed.fyre_id) != (requested.runs, requested.fyre_id) and not edited:
        raise UserError(
            f"{sha[:7]} is committed, but a hook changed what it asks for",
            hint="see `fyre check`; `git commit --amend` fixes the message",
        )


def _print_commit(args: CommitArgs, sha: str, text: str, run_request: request.RunRequest) -> None:
    """Print the SHA, or the message of a dry run, and a line for each run."""
    runs = [
        {"name": name, "command": spec.command}
        for name, spec in zip(run_request.run_names, run_request.runs, strict=True)
    ]
    if "json" in args.flags:
        import json  # only loaded for JSON

        print(
            json.dumps(
                {"sha": sha or None, "message": text, "fyre_id": run_request.fyre_id, "runs": runs}
            )
        )
        return
    print(sha or text)
    for run in runs:
        print(f"{run['name']}: {run['command']}")


def _warn_of_submodules(sha: str, work_tree: Worktree) -> None:
    """Say which submodules are at a commit that no run can fetch until it is pushed."""
    if not os.path.lexists(work_tree.top / ".gitmodules"):
        return
    from fyre.git import submodules  # only where there are any

    if unpushed := submodules.find_unpushed(sha, work_tree.top):
        print(
            "note: a submodule is at a commit that is not pushed, so the run can't fetch it: "
            f"{_list_paths(unpushed)} ({submodules.HINT})",
            file=sys.stderr,
        )


def _push_command(work_tree: Worktree) -> list[str]:
    """Return the ``push`` command for git.

    Raises ``UserError`` if there is nowhere to push to, before anything is done.
    """
    if not work_tree.branch:
        raise UserError(
            "--push needs a branch, and HEAD is detached",
            hint="`git switch -c NAME` makes one here",
        )
    if work_tree.upstream:
        return ["push"]
    from fyre.workspace import remote  # only needed for a push

    return ["push", "-u", remote.default_remote_name(), work_tree.branch]


def _push_branch(push_command: list[str]) -> None:
    os.environ["FYRE_PUSH_QUIET"] = "1"  # our pre-push hook would name the same runs again
    try:
        code = git_command.run_git_in_terminal(*push_command, stdout=2)
    finally:
        del os.environ["FYRE_PUSH_QUIET"]
    if code:
        from fyre.workspace import failed_push, remote  # only needed for a push

        name = push_command[2] if push_command[1:] else ""
        with suppress(UserError):  # the branch's remote is none that has a name
            name = name or remote.default_remote_name()
        # What git said is on the person's terminal, so it is asked again.
        failure = failed_push.explain_failure(name, failed_push.ask_again(name)) if name else None
        again = f"push it again with: git {' '.join(push_command)}"
        raise UserError(
            f"the commit is made, but the push failed{f': {failure.reason}' if failure else ''}",
            hint=f"{again}, {failure.condition}" if failure else again,
        )
