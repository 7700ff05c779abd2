"""Complete bare mirrors of the forge's repositories.

The relay serves them, and the controller reads them. Branches and tags only, and never a bare SHA:
a forge shows the objects of forks under their parents, and a mirror that asked for them would vouch
for code that nobody with write access has pushed. For an approved commit of a fork, its history is
fetched as well, and no branch of the mirror leads to it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fyre.errors import TransientError, UserError
from fyre.git import fetch_process, git_command
from fyre.git.fetch_process import FetchProcesses
from fyre.github.errors import DeniedError, NotFoundError
from fyre.runs.run import Repository, Run, repository_from_json, repository_to_json
from fyre.stored_form import UnreadableError, read_json, warn_once

MIRRORS_BYTES_MAX = 20 * 1024**3
"""Bytes of all mirrors together.

Beyond it the least recently used mirrors are removed, except those that a run pins.
"""

PACKS_MAX = 30
"""Each fetch leaves a pack; more than these are repacked into fewer."""

_METADATA_FILE = "fyre-repository.json"  # in each mirror: its repository
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass
class _FetchLock:
    """Lock of the fetches of one repository.

    A fetch that starts after a question was asked answers that question too.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    fetches_started: int = 0
    last_error: Exception | None = None


class MirrorStore:
    """The mirrors in one directory, which only this process uses. Thread-safe.

    ``url_of`` returns the URL to fetch a repository from, without a credential; ``token_of``
    returns a token for each fetch. ``renew_token`` is called with one that was refused; if it
    returns True, the fetch is tried once more.
    """

    def __init__(
        self,
        root: Path,
        url_of: Callable[[Repository], str],
        token_of: Callable[[Repository], str | None],
        bytes_max: int = MIRRORS_BYTES_MAX,
        renew_token: Callable[[Repository, str], bool] = lambda *_: False,
    ) -> None:
        self._root, self._bytes_max = root, bytes_max
        self._url_of, self._token_of, self._renew_token = url_of, token_of, renew_token
        self._fetch_processes = FetchProcesses()
        self._fetch_locks: dict[int, _FetchLock] = {}
        self._fetch_locks_guard, self._eviction_lock = threading.Lock(), threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(root)

    def cut_fetches(self) -> None:
        """End the fetches that run, and start no more: whoever waits for one is not kept."""
        self._fetch_processes.close()

    def mirror_dir(self, repository: Repository) -> Path:
        """Return the path of the mirror, which need not exist yet."""
        return self._root / f"{repository.id}.git"

    def find_mirror(self, repository_id: int) -> Path | None:
        """Return the mirror of a repository, or None; counts as a use of it."""
        path = self._root / f"{repository_id}.git"
        if not _is_complete_mirror(path):
            return None
        os.utime(path)
        return path

    def find_remote(self, repository_id: int) -> tuple[str, str | None] | None:
        """Return the URL and the token to fetch a mirror's repository with, for its LFS objects."""
        repository = _read_repository(self._root / f"{repository_id}.git")
        if repository is None:
            return None
        return self._url_of(repository), self._token_of(repository)

    def ensure_commit(self, repository: Repository, sha: str, run_key: str = "") -> Path:
        """Return the mirror with that commit in it, fetched only if the commit is missing.

        With ``run_key``, the commit is pinned for that run. Raises ``NotFoundError`` if no branch
        or tag of the forge leads to it, ``DeniedError``, ``TransientError``.
        """
        path, fetch_lock = self.mirror_dir(repository), self._fetch_lock(repository.id)
        fetches_before = fetch_lock.fetches_started
        if not _pin_if_present(path, sha, run_key):
            with fetch_lock.lock:
                if not _has_commit(path, sha):
                    self._fetch_if_older(repository, path, fetch_lock, fetches_before)
                if not _has_commit(path, sha):
                    raise NotFoundError(
                        f"commit {sha[:12]} of {repository.name}: "
                        "the forge no longer has it on any branch or tag",
                        hint="was it force-pushed away, or its branch deleted?",
                    )
                if run_key:
                    _mirror_git_output(path, "update-ref", _pin_ref(run_key), sha)
        self.find_mirror(repository.id)
        return path

    def fetch_mirror(self, repository: Repository) -> None:
        """Fetch the forge's branches and tags now. Raises like ``ensure_commit``."""
        path, fetch_lock = self.mirror_dir(repository), self._fetch_lock(repository.id)
        fetches_before = fetch_lock.fetches_started
        with fetch_lock.lock:
            self._fetch_if_older(repository, path, fetch_lock, fetches_before)

    def mirror_for_run(self, run: Run) -> Path:
        """Return the mirror with the run's commit pinned in it. Raises like ``ensure_commit``."""
        match = re.fullmatch(r"refs/pull/(\d+)/head", run.ref)
        if match and not _has_commit(self.mirror_dir(run.repository), run.sha):
            # Another receiver approved it.
            self.pull_head(run.repository, int(match[1]))
        return self.ensure_commit(run.repository, run.sha, run.key)

    def fetch_wanted(self, repository_id: int, sha: str) -> None:
        """Fetch a mirror if it lacks a commit: one that was pushed since, as of a submodule.

        Raises ``DeniedError``, ``TransientError``; a commit that the forge lacks is no error here.
        """
        repository = _read_repository(self._root / f"{repository_id}.git")
        if repository is not None:
            with suppress(NotFoundError):
                self.ensure_commit(repository, sha)

    def pull_head(self, repository: Repository, number: int) -> str:
        """Fetch a pull request's head with its whole history and return its SHA.

        Only a run's pin will keep it. Raises ``NotFoundError``, ``DeniedError``,
        ``TransientError``.
        """
        path, fetch_lock = self.mirror_dir(repository), self._fetch_lock(repository.id)
        # Like a pin, it is hidden, prevents an eviction, and is removed after a crash.
        ref = _pin_ref(f"pull-{number}")
        with fetch_lock.lock:
            if not _is_complete_mirror(path):
                self._fetch_if_older(repository, path, fetch_lock, fetch_lock.fetches_started)
            self._run_fetch(
                repository, path, "--no-tags", refspecs=[f"+refs/pull/{number}/head:{ref}"]
            )
            sha = _mirror_git_output(path, "rev-parse", ref)
            _mirror_git_output(path, "update-ref", "-d", ref)
        return sha

    def unpin_run(self, repository: Repository, run_key: str) -> None:
        """Remove the pin of a run that has ended, so that the mirror may be evicted.

        Does nothing if there is no such pin.
        """
        with self._fetch_lock(repository.id).lock:
            if _is_complete_mirror(self.mirror_dir(repository)):
                _mirror_git_output(
                    self.mirror_dir(repository), "update-ref", "-d", _pin_ref(run_key)
                )

    def list_pins(self) -> Iterator[tuple[int, str]]:
        """Yield every pin as (repository id, run key).

        A controller that restarts knows which of these runs have ended.
        """
        for path in _list_mirrors(self._root):
            command = ("for-each-ref", "--format=%(refname:lstrip=2)", "refs/fyre/")
            for run_key in _mirror_git_output(path, *command).split():
                yield int(path.stem), run_key

    def _fetch_lock(self, repository_id: int) -> _FetchLock:
        with self._fetch_locks_guard:
            return self._fetch_locks.setdefault(repository_id, _FetchLock())

    def _fetch_if_older(
        self, repository: Repository, path: Path, fetch_lock: _FetchLock, fetches_before: int
    ) -> None:
        """Fetch, unless another fetch has started and finished since the question was asked."""
        if fetch_lock.fetches_started > fetches_before:
            if fetch_lock.last_error is not None:
                raise fetch_lock.last_error
            return
        fetch_lock.fetches_started, fetch_lock.last_error = fetch_lock.fetches_started + 1, None
        try:
            self._fetch_refs(repository, path)
        except (UserError, TransientError) as error:
            fetch_lock.last_error = error
            raise
        with self._eviction_lock:
            self._evict_mirrors(path)

    def _fetch_refs(self, repository: Repository, path: Path) -> None:
        # A new mirror gets its name when it is complete: the relay never serves half of one.
        git_dir = path if _is_complete_mirror(path) else self._root / f"new-{repository.id}"
        if git_dir != path:
            # There may be an LFS object that arrived after the mirror was evicted.
            shutil.rmtree(path, ignore_errors=True)
            init = ("init", "--quiet", "--bare", "--template=", str(git_dir))
            _run_local_git(*init, check=True)
        try:
            self._run_fetch(repository, git_dir, "--prune", "--no-tags", refspecs=_REFSPECS)
        except (UserError, TransientError):
            if git_dir != path:
                shutil.rmtree(git_dir, ignore_errors=True)
            raise
        if len(list((git_dir / "objects/pack").glob("*.pack"))) > PACKS_MAX:
            _mirror_git_output(git_dir, "repack", "--quiet", "-d", "--geometric=2")
        _write_repository(git_dir, repository)
        git_dir.rename(path)

    def _run_fetch(
        self, repository: Repository, git_dir: Path, *options: str, refspecs: Iterable[str]
    ) -> None:
        token = self._token_of(repository)
        try:
            self._run_fetch_with(token, repository, git_dir, *options, refspecs=refspecs)
        except DeniedError:
            if not token or not self._renew_token(repository, token):
                raise
            token = self._token_of(repository)
            self._run_fetch_with(token, repository, git_dir, *options, refspecs=refspecs)

    def _run_fetch_with(
        self,
        token: str | None,
        repository: Repository,
        git_dir: Path,
        *options: str,
        refspecs: Iterable[str],
    ) -> None:
        url = self._url_of(repository)
        environment = fetch_process.fetch_environment(url, token)
        options = ("--quiet", *options, "--no-auto-gc", "--no-write-fetch-head")
        command = ["--git-dir", str(git_dir), "fetch", *options, "--", url, *refspecs]
        exit_code, errors = self._fetch_processes.run(command, environment)
        if exit_code:
            raise fetch_process.fetch_error(repository, errors)

    def _evict_mirrors(self, current: Path) -> None:
        """Remove mirrors above the limit, least recently used first.

        Not the current one, not one with a pin, not one in use.
        """
        sizes = {path: _directory_size(path) for path in _list_mirrors(self._root)}
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            lock = self._fetch_lock(int(path.stem)).lock
            if total <= self._bytes_max or path == current or not lock.acquire(blocking=False):
                continue
            try:
                if not _mirror_git_output(path, "for-each-ref", "--count=1", "refs/fyre/"):
                    total -= sizes[path]
                    evicted = path.rename(self._root / f"old-{path.stem}")
                    shutil.rmtree(evicted, ignore_errors=True)
            finally:
                lock.release()


