"""A repository that was pushed already, without a process of git: hundreds of tests begin so.

What these functions leave behind is what git leaves. The tests of pushes push by git.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from fyre.local_forge import auth
from fyre.local_forge.forge import LocalForge

_BARE_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
_NOTHING = "0" * 40


def read_head(repo: Path) -> str:
    """Return the SHA of HEAD, as ``git rev-parse HEAD``: of a branch that is in a file, or none."""
    head = (repo / ".git/HEAD").read_text().strip()
    named = head.removeprefix("ref: ")
    return head if named == head else (repo / ".git" / named).read_text().strip()


def push_to_forge(forge: LocalForge, name: str, repo: Path, token: str = "") -> str:
    """Push ``main`` of ``repo`` to a repository that is new there; the webhook follows.

    It becomes the remote ``origin``. Return the SHA.
    """
    sha = read_head(repo)
    git_dir = forge.repositories.get_or_create(name).git_dir
    login = auth.authenticate_pusher(token and f"token {token}", forge.service_token).login
    _copy_branch(repo, git_dir)
    moved = f"{_NOTHING} {sha} {login} <{login}@localhost> {int(time.time())} +0000\tpush\n"
    (git_dir / "logs/refs/heads").mkdir(parents=True)
    (git_dir / "logs/refs/heads/main").write_text(moved)
    set_origin(repo, f"{forge.base_url}/{name}.git")
    forge.outbox.schedule_repo(name, login)
    return sha


def push_to_bare(repo: Path, git_dir: Path, url: str, *, is_upstream: bool = False) -> None:
    """Make a bare repository that has ``main`` of ``repo``: its remote ``origin``, at ``url``."""
    for folder in ("hooks", "objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (git_dir / folder).mkdir(parents=True)
    (git_dir / "config").write_text(_BARE_CONFIG)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    _copy_branch(repo, git_dir)
    set_origin(repo, url)
    if is_upstream:
        with (repo / ".git/config").open("a") as config:
            config.write('[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n')


def set_origin(repo: Path, url: str) -> None:
    """Name a remote ``origin``, to which ``main`` has just been pushed."""
    with (repo / ".git/config").open("a") as config:
        config.write(
            f'[remote "origin"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
        )
    sha = read_head(repo)
    moved = f"{_NOTHING} {sha} Ada <ada@example.org> {int(time.time())} +0000\tupdate by push\n"
    for path, text in (("refs", f"{sha}\n"), ("logs/refs", moved)):
        file = repo / ".git" / path / "remotes/origin/main"
        file.parent.mkdir(parents=True)
        file.write_text(text)


def _copy_branch(repo: Path, git_dir: Path) -> None:
    """Copy every object, then ``main``: who sees the branch finds its objects."""
    for folder in (repo / ".git/objects").glob("??"):
        shutil.copytree(folder, git_dir / "objects" / folder.name)
    (git_dir / "refs/heads/main").write_text(read_head(repo) + "\n")
