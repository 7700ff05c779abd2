"""``fyre commit``: a git commit whose message asks for runs."""

from __future__ import annotations

import sys
from pathlib import Path

from fyre.cli import commit_args
from fyre.cli.commit_args import Line
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import compose, credential_scan, fyre_ids, request
from fyre.workspace import worktree
from fyre.workspace.worktree import Worktree

_USAGE = 129
"""What git exits with where it does not take its words."""

HELP = """\
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
    line = commit_args.read(argv)
    if "help" in line.flags:
        print(HELP)
        return 0
    if "allow-credential" not in line.flags:
        credential_scan.refuse(
            *(value for key, value in line.trailers if key in ("Fyre-Run", "Fyre-Env"))
        )
    tree = worktree.look(exclude=tuple(path for path in line.paths if not path.startswith(":")))
    target = _target(tree) if "push" in line.flags else []
    _refuse_dirty(line, tree)
    pairs = [*line.trailers, ("Fyre-Id", fyre_ids.mint())]
    text, author = _message(line, tree)
    text = compose.append(text, pairs)
    if line.messages or line.files:
        from fyre.message import near_misses  # only messages that people wrote need it

        near_misses.refuse(text)
    wanted = compose.verify(text, pairs)
    if not wanted.runs:
        raise UserError(
            "nothing to run", hint='say what: fyre commit --run "python train.py"', code=2
        )
    if "dry-run" in line.flags:
        _print(line, "", text, wanted)
        return 0
    sha, text = _commit(line, tree, [*line.git, *author], text, pairs)
    found = request.read(text)
    _print(line, sha, text, found)
    _compare(line, sha, wanted, found)
    if target:
        _push(target)
    return 0


def _message(line: Line, tree: Worktree) -> tuple[str, list[str]]:
    """The message without our new trailers, and the words that keep a reused commit's author."""
    reused = (line.reuse or line.reedit or (["HEAD"] if "amend" in line.flags else []))[:1]
    author: list[str] = []
    if line.own:
        return "", []
    if line.messages:
        text = "\n\n".join(part.rstrip("\n") for part in line.messages)
    elif line.files:
        text = _read(line.files[0])
    elif reused:
        who, when, text = git_command.out("log", "-1", "--encoding=UTF-8", "--no-show-signature", "--date=raw",
                                  "--format=%an <%ae>%n%ad%n%B", reused[0], "--").split("\n", 2)  # fmt: skip
        author = [f"--author={who}", f"--date={when}"] if line.reuse or line.reedit else []
    elif pending := tree.pending_message:
        text = "".join(
            row for row in compose.lines_of(_read(str(pending))) if not row.startswith("#")
        )
    else:
        text = ""
    own = bool(
        line.messages or line.files or not line.runs
    )  # a reused message's runs give way to new ones
    text = compose.without(text, ("fyre-id", "fyre-from").__contains__ if own else _of_ours)
    if not text.strip():  # trailers alone would be the subject, and no trailers
        text = compose.subject([value for key, value in line.trailers if key == "Fyre-Run"] or [""])
    return text, author


def _of_ours(key: str) -> bool:
    return key.startswith("fyre-")