def _read_repository(mirror: Path) -> Repository | None:
    """Return the repository of a mirror; None if the file is missing or can't be read.

    The next fetch writes it again.
    """
    try:
        return repository_from_json(read_json(mirror / _METADATA_FILE))
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        warn_once(str(mirror / _METADATA_FILE), str(error))
        return None


def _write_repository(mirror: Path, repository: Repository) -> None:
    """Write the metadata of a mirror, with the unknown fields that a later version wrote."""
    stored = _read_repository(mirror)
    if stored is not None:
        repository = dataclasses.replace(repository, unknown=stored.unknown)
    metadata = mirror / _METADATA_FILE
    metadata.with_suffix(".new").write_text(json.dumps(repository_to_json(repository)))
    metadata.with_suffix(".new").rename(metadata)


def _has_commit(path: Path, sha: str) -> bool:
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", sha):
        return False
    return _is_complete_mirror(path) and _succeeds(path, "cat-file", "-e", f"{sha}^{{commit}}")


def _pin_if_present(path: Path, sha: str, run_key: str) -> bool:
    """Return True if the commit is present, and pinned now if it is for a run.

    It is looked for again after the pin: this holds no lock (a long fetch may hold it), so the
    mirror may be evicted in between.
    """
    if not run_key:
        return _has_commit(path, sha)
    if not _has_commit(path, sha):
        return False
    return _succeeds(path, "update-ref", _pin_ref(run_key), sha) and _has_commit(path, sha)


