"""The working tree as it is, as a tree object: nothing of the person's is touched, not even the index's time stamps.

What can't be kept in a tree is refused; what a person may not know of is noted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fyre.errors import UserError
from fyre.git import git_command
from fyre.workspace import worktree

_GIT_SETTINGS = (
    "core.splitIndex=false",
    "core.fsmonitor=false",
    "add.ignoreErrors=false",
    "advice.addEmbeddedRepo=false",
)
"""A split index would write its other half into the repository; no monitor learns of an index that is soon gone."""

_MAX_SHOWN_PATHS = 20


@dataclass(frozen=True, slots=True)
class RepoPaths:
    """Where we stand. ``common`` holds the objects and the refs of all linked worktrees."""

    top: Path
    git_dir: Path
    common_dir: Path
    index_file: Path
    prefix: str  # of the current directory below ``top``, with a slash at its end


@dataclass(frozen=True, slots=True)
class WorktreeStatus:
    """One ``git status``: what is not as it was committed. Paths are relative to the top."""

    head: str  # SHA, "" on an unborn branch
    changed: tuple[tuple[str, str], ...]  # git's two letters and the path; "??" for a new file
    new_files: tuple[str, ...]  # files that git did not know the content of
    unmerged: tuple[str, ...]
    nested_repos: tuple[str, ...]  # repositories that git was not told of
    moved_submodules: tuple[str, ...]  # that are not at the commit that HEAD names
    dirty_submodules: tuple[str, ...]  # submodules with changes of their own


def locate_repo(cwd: str | Path | None = None) -> RepoPaths:
    """The work tree around ``cwd``. Raises ``UserError`` where there is none."""
    done = git_command.run_git("rev-parse", "--path-format=absolute", "--is-inside-work-tree", "--git-dir", "--git-common-dir",
                   "--git-path", "index", "--show-toplevel", "--show-prefix", cwd=cwd, check=False)  # fmt: skip
    inside, *rest = done.stdout.decode(errors="surrogateescape").split("\n")
    if done.returncode and not inside:
        raise worktree.no_repository_error(done.stderr)
    if done.returncode or inside != "true":
        raise UserError("this repository has no work tree here", hint="go to a clone of it")
    git_dir, common, index, top, prefix = rest[:5]
    return RepoPaths(Path(top), Path(git_dir), Path(common), Path(index), prefix)


def read_status(repo_paths: RepoPaths) -> WorktreeStatus:
    """What is not as it was committed, without writing anything."""
    with _index_copy(repo_paths) as env:
        said = _run_git(repo_paths, env, "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z", "--no-renames",
                    "--untracked-files=all")  # fmt: skip
        moved = _find_moved_submodules(repo_paths, env)
    entries = said.split("\0")
    head = next(
        (e.removeprefix("# branch.oid ") for e in entries if e.startswith("# branch.oid ")),
        "(initial)",
    )
    tracked = [
        (f[1], f[2], f[-1]) for f in (e.split(" ", 8) for e in entries if e.startswith("1 "))
    ]
    strange = [e[2:] for e in entries if e.startswith("? ")]
    subs = [(sub, path) for _, sub, path in tracked if sub[0] == "S"]
    registered = _registered_submodules(repo_paths) if subs else frozenset()
    return WorktreeStatus(
        head="" if head.startswith("(") else head,
        changed=(*((xy, path) for xy, _, path in tracked), *(("??", path) for path in strange)),
        new_files=(*(path for xy, sub, path in tracked if xy == ".A" and sub[0] == "N"),
             *(path for path in strange if not path.endswith("/"))),
        unmerged=tuple(e.split(" ", 10)[10] for e in entries if e.startswith("u ")),
        nested_repos=(*(path for _, path in subs if path not in registered),
                *(path.rstrip("/") for path in strange if path.endswith("/"))),
        moved_submodules=tuple(dict.fromkeys([*(path for _, path in subs if path in registered), *moved])),
        dirty_submodules=tuple(path for sub, path in subs if path in registered and sub[2:] != ".."),
    )  # fmt: skip


def reject_unrepresentable(repo_paths: RepoPaths, status: WorktreeStatus) -> None:
    """Raise ``UserError`` over what no tree can hold."""
    if status.unmerged:
        raise UserError(
            f"not merged yet: {format_paths(status.unmerged)}",
            hint="mend them and `git add` them first",
        )
    reject_nested_repos(status)
    if status.dirty_submodules:
        raise UserError(
            f"a submodule has changes of its own: {format_paths(status.dirty_submodules)}",
            hint="commit and push them there first",
        )
    reject_unpushed_submodules(repo_paths, status.moved_submodules)


def reject_nested_repos(status: WorktreeStatus) -> None:
    """Raise ``UserError`` over repositories that `git add` would take for submodules, and nobody could fetch."""
    if status.nested_repos:
        raise UserError(
            f"a repository inside this one would come without its content: {format_paths(status.nested_repos)}",
            hint="make it known with `git submodule add`, or keep it out with .gitignore",
        )


def reject_unpushed_submodules(repo_paths: RepoPaths, submodules: Sequence[str]) -> None:
    """Raise ``UserError`` over submodules that are at commits which nobody else can fetch."""
    there = [path for path in submodules if (repo_paths.top / path / ".git").exists()]
    # Told where to look: in a hook, GIT_DIR names the repository around them.
    words = ("--git-dir=.git", "log", "-1", "--format=%h", "HEAD", "--not", "--remotes", "--")
    lost = [
        path
        for path in there
        if git_command.git_output_or_none(*words, cwd=repo_paths.top / path) != ""
    ]
    if lost:
        raise UserError(
            f"a submodule is at a commit that is not pushed: {format_paths(lost)}",
            hint=f"git -C {lost[0]} push, then again",
        )


@dataclass(frozen=True, slots=True)
class SnapshotTree:
    """A tree object, and what the person may want to know of it."""

    sha: str
    notes: tuple[str, ...]


def write_tree(repo_paths: RepoPaths) -> SnapshotTree:
    """Write the working tree as a tree object: tracked changes, new files but for ignored ones, deletions, modes."""
    with _index_copy(repo_paths) as env:
        _run_git(repo_paths, env, "add", "--all", "--sparse")
        sha = _run_git(repo_paths, env, "write-tree")
        listed = _run_git(repo_paths, env, "ls-files", "-v", "-z").split("\0")
    overlooked = [entry[2:] for entry in listed if entry and entry[0] != "H"]
    hidden = [path for path in overlooked if os.path.lexists(repo_paths.top / path)]
    notes = ["kept as committed, because git was told to overlook it (assume-unchanged or skip-worktree): "
             + format_paths(hidden)] if hidden else []  # fmt: skip
    return SnapshotTree(sha, tuple(notes))


def commit_tree(
    repo_paths: RepoPaths, tree: str, parents: Sequence[str], text: str, *, sign: bool
) -> str:
    """A commit of a tree, on no branch. Raises ``UserError`` with the words of git and of what it signs with."""
    words = [word for parent in dict.fromkeys(parents) if parent for word in ("-p", parent)]
    try:
        return git_command.git_output("-c", "i18n.commitEncoding=UTF-8", "commit-tree", "-S" if sign else "--no-gpg-sign", *words,
                       tree, cwd=repo_paths.top, stdin=text.encode(errors="surrogateescape"))  # fmt: skip
    except git_command.GitError as error:
        said = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        told = next((line for line in said if line.startswith("*** ")), "; ".join(said))
        hint = (
            "set user.name and user.email"
            if "***" in told or "ident" in told
            else "is the key there? git commit -S"
        )
        raise UserError(f"git made no commit: {told.strip('* ')}", hint=hint) from error


def format_paths(paths: Sequence[str]) -> str:
    """The first paths, as text that can be printed."""
    more = f" and {len(paths) - _MAX_SHOWN_PATHS} more" if len(paths) > _MAX_SHOWN_PATHS else ""
    return (
        ", ".join(path.encode(errors="replace").decode() for path in paths[:_MAX_SHOWN_PATHS])
        + more
    )


@contextmanager
def _index_copy(repo_paths: RepoPaths) -> Iterator[dict[str, str]]:
    """An environment in which git uses a copy of the index."""
    with tempfile.TemporaryDirectory(prefix="fyre-") as folder:
        copy = Path(folder, "index")
        try:
            with repo_paths.index_file.open("rb") as file:
                copy.write_bytes(file.read())
                then = os.fstat(file.fileno())
            # Git tells by the index's own time which files may have changed since without it showing.
            os.utime(copy, ns=(then.st_atime_ns, then.st_mtime_ns))
        except FileNotFoundError:
            pass  # nothing was ever added here
        yield {"GIT_INDEX_FILE": str(copy), "GIT_OPTIONAL_LOCKS": "0"}


def _run_git(repo_paths: RepoPaths, env: dict[str, str], *words: str) -> str:
    settings = [word for setting in _GIT_SETTINGS for word in ("-c", setting)]
    return git_command.git_output(*settings, *words, cwd=repo_paths.top, env=env)


def _find_moved_submodules(repo_paths: RepoPaths, env: dict[str, str]) -> list[str]:
    """The submodules at another commit than the index names, even if git is told to ignore that: it adds them so."""
    if not (repo_paths.top / ".gitmodules").exists():
        return []
    said = _run_git(
        repo_paths, env, "diff-files", "--raw", "-z", "--ignore-submodules=dirty"
    ).split("\0")
    return [
        path
        for change, path in zip(said[::2], said[1::2], strict=False)
        if change[8:14] == "160000"
    ]


def _registered_submodules(repo_paths: RepoPaths) -> frozenset[str]:
    """The paths of all submodules that .gitmodules names."""
    said = (
        git_command.git_output_or_none(
            "config",
            "-z",
            "-f",
            ".gitmodules",
            "--get-regexp",
            r"^submodule\..*\.path$",
            cwd=repo_paths.top,
        )
        or ""
    )
    return frozenset(entry.partition("\n")[2] for entry in said.split("\0"))
