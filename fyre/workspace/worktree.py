"""What stands between the person's files and the commit: one ``git status``, read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fyre.errors import UserError
from fyre.git import git_command


@dataclass(slots=True)
class Worktree:
    """The branch and the files that are not as they were committed. Paths are relative to the top."""

    git_dir: Path
    head: str = ""  # SHA, "" on an unborn branch
    branch: str = ""  # "" when HEAD is detached
    upstream: str = ""  # "" when the branch has none
    staged: list[str] = field(default_factory=list)
    unstaged: list[str] = field(default_factory=list)  # tracked, changed, and not (wholly) staged
    untracked: list[str] = field(default_factory=list)
    unmerged: list[str] = field(default_factory=list)
    submodules: list[str] = field(
        default_factory=list
    )  # with changes of their own that no commit here can take

    @property
    def pending_message_file(self) -> Path | None:
        """The message that git keeps for a merge, cherry-pick or revert which waits to be committed."""
        names = ("MERGE_MSG", "SQUASH_MSG")
        return next(
            (path for path in (self.git_dir / name for name in names) if path.is_file()), None
        )


def require_repository() -> None:
    """Raise ``UserError`` where git finds no repository, or takes none."""
    done = git_command.run_git("rev-parse", "--git-dir", check=False)
    if done.returncode:
        raise no_repository_error(done.stderr)


def no_repository_error(stderr: bytes) -> UserError:
    """Why git takes nothing here for a repository, and what it says itself to do, as where its owner is another."""
    said = stderr.decode(errors="replace").strip().removeprefix("fatal: ").splitlines()
    mend = next((line.strip() for line in said if line.strip().startswith("git config ")), "")
    return UserError(
        said[0] if said else "not a git repository",
        hint=mend or "`git init`, or go to a repository",
    )


def read_worktree(*, exclude: tuple[str, ...] = ()) -> Worktree:
    """The work tree we stand in, but for the pathspecs in ``exclude``. Raises ``UserError`` where there is none."""
    done = git_command.run_git(
        "rev-parse", "--absolute-git-dir", "--is-inside-work-tree", check=False
    )
    git_dir, _, inside = done.stdout.decode(errors="surrogateescape").strip().rpartition("\n")
    if done.returncode:
        raise no_repository_error(done.stderr)
    if inside != "true":
        raise UserError("this repository has no work tree here", hint="commit in a clone of it")
    specs = [":/", *(f":(exclude){path}" for path in exclude)] if exclude else []
    status = git_command.run_git(
        "status", "--porcelain=v2", "--branch", "-z", "--no-ahead-behind", "--", *specs
    ).stdout
    tree = Worktree(Path(git_dir))
    words_ = iter(status.decode(errors="surrogateescape").split("\0"))
    for entry in words_:
        if entry[:1] == "2":
            next(words_)  # a rename's old path follows it
        _add_entry(tree, entry)
    return tree


def _add_entry(work_tree: Worktree, entry: str) -> None:
    """Take one entry of ``git status --porcelain=v2``."""
    kind = entry[:1]
    if kind == "#":
        _, key, value = (*entry.split(" ", 2), "")[:3]
        known = {"branch.oid": "head", "branch.head": "branch", "branch.upstream": "upstream"}
        if key in known:
            setattr(work_tree, known[key], "" if value.startswith("(") else value)
    elif kind == "?":
        work_tree.untracked.append(entry[2:])
    elif kind == "u":
        work_tree.unmerged.append(entry.split(" ", 10)[10])
    elif kind in ("1", "2"):
        fields = entry.split(" ", 8 if kind == "1" else 9)
        _add_tracked(work_tree, fields[1], fields[2], fields[-1])


def _add_tracked(work_tree: Worktree, xy: str, submodule: str, path: str) -> None:
    """Take a tracked file's two letters: how the index differs from HEAD, how the file from the index."""
    if xy[0] != ".":
        work_tree.staged.append(path)
    if submodule[0] == "S" and submodule[2] == "M":
        work_tree.submodules.append(path)
    elif xy[1] != "." and (submodule[0] == "N" or submodule[1] == "C"):
        work_tree.unstaged.append(path)