def _succeeds(path: Path, *args: str) -> bool:
    return not _run_local_git("--git-dir", str(path), *args, check=False).returncode


def _mirror_git_output(path: Path, *args: str) -> str:
    result = _run_local_git("--git-dir", str(path), *args, check=True)
    return result.stdout.decode(errors="surrogateescape").removesuffix("\n")


def _run_local_git(*args: str, check: bool) -> subprocess.CompletedProcess[bytes]:
    return git_command.run_git(
        *args, env=git_command.clean_env(), check=check, timeout=git_command.LOCAL_TIMEOUT
    )


def _pin_ref(run_key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", run_key):
        raise ValueError(f"not a run's key: {run_key!r}")
    return f"refs/fyre/{run_key}"


def _is_complete_mirror(path: Path) -> bool:
    return (path / "HEAD").exists()


def _list_mirrors(root: Path) -> list[Path]:
    mirrors = (path for path in root.glob("*.git") if path.stem.isdigit())
    return [path for path in mirrors if _is_complete_mirror(path)]


def _directory_size(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # a pack that is being repacked
                total += os.lstat(Path(folder, name)).st_size
    return total


def _remove_leftovers(root: Path) -> None:
    """Remove what a killed process left behind.

    Half-made mirrors, half packs, and locks that would stop every later fetch.
    """
    for path in (*root.glob("new-*"), *root.glob("old-*")):
        shutil.rmtree(path, ignore_errors=True)
    for mirror in _list_mirrors(root):
        for pattern in (
            "*.lock",
            "refs/**/*.lock",
            "objects/pack/tmp_*",
            "objects/*/tmp_obj_*",
            "lfs/objects/*/*/tmp_*",
        ):
            for path in mirror.glob(pattern):
                path.unlink(missing_ok=True)