def _read(path: str) -> str:
    """A message from a file, or from stdin for ``-``."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"can't read {path}: {error.strerror}", hint="give a file to -F, or - for stdin"
        ) from error
    return raw.decode(errors="surrogateescape")


def _refuse_dirty(line: Line, tree: Worktree) -> None:
    """What runs is to be what the person sees: raise ``UserError`` over changes that the commit would leave out."""
    if tree.unmerged:
        raise UserError(
            f"not merged yet: {_some(tree.unmerged)}",
            hint="mend them, `git add` them, and commit again",
        )
    if tree.untracked and "autocommit" in line.flags:
        from fyre.workspace import snapshot  # only new files can hold a repository

        snapshot.refuse_nested(snapshot.look(snapshot.place()))
    if "allow-dirty" in line.flags:
        return
    if tree.submodules:
        raise UserError(
            f"a submodule has changes of its own: {_some(tree.submodules)}",
            hint="commit and push them there first, or leave them out with --allow-dirty",
        )
    if tree.unstaged and not line.flags & {"all", "autocommit"}:
        raise UserError(
            f"changed, and not in the commit: {_some(tree.unstaged)}",
            hint="take them along with -a, `git add` them, or leave them out with --allow-dirty",
        )
    if tree.untracked and "autocommit" not in line.flags:
        print(f"note: new files stay out of the commit (--autocommit takes them): {_some(tree.untracked)}",
              file=sys.stderr)  # fmt: skip


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 20} more" if len(paths) > 20 else ""
    return ", ".join(path.encode(errors="replace").decode() for path in paths[:20]) + more


def _commit(
    line: Line, tree: Worktree, words: list[str], text: str, pairs: list[tuple[str, str]]
) -> tuple[str, str]:
    """Let git commit; answers with the new commit's SHA and message. Raises ``UserError`` with the message kept."""
    if "autocommit" in line.flags:
        git_command.run("add", "--all", "--", ":/")
    kept = tree.git_dir / "FYRE_EDITMSG"
    try:
        kept.write_bytes(text.encode(errors="surrogateescape"))
    except OSError as error:
        hint = "git writes there as well: is the disk full, or read-only?"
        raise UserError(f"can't write {kept}: {error.strerror}", hint=hint) from error
    if line.own:
        settings = [
            f"trailer.{key}"
            for key in ("ifexists=add", "ifmissing=add", "where=end", "separators=:")
        ]
        source = [f"--trailer={key}: {value}" for key, value in pairs]
    else:
        settings = ["i18n.commitEncoding=UTF-8"]
        source = ["-F", str(kept), *(["--edit"] if line.reedit else [])]
    before = [word for setting in settings for word in ("-c", setting)]
    code = git_command.show(*before, "commit", "--allow-empty", *source, *words, stdout=2)
    done = git_command.run(
        "log", "-1", "--encoding=UTF-8", "--no-show-signature", "--format=%H%n%B", check=False
    )
    sha, _, made = done.stdout.decode(errors="surrogateescape").partition("\n")
    if code or sha == tree.head:
        retry = "" if line.own else f"the message is kept: git commit --allow-empty -e -F {kept}"
        if code == _USAGE:
            raise UserError(
                "git commit does not take these words", hint=_meant(words) or retry, code=2
            )
        raise UserError(f"git made no commit (exit {code})", hint=retry)
    kept.unlink(missing_ok=True)
    return sha, made.removesuffix("\n")


def _meant(words: list[str]) -> str:
    """Which options of ours some of git's words may be."""
    from difflib import get_close_matches

    odd = [
        key
        for key in (word.partition("=")[0] for word in words)
        if key[:2] == "--" and key not in commit_args.GITS
    ]
    close = [(key, get_close_matches(key, commit_args.OURS, n=1, cutoff=0.7)) for key in odd]
    return "; ".join(f"for {key}, did you mean {found[0]}?" for key, found in close if found)


def _compare(line: Line, sha: str, wanted: request.Asked, found: request.Asked) -> None:
    """What was asked is what will run, whatever hooks and editors did. Raises ``UserError`` with the commit kept."""
    edited = "edit" in line.flags or bool(line.reedit) or line.own
    for problem in found.problems:
        raise UserError(
            f"{sha[:7]} is committed and can't run: {problem.message}", hint=problem.hint
        )
    if (found.runs, found.fyre_id) != (wanted.runs, wanted.fyre_id) and not edited:
        raise UserError(
            f"{sha[:7]} is committed, but a hook changed what it asks for",
            hint="see `fyre check`; `git commit --amend` mends the message",
        )


def _print(line: Line, sha: str, text: str, wanted: request.Asked) -> None:
    """The SHA, or the message of a dry run, and a line for each run."""
    runs = [
        {"name": name, "command": spec.command}
        for name, spec in zip(wanted.names, wanted.runs, strict=True)
    ]
    if "json" in line.flags:
        import json  # only this form pays for it

        print(
            json.dumps(
                {"sha": sha or None, "message": text, "fyre_id": wanted.fyre_id, "runs": runs}
            )
        )
        return
    print(sha or text)
    for run in runs:
        print(f"{run['name']}: {run['command']}")


def _target(tree: Worktree) -> list[str]:
    """The words after ``git push``. Raises ``UserError`` where there is nowhere to push to, before anything is done."""
    if not tree.branch:
        raise UserError(
            "--push needs a branch, and HEAD is detached",
            hint="`git switch -c NAME` makes one here",
        )
    if tree.upstream:
        return ["push"]
    from fyre.workspace import remote  # only who pushes needs it

    return ["push", "-u", remote.default_name(), tree.branch]


def _push(target: list[str]) -> None:
    code = git_command.show(*target, stdout=2)
    if code:
        raise UserError(
            "the commit is made, but the push failed",
            hint=f"push it again with: git {' '.join(target)}",
        )
