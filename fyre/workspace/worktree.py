"""Read ``git status`` for `fyre commit`: changed, new and unmerged files, branch and upstream."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fyre.errors import UserError
from fyre.git import git_command


@dataclass(slots=True)
class Worktree:
    """The branch, and the files that differ from HEAD; paths are relative to the top."""

    git_dir: Path
    prefix: str = ""  # of the current directory below the top, with a slash at its end
    head: str = ""  # SHA, "" on an unborn branch
    branch: str = ""  # "" when HEAD is detached
    upstream: str = ""  # "" when the branch has none
    staged: list[str] = field(default_factory=list)
    unstaged: list[str] = field(default_factory=list)  # tracked, changed, and not (wholly) staged
    untracked: list[str] = field(default_factory=list)
    unmerged: list[str] = field(default_factory=list)
    # with changes inside them that no commit of this repository can hold
    submodules: list[str] = field(default_factory=list)

    @property
    def top(self) -> Path:
        """The top of the work tree, as seen from the current directory."""
        return Path("../" * self.prefix.count("/") or ".")

    @property
    def pending_message_file(self) -> Path | None:
        """The file with git's message for an uncommitted merge, cherry-pick or revert, if any."""
        names = ("MERGE_MSG", "SQUASH_MSG")
        return next(
            (path for path in (self.git_dir / name for name in names) if path.is_file()), None
        )


def require_repository() -> None:
    """Raise ``UserError`` if git finds no repository, or refuses to use the one it finds."""
    result = git_command.run_git("rev-parse", "--git-dir", check=False)
    if result.returncode:
        raise no_repository_error(result.stderr)


def no_repository_error(stderr: bytes) -> UserError:
    """Return the error for a directory in which git finds or uses no repository.

    The hint is the command that git itself suggests, as for a repository of another owner.
    """
    lines = stderr.decode(errors="replace").strip().removeprefix("fatal: ").splitlines()
    suggested = next((line.strip() for line in lines if line.strip().startswith("git config ")), "")
    return UserError(
        lines[0] if lines else "not a git repository",
        hint=suggested or "`git init`, or go to a repository",
    )


def printable_path(path: str) -> str:
    """Return a path on one line, with escapes for what a terminal would obey."""
    shown = path.encode(errors="replace").decode()
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown
    )


def read_worktree(*, exclude: tuple[str, ...] = ()) -> Worktree:
    """Return the state of the current work tree, without the pathspecs in ``exclude``.

    Raises ``UserError`` if there is no work tree.
    """
    result = git_command.run_git(
        "rev-parse", "--show-prefix", "--absolute-git-dir", "--is-inside-work-tree", check=False
    )
    prefix, _, rest = result.stdout.decode(errors="surrogateescape").partition("\n")
    git_dir, _, inside = rest.strip().rpartition("\n")
    if result.returncode:
        raise no_repository_error(result.stderr)
    if inside != "true":
        raise UserError("this repository has no work tree here", hint="commit in a clone of it")
    pathspecs = [":/", *(f":(exclude){path}" for path in exclude)] if exclude else []
    status = git_command.run_git(
        "status", "--porcelain=v2", "--branch", "-z", "--no-ahead-behind", "--", *pathspecs
    ).stdout
    work_tree = Worktree(Path(git_dir), prefix)
    entries = iter(status.decode(errors="surrogateescape").split("\0"))
    for entry in entries:
        if entry[:1] == "2":
            next(entries)  # the old path of the rename, which follows
        _add_entry(work_tree, entry)
    return work_tree


def _add_entry(work_tree: Worktree, entry: str) -> None:
    """Add one entry of ``git status --porcelain=v2``."""
    kind = entry[:1]
    if kind == "#":
        _, key, value = (*entry.split(" ", 2), "")[:3]
        attributes = {"branch.oid": "head", "branch.head": "branch", "branch.upstream": "upstream"}
        if key in attributes:
            setattr(work_tree, attributes[key], "" if value.startswith("(") else value)
    elif kind == "?":
        work_tree.untracked.append(entry[2:])
    elif kind == "u":
        work_tree.unmerged.append(entry.split(" ", 10)[10])
    elif kind in ("1", "2"):
        fields = entry.split(" ", 8 if kind == "1" else 9)
        _add_tracked(work_tree, fields[1], fields[2], fields[-1])


def _add_tracked(work_tree: Worktree, xy: str, submodule: str, path: str) -> None:
    """Add a tracked file by its two letters.

    The first says how the index differs from HEAD, the second how the file differs from the index.
    """
    if xy[0] != ".":
        work_tree.staged.append(path)
    if submodule[0] == "S" and submodule[2] == "M":
        work_tree.submodules.append(path)
    elif xy[1] != "." and (submodule[0] == "N" or submodule[1] == "C"):
        work_tree.unstaged.append(path)
