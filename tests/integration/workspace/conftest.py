"""A repository, a remote, and the world that a snapshot must leave as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.cli import main
from tests.support.first_push import push_to_bare

Git = Callable[..., str]
LAB = "refs/heads/fyre/ada"


@pytest.fixture
def far(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bare repository to push to, which has what ``repo`` has; we stand in ``repo``."""
    path = tmp_path / "far.git"
    push_to_bare(repo, path, f"file://{path}", is_upstream=True)
    monkeypatch.chdir(repo)
    return path


def world(repo: Path, git: Git) -> dict[str, object]:
    """All that a snapshot must leave as it is, down to time stamps."""
    asked = git("rev-parse", "--absolute-git-dir", "--git-common-dir", cwd=repo)
    git_dir, common_dir = map(Path, asked.split("\n"))
    index = git_dir / "index"
    refs = git("for-each-ref", cwd=repo).splitlines()
    files = [path for path in repo.rglob("*") if ".git" not in path.relative_to(repo).parts]
    return {
        "head": (git_dir / "HEAD").read_bytes(),
        "index": (index.read_bytes(), index.stat().st_mtime_ns, index.stat().st_mode)
        if index.exists()
        else None,
        "git files": sorted(path.name for path in git_dir.iterdir() if path.name != "logs"),
        "config": (repo / common_dir / "config").read_bytes(),
        # a push notes where the branch is at the remote, as any push does
        "refs": [
            ref
            for ref in refs
            if "refs/fyre/lab/" not in ref and "refs/remotes/origin/fyre/" not in ref
        ],
        "files": {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in files},
        "status": git(
            "--no-optional-locks",
            "status",
            "--porcelain=v2",
            "--branch",
            "--untracked-files=all",
            cwd=repo,
        ),
        "worktrees": git("worktree", "list", cwd=repo),
    }


@pytest.fixture
def run(repo: Path, git: Git) -> Callable[..., int]:
    """``run(*options)``: `fyre run --detach … -- true`, held to leave everything as it was."""

    def go(*options: str, at: Path = repo) -> int:
        before = world(at, git)
        code = main.main(["run", "--detach", *options, "--", "true"])
        assert world(at, git) == before
        return code

    return go


def files_of(far: Path, git: Git, rev: str = LAB) -> dict[str, str]:
    """Mode and path → content of a commit there."""
    rows = [row.split("\t") for row in git("ls-tree", "-r", rev, cwd=far).splitlines()]
    return {
        f"{facts[:6]} {path}": git("cat-file", "-p", facts.split()[2], cwd=far)
        for facts, path in rows
    }
