"""``fyre commit``: a git commit whose message asks for runs."""

from __future__ import annotations

import sys
from pathlib import Path

from fyre.cli import commit_args
from fyre.cli.commit_args import CommitArgs
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import compose, credential_scan, fyre_ids, request
from fyre.workspace import worktree
from fyre.workspace.worktree import Worktree

_GIT_USAGE_EXIT_CODE = 129
"""What git exits with where it does not take its words."""

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
  --workdir DIR        a directory of the checkout

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
    """Commit as the words say. Raises ``UserError``."""
    line = commit_args.parse_commit_args(argv)
    if "help" in line.flags:
        print(HELP_TEXT)
        return 0
    if "allow-credential" not in line.flags:
        credential_scan.reject_credentials(
            *(value for key, value in line.trailers if key in ("Fyre-Run", "Fyre-Env"))
        )
    tree = worktree.read_worktree(
        exclude=tuple(path for path in line.pathspecs if not path.startswith(":"))
    )
    target = _push_command(tree) if "push" in line.flags else []
    _reject_dirty_tree(line, tree)
    pairs = [*line.trailers, ("Fyre-Id", fyre_ids.new_fyre_id())]
    text, author = _build_message(line, tree)
    text = compose.add_trailers(text, pairs)
    if line.messages or line.files:
        from fyre.message import near_misses  # only messages that people wrote need it

        near_misses.reject_near_misses(text)
    wanted = compose.verify_message(text, pairs)
    if not wanted.runs:
        raise UserError(
            "nothing to run", hint='say what: fyre commit --run "python train.py"', exit_code=2
        )
    if "dry-run" in line.flags:
        _print_commit(line, "", text, wanted)
        return 0
    sha, text = _run_git_commit(line, tree, [*line.git_args, *author], text, pairs)
    found = request.parse_message(text)
    _print_commit(line, sha, text, found)
    _verify_commit(line, sha, wanted, found)
    if target:
        _push_branch(target)
    return 0


def _build_message(args: CommitArgs, work_tree: Worktree) -> tuple[str, list[str]]:
    """The message without our new trailers, and the words that keep a reused commit's author."""
    reused = (args.reuse or args.reedit or (["HEAD"] if "amend" in args.flags else []))[:1]
    author: list[str] = []
    if args.git_makes_message:
        return "", []
    if args.messages:
        text = "\n\n".join(part.rstrip("\n") for part in args.messages)
    elif args.files:
        text = _read_message_file(args.files[0])
    elif reused:
        who, when, text = git_command.git_output("log", "-1", "--encoding=UTF-8", "--no-show-signature", "--date=raw",
                                  "--format=%an <%ae>%n%ad%n%B", reused[0], "--").split("\n", 2)  # fmt: skip
        author = [f"--author={who}", f"--date={when}"] if args.reuse or args.reedit else []
    elif pending := work_tree.pending_message_file:
        text = "".join(
            row
            for row in compose.split_lines(_read_message_file(str(pending)))
            if not row.startswith("#")
        )
    else:
        text = ""
    own = bool(
        args.messages or args.files or not args.runs
    )  # a reused message's runs give way to new ones
    text = compose.remove_trailers(
        text, ("fyre-id", "fyre-from").__contains__ if own else _is_fyre_key
    )
    if not text.strip():  # trailers alone would be the subject, and no trailers
        text = compose.compose_subject(
            [value for key, value in args.trailers if key == "Fyre-Run"] or [""]
        )
    return text, author


def _is_fyre_key(key: str) -> bool:
    return key.startswith("fyre-")


