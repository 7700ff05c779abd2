"""Bare repositories on disk: which names are allowed, where they lie, how they are born."""

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

from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnreadableError,
    as_integer,
    as_moment,
    parse_json,
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
# The reflogs are the outbox of webhooks, so they never expire. A push waits for no gc (the forge runs it when it is
# idle), and nobody can push what would read as a status of ours.

_METADATA_FILE = "fyre.json"
"""Beside HEAD: the numeric id that stays for good, and the time of birth."""

_REPOSITORY_FACTS = StoredForm(
    "a repository's facts",
    (
        StoredField("id", "id", as_integer, required=True),
        StoredField("created_at", "created_at", as_moment, required=True),
    ),
)


class BadNameError(ValueError):
    """Not ``owner/repo`` in letters, digits, ``.``, ``_`` and ``-``."""


@dataclass(frozen=True, slots=True)
class BareRepository:
    """One bare repository. ``created_at`` is in seconds since the epoch."""

    name: str  # owner/repo
    git_dir: Path
    id: int
    created_at: float

    @property
    def default_branch(self) -> str:
        """The branch that HEAD names, born or not."""
        head = (self.git_dir / "HEAD").read_text(errors="replace").strip()
        return head.removeprefix("ref: refs/heads/")


def validate_repo_name(name: str) -> str:
    """The name itself. Raises ``BadNameError`` for one that could mean another path or be read as an option."""
    parts = name.split("/")
    if len(parts) != 2 or not all(_NAME_PART.fullmatch(part) for part in parts):
        raise BadNameError(f"{name[:200]!r} is not OWNER/REPO")
    if ".." in name or any(part.lower().endswith((".git", ".lock")) for part in parts):
        raise BadNameError(f"{name[:200]!r} is not OWNER/REPO")
    return name


@dataclass(frozen=True)
class RepositoryStore:
    """All repositories of a forge, under ``root/OWNER/REPO.git``. ``mint`` makes ids."""

    root: Path
    next_id: Callable[[], int]

    def git_dir_for_name(self, name: str) -> Path:
        """Where a repository lies, born or not. Raises ``BadNameError``."""
        return self.root / (validate_repo_name(name) + ".git")

    def find_repo(self, name: str) -> BareRepository | None:
        """The repository of that name; None when there is none, or the name is no name."""
        try:
            where = self.git_dir_for_name(name)
            facts = _REPOSITORY_FACTS.decode(parse_json((where / _METADATA_FILE).read_bytes()))
        except (BadNameError, FileNotFoundError, NotADirectoryError):
            return None
        except UnreadableError as error:  # it stays as it is, for whoever can read it
            warn_once(str(where / _METADATA_FILE), str(error))
            return None
        return BareRepository(name, where, facts["id"], facts["created_at"])

    def find_git_dir(self, repository_id: int) -> Path | None:
        """The bare repository of that id, or None."""
        return next((bare.git_dir for bare in self if bare.id == repository_id), None)

    def get_or_create(self, name: str) -> BareRepository:
        """The repository of that name, made now if need be; at no instant does half of one exist under its name."""
        found = self.find_repo(name)
        if found is not None:
            return found
        where = self.git_dir_for_name(name)
        where.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            self._init_repo(fresh)
            fresh.rename(where)
        except OSError:  # somebody else was faster: a directory that is not empty is never replaced
            shutil.rmtree(fresh, ignore_errors=True)
        found = self.find_repo(name)
        if found is None:
            raise OSError(f"{where} can't be made, or is not a repository of this forge")
        return found

    def _init_repo(self, git_dir: Path) -> None:
        git_dir.chmod(0o755)
        for directory in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (git_dir / directory).mkdir(parents=True)
        (git_dir / "config").write_text(_GIT_CONFIG)
        (git_dir / _METADATA_FILE).write_text(
            json.dumps({"id": self.next_id(), "created_at": time.time()})
        )
        (git_dir / "HEAD").write_text("ref: refs/heads/main\n")

    def __iter__(self) -> Iterator[BareRepository]:
        """Every repository, by name."""
        for where in sorted(self.root.glob("*/*.git")):
            found = self.find_repo(f"{where.parent.name}/{where.name.removesuffix('.git')}")
            if found is not None:
                yield found


def set_default_branch(git_dir: Path, branch: str) -> None:
    """Make a branch the default one."""
    fresh = git_dir / "HEAD.lock"
    fresh.write_text(f"ref: refs/heads/{branch}\n")
    os.replace(fresh, git_dir / "HEAD")  # noqa: PTH105 - the atomic one, said plainly
