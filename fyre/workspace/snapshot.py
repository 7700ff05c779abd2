"""Write the work tree as it is to a git tree object, without changing anything of the person's.

Not even the time stamps of the index change. What a tree can't hold is rejected; what a person may
not expect is noted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fyre.errors import UserError
from fyre.git import git_command
from fyre.workspace import filtered_files, worktree

_GIT_SETTINGS = (
    "core.splitIndex=false",
    "core.fsmonitor=false",
    "add.ignoreErrors=false",
    "advice.addEmbeddedRepo=false",
    "core.safecrlf=false",
)
"""Settings of git for work on a copy of the index.

A split index would write its other half into the repository, and a file system monitor must not
learn of an index that is deleted soon.
"""

_EXACT_LINE_ENDS = ("-c", "core.autocrlf=false")
_EMPTY_BLOBS = frozenset(
    {
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    }
)
"""The empty blob, SHA-1 and SHA-256: the index has it for ``git add --intent-to-add``."""

_MAX_SHOWN_PATHS = 20


@dataclass(frozen=True, slots=True)
class RepoPaths:
    """Paths of the repository around the current directory.

    ``common_dir`` holds the objects and the refs of all linked work trees.
    """

    top: Path
    git_dir: Path
    common_dir: Path
    index_file: Path
    prefix: str  # of the current directory below ``top``, with a slash at its end


@dataclass(frozen=True, slots=True)
class WorktreeStatus:
    """The result of one ``git status``; paths are relative to the top of the work tree."""

    head: str  # SHA, "" on an unborn branch
    changed: tuple[tuple[str, str], ...]  # git's two letters, and the path; "??": new
    new_files: tuple[str, ...]  # files with content that git does not have yet
    unmerged: tuple[str, ...]
    nested_repos: tuple[str, ...]  # repositories inside this one that are no submodules
    moved_submodules: tuple[str, ...]  # at another commit than HEAD has
    dirty_submodules: tuple[str, ...]  # with uncommitted changes inside them


def locate_repo(cwd: str | Path | None = None) -> RepoPaths:
    """Return the paths of the repository around ``cwd``.

    Raises ``UserError`` if there is no repository, or it has no work tree.
    """
    result = git_command.run_git(
        "rev-parse", "--path-format=absolute", "--is-inside-work-tree", "--git-dir",
        "--git-common-dir", "--git-path", "index", "--show-toplevel", "--show-prefix",
        cwd=cwd, check=False,
    )  # fmt: skip
    inside, *rest = result.stdout.decode(errors="surrogateescape").split("\n")
    if result.returncode and not inside:
        raise worktree.no_repository_error(result.stderr)
    if result.returncode or inside != "true":
        raise UserError("this repository has no work tree here", hint="go to a clone of it")
    git_dir, common_dir, index_file, top, prefix = rest[:5]
    return RepoPaths(Path(top), Path(git_dir), Path(common_dir), Path(index_file), prefix)


def read_status(repo_paths: RepoPaths) -> WorktreeStatus:
    """Return what differs from HEAD, without writing anything."""
    with _index_copy(repo_paths) as env:
        output = _run_git(
            repo_paths, env, "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z",
            "--no-renames", "--untracked-files=all",
        )  # fmt: skip
        moved = _find_moved_submodules(repo_paths, env)
    entries = output.split("\0")
    head = next(
        (
            entry.removeprefix("# branch.oid ")
            for entry in entries
            if entry.startswith("# branch.oid ")
        ),
        "(initial)",
    )
    tracked = [
        (fields[1], fields[2], fields[-1])
        for fields in (entry.split(" ", 8) for entry in entries if entry.startswith("1 "))
    ]
    untracked = [entry[2:] for entry in entries if entry.startswith("? ")]
    submodules = [(sub, path) for _, sub, path in tracked if sub[0] == "S"]
    registered = _registered_submodules(repo_paths) if submodules else frozenset()
    return WorktreeStatus(
        head="" if head.startswith("(") else head,
        changed=(*((xy, path) for xy, _, path in tracked), *(("??", path) for path in untracked)),
        new_files=(
            *(path for xy, sub, path in tracked if xy == ".A" and sub[0] == "N"),
            *(path for path in untracked if not path.endswith("/")),
        ),
        unmerged=tuple(entry.split(" ", 10)[10] for entry in entries if entry.startswith("u ")),
        nested_repos=(
            *(path for _, path in submodules if path not in registered),
            *(path.rstrip("/") for path in untracked if path.endswith("/")),
        ),
        moved_submodules=tuple(
            dict.fromkeys([*(path for _, path in submodules if path in registered), *moved])
        ),
        dirty_submodules=tuple(
            path for sub, path in submodules if path in registered and sub[2:] != ".."
        ),
    )


def reject_unrepresentable(repo_paths: RepoPaths, status: WorktreeStatus) -> None:
    """Raise ``UserError`` if there is something that no tree object can hold."""
    if status.unmerged:
        raise UserError(
            f"not merged yet: {format_paths(status.unmerged)}",
            hint="fix them and `git add` them first",
        )
    reject_nested_repos(status)
    if status.dirty_submodules:
        raise UserError(
            f"a submodule has changes of its own: {format_paths(status.dirty_submodules)}",
            hint="commit and push them there first",
        )
    reject_unpushed_submodules(repo_paths, status.moved_submodules)


def reject_nested_repos(status: WorktreeStatus) -> None:
    """Raise ``UserError`` if there are repositories inside this one that are no submodules.

    `git add` would add them as submodules that nobody could fetch.
    """
    if status.nested_repos:
        raise UserError(
            "a repository inside this one would come without its content: "
            f"{format_paths(status.nested_repos)}",
            hint="make it known with `git submodule add`, or keep it out with .gitignore",
        )


def reject_unpushed_submodules(repo_paths: RepoPaths, submodules: Sequence[str]) -> None:
    """Raise ``UserError`` if a submodule is at a commit that nobody else can fetch."""
    cloned = [path for path in submodules if (repo_paths.top / path / ".git").exists()]
    # --git-dir is given because GIT_DIR, in a hook, names the repository around the submodule.
    git_args = ("--git-dir=.git", "log", "-1", "--format=%h", "HEAD", "--not", "--remotes", "--")
    unpushed = [
        path
        for path in cloned
        if git_command.git_output_or_none(*git_args, cwd=repo_paths.top / path) != ""
    ]
    if unpushed:
        raise UserError(
            f"a submodule is at a commit that is not pushed: {format_paths(unpushed)}",
            hint=f"git -C {unpushed[0]} push, then again",
        )


@dataclass(frozen=True, slots=True)
class SnapshotTree:
    """A tree object, and notes about it for the person."""

    sha: str
    notes: tuple[str, ...]
    lfs_files: tuple[str, ...] = ()  # of which a run may see the pointers only


def write_tree(repo_paths: RepoPaths) -> SnapshotTree:
    """Write the work tree as a tree object.

    It holds tracked changes, new files unless they are ignored, deletions and file modes. Bytes are
    those of the work tree, whatever ``core.autocrlf`` says. Where .gitattributes has a run see
    others, in the tree or in its checkout, the files are noted; of files that must be written to
    be compared only so many as a large repository can wait for, and the number of the others.
    """
    with _index_copy(repo_paths) as env:
        _forget_converted(repo_paths, env)
        _run_git(repo_paths, env, *_EXACT_LINE_ENDS, "add", "--all", "--sparse")
        sha = _run_git(repo_paths, env, "write-tree")
        entries = _list_entries(repo_paths, env)
        taken = {entry.path: entry.sha for entry in entries if entry.is_taken}
        index = filtered_files.StoredIndex(
            repo_paths.top, repo_paths.common_dir / "objects", env["GIT_INDEX_FILE"]
        )
        filtered = filtered_files.find_filtered(index, taken)
    skipped_paths = [entry.path for entry in entries if entry.flag != "H"]
    hidden = [path for path in skipped_paths if os.path.lexists(repo_paths.top / path)]
    notes = []
    if hidden:
        notes.append(
            "kept as committed, because git was told to overlook it "
            f"(assume-unchanged or skip-worktree): {format_paths(hidden)}"
        )
    if filtered.changed:
        notes.append(
            "the run sees other bytes than these files have, because .gitattributes changes line "
            f"ends or names a filter: {format_paths(filtered.changed)}"
        )
    if filtered.not_compared:
        notes.append(
            f"{filtered.not_compared} more files may arrive with other bytes: so many or so large "
            "files with a filter, ident or another encoding in .gitattributes are not all compared"
        )
    return SnapshotTree(sha, tuple(notes), filtered.lfs_files)


def reject_missing_workdir(repo_paths: RepoPaths, tree: str, workdir: str | None) -> None:
    """Raise ``UserError`` if a tree lacks the directory in which the command is to start.

    git stores no empty directory, and none that is ignored as a whole.
    """
    path = os.path.normpath(workdir) if workdir else "."
    if path == ".":
        return
    entry = git_command.git_output_or_none(
        "ls-tree", "--full-tree", tree, "--", path, cwd=repo_paths.top
    )
    if not entry or entry.startswith("100"):  # a link may lead to a directory
        raise UserError(
            f"nothing was run: there is no directory {workdir} in what would run",
            hint="--workdir names one from the top of the repository that holds files",
        )


def commit_tree(
    repo_paths: RepoPaths, tree: str, parents: Sequence[str], text: str, *, sign: bool
) -> str:
    """Commit a tree, on no branch, and return the SHA.

    Raises ``UserError`` with the output of git and of the program that signs.
    """
    parent_args = [word for parent in dict.fromkeys(parents) if parent for word in ("-p", parent)]
    try:
        return git_command.git_output(
            "-c", "i18n.commitEncoding=UTF-8", "commit-tree", "-S" if sign else "--no-gpg-sign",
            *parent_args, tree, cwd=repo_paths.top, stdin=text.encode(errors="surrogateescape"),
        )  # fmt: skip
    except git_command.GitError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("*** ")), "; ".join(lines))
        hint = (
            "set user.name and user.email"
            if "***" in reason or "ident" in reason
            else "is the key there? git commit -S"
        )
        raise UserError(f"git made no commit: {reason.strip('* ')}", hint=hint) from error


def format_paths(paths: Sequence[str]) -> str:
    """Return the first of the paths as printable text, and the number of the others."""
    rest = f" and {len(paths) - _MAX_SHOWN_PATHS} more" if len(paths) > _MAX_SHOWN_PATHS else ""
    return ", ".join(map(worktree.printable_path, paths[:_MAX_SHOWN_PATHS])) + rest


@contextmanager
def _index_copy(repo_paths: RepoPaths) -> Iterator[dict[str, str]]:
    """Yield an environment in which git uses a copy of the index."""
    with tempfile.TemporaryDirectory(prefix="fyre-") as folder:
        copy = Path(folder, "index")
        try:
            with repo_paths.index_file.open("rb") as file:
                copy.write_bytes(file.read())
                stat = os.fstat(file.fileno())
            # git compares file times with the index's own time to find files that may have changed
            # without a sign of it, so the copy must have the same time.
            os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        except FileNotFoundError:
            pass  # nothing has ever been added to this index
        yield {"GIT_INDEX_FILE": str(copy), "GIT_OPTIONAL_LOCKS": "0"}


def _run_git(repo_paths: RepoPaths, env: dict[str, str], *git_args: str) -> str:
    settings = [word for setting in _GIT_SETTINGS for word in ("-c", setting)]
    return git_command.git_output(*settings, *git_args, cwd=repo_paths.top, env=env)


class _IndexEntry(NamedTuple):
    """One path of an index: what git was told of it, its mode, and its blob or commit."""

    flag: str
    mode: str
    sha: str
    path: str

    @property
    def is_taken(self) -> bool:
        """True for a file of which `git add` takes the bytes of the work tree."""
        return self.flag == "H" and self.mode in ("100644", "100755")


def _list_entries(repo_paths: RepoPaths, env: dict[str, str]) -> list[_IndexEntry]:
    output = _run_git(repo_paths, env, "ls-files", "-v", "--stage", "-z")
    entries = []
    for entry in output.split("\0")[:-1]:
        fields, _, path = entry.partition("\t")
        flag, mode, sha, _ = fields.split(" ")
        entries.append(_IndexEntry(flag, mode, sha, path))
    return entries


def _forget_converted(repo_paths: RepoPaths, env: dict[str, str]) -> None:
    """Have `git add` read each file whose line ends ``core.autocrlf`` has changed.

    By its time stamp it is no other file than the one that was stored.
    """
    setting = git_command.git_output_or_none("config", "core.autocrlf", cwd=repo_paths.top)
    if setting is None or setting.lower() in ("false", "no", "off", "0"):
        return
    entries = {
        entry.path: entry
        for entry in _list_entries(repo_paths, env)
        if entry.is_taken and entry.sha not in _EMPTY_BLOBS
    }
    blobs = {path: entry.sha for path, entry in entries.items()}
    lines = [
        f"{entries[path].mode} {entries[path].sha} 0\t{path}\0"
        for path in filtered_files.find_other_sizes(repo_paths.top, blobs)
    ]
    git_command.run_git(
        "update-index", "-z", "--index-info", cwd=repo_paths.top, env=env,
        stdin="".join(lines).encode(errors="surrogateescape"),
    )  # fmt: skip


def _find_moved_submodules(repo_paths: RepoPaths, env: dict[str, str]) -> list[str]:
    """Return the submodules at another commit than the index has.

    Those that git is told to ignore are among them: `git add` adds their new commit all the same.
    """
    if not (repo_paths.top / ".gitmodules").exists():
        return []
    raw_changes = _run_git(
        repo_paths, env, "diff-files", "--raw", "-z", "--ignore-submodules=dirty"
    ).split("\0")
    return [
        path
        for change, path in zip(raw_changes[::2], raw_changes[1::2], strict=False)
        if change[8:14] == "160000"
    ]


def _registered_submodules(repo_paths: RepoPaths) -> frozenset[str]:
    """Return the paths of all submodules in .gitmodules."""
    config_output = (
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
    return frozenset(entry.partition("\n")[2] for entry in config_output.split("\0"))