def _read_message_file(path: str) -> str:
    """A message from a file, or from stdin for ``-``."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"can't read {path}: {error.strerror}", hint="give a file to -F, or - for stdin"
        ) from error
    return raw.decode(errors="surrogateescape")


def _reject_dirty_tree(args: CommitArgs, work_tree: Worktree) -> None:
    """What runs is to be what the person sees: raise ``UserError`` over changes that the commit would leave out."""
    if work_tree.unmerged:
        raise UserError(
            f"not merged yet: {_list_paths(work_tree.unmerged)}",
            hint="mend them, `git add` them, and commit again",
        )
    if work_tree.untracked and "autocommit" in args.flags:
        from fyre.workspace import snapshot  # only new files can hold a repository

        snapshot.reject_nested_repos(snapshot.read_status(snapshot.locate_repo()))
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
        print(f"note: new files stay out of the commit (--autocommit takes them): {_list_paths(work_tree.untracked)}",
              file=sys.stderr)  # fmt: skip


def _list_paths(paths: list[str]) -> str:
    more = f" and {len(paths) - 20} more" if len(paths) > 20 else ""
    return ", ".join(path.encode(errors="replace").decode() for path in paths[:20]) + more


def _run_git_commit(
    args: CommitArgs,
    work_tree: Worktree,
    git_args: list[str],
    text: str,
    pairs: list[tuple[str, str]],
) -> tuple[str, str]:
    """Let git commit; answers with the new commit's SHA and message. Raises ``UserError`` with the message kept."""
    if "autocommit" in args.flags:
        git_command.run_git("add", "--all", "--", ":/")
    kept = work_tree.git_dir / "FYRE_EDITMSG"
    try:
        kept.write_bytes(text.encode(errors="surrogateescape"))
    except OSError as error:
        hint = "git writes there as well: is the disk full, or read-only?"
        raise UserError(f"can't write {kept}: {error.strerror}", hint=hint) from error
    if args.git_makes_message:
        settings = [
            f"trailer.{key}"
            for key in ("ifexists=add", "ifmissing=add", "where=end", "separators=:")
        ]
        source = [f"--trailer={key}: {value}" for key, value in pairs]
    else:
        settings = ["i18n.commitEncoding=UTF-8"]
        source = ["-F", str(kept), *(["--edit"] if args.reedit else [])]
    before = [word for setting in settings for word in ("-c", setting)]
    code = git_command.run_git_in_terminal(
        *before, "commit", "--allow-empty", *source, *git_args, stdout=2
    )
    done = git_command.run_git(
        "log", "-1", "--encoding=UTF-8", "--no-show-signature", "--format=%H%n%B", check=False
    )
    sha, _, made = done.stdout.decode(errors="surrogateescape").partition("\n")
    if code or sha == work_tree.head:
        retry = (
            ""
            if args.git_makes_message
            else f"the message is kept: git commit --allow-empty -e -F {kept}"
        )
        if code == _GIT_USAGE_EXIT_CODE:
            raise UserError(
                "git commit does not take these words",
                hint=_suggest_options(git_args) or retry,
                exit_code=2,
            )
        raise UserError(f"git made no commit (exit {code})", hint=retry)
    kept.unlink(missing_ok=True)
    return sha, made.removesuffix("\n")


def _suggest_options(git_args: list[str]) -> str:
    """Which options of ours some of git's words may be."""
    from difflib import get_close_matches

    odd = [
        key
        for key in (word.partition("=")[0] for word in git_args)
        if key[:2] == "--" and key not in commit_args.GIT_OPTIONS
    ]
    close = [
        (key, get_close_matches(key, commit_args.FYRE_OPTIONS, n=1, cutoff=0.7)) for key in odd
    ]
    return "; ".join(f"for {key}, did you mean {found[0]}?" for key, found in close if found)


def _verify_commit(
    args: CommitArgs, sha: str, requested: request.RunRequest, committed: request.RunRequest
) -> None:
    """What was asked is what will run, whatever hooks and editors did. Raises ``UserError`` with the commit kept."""
    edited = "edit" in args.flags or bool(args.reedit) or args.git_makes_message
    for problem in committed.problems:
        raise UserError(
            f"{sha[:7]} is committed and can't run: {problem.message}", hint=problem.hint
        )
    if (committed.runs, committed.fyre_id) != (requested.runs, requested.fyre_id) and not edited:
        raise UserError(
            f"{sha[:7]} is committed, but a hook changed what it asks for",
            hint="see `fyre check`; `git commit --amend` mends the message",
        )


def _print_commit(args: CommitArgs, sha: str, text: str, run_request: request.RunRequest) -> None:
    """The SHA, or the message of a dry run, and a line for each run."""
    runs = [
        {"name": name, "command": spec.command}
        for name, spec in zip(run_request.run_names, run_request.runs, strict=True)
    ]
    if "json" in args.flags:
        import json  # only this form pays for it

        print(
            json.dumps(
                {"sha": sha or None, "message": text, "fyre_id": run_request.fyre_id, "runs": runs}
            )
        )
        return
    print(sha or text)
    for run in runs:
        print(f"{run['name']}: {run['command']}")


def _push_command(work_tree: Worktree) -> list[str]:
    """The words after ``git push``. Raises ``UserError`` where there is nowhere to push to, before anything is done."""
    if not work_tree.branch:
        raise UserError(
            "--push needs a branch, and HEAD is detached",
            hint="`git switch -c NAME` makes one here",
        )
    if work_tree.upstream:
        return ["push"]
    from fyre.workspace import remote  # only who pushes needs it

    return ["push", "-u", remote.default_remote_name(), work_tree.branch]


def _push_branch(push_command: list[str]) -> None:
    code = git_command.run_git_in_terminal(*push_command, stdout=2)
    if code:
        raise UserError(
            "the commit is made, but the push failed",
            hint=f"push it again with: git {' '.join(push_command)}",
        )
