"""Bare repositories on disk: valid names, paths, creation."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fyre.regular_files import read_regular
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnreadableError,
    as_integer,
    as_moment,
    read_json,
    warn_once,
)

_NAME_PART = re.compile(r"(?![.-])[A-Za-z0-9._-]{1,100}", re.ASCII)

_GIT_CONFIG = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
	logAllRefUpdates = always
[http]
	receivepack = true
	getanyfile = false
[uploadpack]
	allowAnySHA1InWant = true
	allowFilter = true
[receive]
	autogc = false
	hideRefs = refs/notes/fyre
	hideRefs = refs/fyre
[gc]
	autoDetach = false
	reflogExpire = never
	reflogExpireUnreachable = never
"""
# The reflogs are the outbox of webhooks, so they never expire. No push waits for a gc (the forge
# runs it when it is idle), and nobody can push what would be read as a status of the forge.

_METADATA_FILE = "fyre.json"
"""Beside HEAD: the permanent numeric id, and the time of creation."""

_METADATA_FORM = StoredForm(
    "a repository's facts",
    (
        StoredField("id", "id", as_integer, required=True),
        StoredField("created_at", "created_at", as_moment, required=True),
    ),
)


BAD_NAME = (
    "a repository's name is OWNER/REPO, in the letters a to z, digits, '.', '_' and '-', "
    "and neither part begins with '.' or '-'"
)


class BadNameError(ValueError):
    """The name is not ``owner/repo`` in letters, digits, ``.``, ``_`` and ``-``."""


@dataclass(frozen=True, slots=True)
class BareRepository:
    """One bare repository. ``created_at`` is in seconds since the epoch."""

    name: str  # owner/repo
    git_dir: Path
    id: int
    created_at: float

    @property
    def default_branch(self) -> str:
        """The branch that HEAD names, which need not exist yet."""
        head = read_regular(self.git_dir / "HEAD").decode(errors="replace").strip()
        return head.removeprefix("ref: refs/heads/")


def validate_repo_name(name: str) -> str:
    """Return the name itself.

    Raises ``BadNameError`` for one that could mean another path or be read as an option.
    """
    parts = name.split("/")
    if len(parts) != 2 or not all(_NAME_PART.fullmatch(part) for part in parts):
        raise BadNameError(f"{name[:200]!r} is not OWNER/REPO")
    if ".." in name or any(part.lower().endswith((".git", ".lock")) for part in parts):
        raise BadNameError(f"{name[:200]!r} is not OWNER/REPO")
    return name


@dataclass(frozen=True)
class RepositoryStore:
    """All repositories of a forge, under ``root/OWNER/REPO.git``. ``next_id`` returns new ids."""

    root: Path
    next_id: Callable[[], int]

    def git_dir_for_name(self, name: str) -> Path:
        """Return the path of a repository, which need not exist yet. Raises ``BadNameError``."""
        return self.root / (validate_repo_name(name) + ".git")

    def find_repo(self, name: str) -> BareRepository | None:
        """Return the repository of that name; None if there is none, or the name is invalid."""
        try:
            git_dir = self.git_dir_for_name(name)
            metadata = _METADATA_FORM.decode(read_json(git_dir / _METADATA_FILE))
        except (BadNameError, FileNotFoundError):
            return None
        except UnreadableError as error:  # it stays for a version that can read it
            warn_once(str(git_dir / _METADATA_FILE), str(error))
            return None
        return BareRepository(name, git_dir, metadata["id"], metadata["created_at"])

    def find_git_dir(self, repository_id: int) -> Path | None:
        """Return the path of the repository with that id, or None."""
        return next((repo.git_dir for repo in self if repo.id == repository_id), None)

    def get_or_create(self, name: str) -> BareRepository:
        """Return the repository of that name, and create it if needed.

        At no instant does half of one exist under its name.
        """
        repo = self.find_repo(name)
        if repo is not None:
            return repo
        git_dir = self.git_dir_for_name(name)
        git_dir.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            self._init_repo(temporary)
            temporary.rename(git_dir)
        except OSError:  # another process was faster: a rename replaces only an empty directory
            shutil.rmtree(temporary, ignore_errors=True)
        repo = self.find_repo(name)
        if repo is None:
            raise OSError("it can't be created, or something else has its name")
        return repo

    def _init_repo(self, git_dir: Path) -> None:
        for directory in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (git_dir / directory).mkdir(parents=True)
        (git_dir / "config").write_text(_GIT_CONFIG)
        metadata = {"id": self.next_id(), "created_at": time.time()}
        (git_dir / _METADATA_FILE).write_text(json.dumps(metadata))
        (git_dir / "HEAD").write_text("ref: refs/heads/main\n")

    def __iter__(self) -> Iterator[BareRepository]:
        """Yield every repository, by name."""
        for git_dir in sorted(self.root.glob("*/*.git")):
            repo = self.find_repo(f"{git_dir.parent.name}/{git_dir.name.removesuffix('.git')}")
            if repo is not None:
                yield repo


def set_default_branch(git_dir: Path, branch: str) -> None:
    """Make a branch the default one."""
    lock = git_dir / "HEAD.lock"
    lock.write_text(f"ref: refs/heads/{branch}\n")
    os.replace(lock, git_dir / "HEAD")  # noqa: PTH105 - os.replace is known to be atomic
