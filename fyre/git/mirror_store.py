"""Complete bare mirrors of the forge's repositories: what the relay serves and the receiver reads.

Branches and tags only, and never a bare SHA: a forge shows the objects of forks under their parents, and a mirror that
asked for them would vouch for code that nobody with rights has pushed. Where a fork's commit was approved, what it
stands on is fetched as well, and no branch of the mirror leads to it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fyre.errors import TransientError, UserError
from fyre.git import git_command
from fyre.github.errors import DeniedError, NotFoundError, NotVisibleError
from fyre.runs.run import Repository, Run, repository_from_json, repository_to_json
from fyre.stored_form import UnreadableError, parse_json, warn_once

MIRRORS_BYTES_MAX = 20 * 1024**3
"""All mirrors together; beyond it those that no run pins go, the one used longest ago first."""

PACKS_MAX = 30
"""Each fetch leaves a pack; with more than these they are put together."""

_METADATA_FILE = "fyre-repository.json"  # in each mirror: whose it is
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_CREDENTIAL_HELPER = '!f() { if [ "$1" = get ]; then echo username=x-access-token; echo "password=$FYRE_FORGE_TOKEN"; fi; }; f'


@dataclass
class _FetchLock:
    """Who fetches a repository now. A fetch that began after somebody asked answers that somebody too."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    fetches_started: int = 0
    last_error: Exception | None = None


class MirrorStore:
    """The mirrors under one directory, which is this process's alone. Thread-safe.

    ``url`` is where a repository is fetched from, without a credential; ``token`` is asked for one at each fetch.
    """

    def __init__(
        self,
        root: Path,
        url_of: Callable[[Repository], str],
        token_of: Callable[[Repository], str | None],
        bytes_max: int = MIRRORS_BYTES_MAX,
    ) -> None:
        self._root, self._url_of, self._token_of, self._bytes_max = (
            root,
            url_of,
            token_of,
            bytes_max,
        )
        self._fetch_locks: dict[int, _FetchLock] = {}
        self._fetch_locks_guard, self._eviction_lock = threading.Lock(), threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(root)

    def mirror_dir(self, repository: Repository) -> Path:
        """Where the mirror is, or will be."""
        return self._root / f"{repository.id}.git"

    def find_mirror(self, repository_id: int) -> Path | None:
        """The mirror of a repository that has one; counts as a use of it."""
        path = self._root / f"{repository_id}.git"
        if not _is_complete_mirror(path):
            return None
        os.utime(path)
        return path

    def find_remote(self, repository_id: int) -> tuple[str, str | None] | None:
        """The URL and the token with which a mirror's repository is fetched, for its LFS objects."""
        repository = _repository_of(self._root / f"{repository_id}.git")
        return (
            (self._url_of(repository), self._token_of(repository))
            if repository is not None
            else None
        )

    def ensure_commit(self, repository: Repository, sha: str, run_key: str = "") -> Path:
        """The mirror, with that commit in it, pinned for a run if one is named; fetched only when it is missing.

        Raises ``NotFoundError`` where no branch or tag of the forge leads to it, ``DeniedError``, ``TryAgainError``.
        """
        path, turn = self.mirror_dir(repository), self._fetch_lock(repository.id)
        asked_at = turn.fetches_started
        if not _pin_if_present(path, sha, run_key):
            with turn.lock:
                if not _has_commit(path, sha):
                    self._fetch_if_older(repository, path, turn, asked_at)
                if not _has_commit(path, sha):
                    raise NotFoundError(
                        f"commit {sha[:12]} of {repository.name}: the forge no longer has it on any branch or tag",
                        hint="was it force-pushed away, or its branch deleted?",
                    )
                if run_key:
                    _mirror_git_output(path, "update-ref", _pin_ref(run_key), sha)
        self.find_mirror(repository.id)
        return path

    def fetch_mirror(self, repository: Repository) -> None:
        """Fetch what is on the forge's branches and tags now. Raises as ``ensure``."""
        turn = self._fetch_lock(repository.id)
        asked_at = turn.fetches_started
        with turn.lock:
            self._fetch_if_older(repository, self.mirror_dir(repository), turn, asked_at)

    def mirror_for_run(self, run: Run) -> Path:
        """The mirror, with the commit of that run pinned in it. Raises as ``ensure``."""
        match = re.fullmatch(r"refs/pull/(\d+)/head", run.ref)
        if match and not _has_commit(
            self.mirror_dir(run.repository), run.sha
        ):  # approved by another receiver
            self.pull_head(run.repository, int(match[1]))
        return self.ensure_commit(run.repository, run.sha, run.key)

    def pull_head(self, repository: Repository, number: int) -> str:
        """The SHA of a pull request's head, all that it stands on in the mirror now; only a run's pin will hold it.

        Raises ``NotFoundError``, ``DeniedError``, ``TryAgainError``.
        """
        path, turn = self.mirror_dir(repository), self._fetch_lock(repository.id)
        ref = _pin_ref(
            f"pull-{number}"
        )  # as a pin: hidden, in the way of an eviction, and removed after a crash
        with turn.lock:
            if not _is_complete_mirror(path):
                self._fetch_if_older(repository, path, turn, turn.fetches_started)
            url, options = (
                self._url_of(repository),
                ("--quiet", "--no-tags", "--no-auto-gc", "--no-write-fetch-head"),
            )
            words = ("fetch", *options, "--", url, f"+refs/pull/{number}/head:{ref}")
            settings = _fetch_environment(url, self._token_of(repository))
            done = git_command.run_git("--git-dir", str(path), *words, env=settings, check=False)
            if done.returncode:
                raise _fetch_error(repository, done.stderr.decode(errors="replace"))
            sha = _mirror_git_output(path, "rev-parse", ref)
            _mirror_git_output(path, "update-ref", "-d", ref)
        return sha

    def unpin_run(self, repository: Repository, run_key: str) -> None:
        """The run is over; its mirror may be evicted. Nothing happens where there is no such pin."""
        with self._fetch_lock(repository.id).lock:
            if _is_complete_mirror(self.mirror_dir(repository)):
                _mirror_git_output(
                    self.mirror_dir(repository), "update-ref", "-d", _pin_ref(run_key)
                )

    def list_pins(self) -> Iterator[tuple[int, str]]:
        """Every pin as repository id and run key, for who starts again and knows which runs are over."""
        for path in _list_mirrors(self._root):
            for ref in _mirror_git_output(
                path, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/fyre/"
            ).split():
                yield int(path.stem), ref

    def _fetch_lock(self, repository_id: int) -> _FetchLock:
        with self._fetch_locks_guard:
            return self._fetch_locks.setdefault(repository_id, _FetchLock())

    def _fetch_if_older(
        self, repository: Repository, path: Path, fetch_lock: _FetchLock, fetches_before: int
    ) -> None:
        """Fetch, unless a fetch has begun and ended since the question was asked."""
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
        # A new mirror takes its name when it is complete: the relay never serves half of one.
        place = path if _is_complete_mirror(path) else self._root / f"new-{repository.id}"
        if place != path:
            shutil.rmtree(
                path, ignore_errors=True
            )  # an LFS object that arrived after its mirror was evicted
            git_command.run_git(
                "init", "--quiet", "--bare", "--template=", str(place), env=git_command.clean_env()
            )
        url = self._url_of(repository)
        settings = _fetch_environment(url, self._token_of(repository))
        options = ("--quiet", "--prune", "--no-tags", "--no-auto-gc", "--no-write-fetch-head")
        done = git_command.run_git(
            "--git-dir",
            str(place),
            "fetch",
            *options,
            "--",
            url,
            *_REFSPECS,
            env=settings,
            check=False,
        )
        if done.returncode:
            if place != path:
                shutil.rmtree(place, ignore_errors=True)
            raise _fetch_error(repository, done.stderr.decode(errors="replace"))
        if len(list((place / "objects/pack").glob("*.pack"))) > PACKS_MAX:
            _mirror_git_output(place, "repack", "--quiet", "-d", "--geometric=2")
        facts = place / _METADATA_FILE
        known = _repository_of(place)
        told = (
            dataclasses.replace(repository, unknown=known.unknown)
            if known is not None
            else repository
        )
        facts.with_suffix(".new").write_text(json.dumps(repository_to_json(told)))
        facts.with_suffix(".new").rename(facts)
        place.rename(path)

    def _evict_mirrors(self, current: Path) -> None:
        """Remove mirrors above the limit; not the current one, not one with a pin, not one that somebody is at."""
        sizes = {path: _directory_size(path) for path in _list_mirrors(self._root)}
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            lock = self._fetch_lock(int(path.stem)).lock
            if total <= self._bytes_max or path == current or not lock.acquire(blocking=False):
                continue
            try:
                if not _mirror_git_output(path, "for-each-ref", "--count=1", "refs/fyre/"):
                    total -= sizes[path]
                    gone = path.rename(self._root / f"old-{path.stem}")
                    shutil.rmtree(gone, ignore_errors=True)
            finally:
                lock.release()


def _repository_of(mirror: Path) -> Repository | None:
    """Whose mirror it is; None where that is not written there, or not so that it can be read: a fetch does it anew."""
    try:
        return repository_from_json(parse_json((mirror / _METADATA_FILE).read_bytes()))
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        warn_once(str(mirror / _METADATA_FILE), str(error))
        return None


def _has_commit(path: Path, sha: str) -> bool:
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", sha):
        return False
    argv = ("--git-dir", str(path), "cat-file", "-e", f"{sha}^{{commit}}")
    return (
        _is_complete_mirror(path)
        and git_command.run_git(*argv, env=git_command.clean_env(), check=False).returncode == 0
    )


def _pin_if_present(path: Path, sha: str, run_key: str) -> bool:
    """Whether the commit is there, and pinned now if it is for a run.

    It is looked for once more afterwards: without the lock, which a long fetch may hold, the mirror may be evicted.
    """
    if not run_key:
        return _has_commit(path, sha)
    if not _has_commit(path, sha):
        return False
    argv = ("--git-dir", str(path), "update-ref", _pin_ref(run_key), sha)
    return git_command.run_git(
        *argv, env=git_command.clean_env(), check=False
    ).returncode == 0 and _has_commit(path, sha)


def _mirror_git_output(path: Path, *args: str) -> str:
    return git_command.git_output("--git-dir", str(path), *args, env=git_command.clean_env())


def _pin_ref(run_key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", run_key):
        raise ValueError(f"not a run's key: {run_key!r}")
    return f"refs/fyre/{run_key}"


def _fetch_environment(url: str, token: str | None) -> dict[str, str]:
    """The environment of a fetch. The token is in it, and nowhere else: not in a URL, a file or a command line."""
    parts = urlsplit(url)
    settings = {
        "safe.directory": "*",
        "protocol.allow": "never",
        "protocol.http.allow": "always",
        "protocol.https.allow": "always",
        "fetch.unpackLimit": "1",  # a pack each time: thousands of loose objects would be slower to serve
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "60",
        "credential.helper": "",
        f"credential.{parts.scheme}://{parts.netloc}.helper": _CREDENTIAL_HELPER if token else "",
    }
    pairs = {"GIT_CONFIG_COUNT": str(len(settings)), "FYRE_FORGE_TOKEN": token or "", "LC_ALL": "C"}
    for number, (key, value) in enumerate(settings.items()):
        pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return git_command.clean_env(**pairs)


def _fetch_error(repository: Repository, stderr: str) -> Exception:
    """What a failed fetch means. git's exit code is 128 whatever happened, so its words must do."""
    if re.search(r"fatal: repository '.*' not found", stderr):
        return NotVisibleError(
            f"{repository.name}: the forge has no such repository, or does not show it to this token"
        )
    if match := re.search(r"fatal: couldn't find remote ref (\S+)", stderr):
        return NotFoundError(f"{repository.name}: the forge has no {match[1]}")
    if re.search(
        r"Authentication failed|could not read (Username|Password)|returned error: 403", stderr
    ):
        return DeniedError(
            f"{repository.name}: the forge does not let this token fetch",
            hint="mend the token's rights",
        )
    words = [line for line in stderr.splitlines() if line.startswith(("fatal:", "error:"))]
    return TransientError(
        f"{repository.name}: fetching failed: {words[-1] if words else stderr.strip()[-200:]}"
    )


def _is_complete_mirror(path: Path) -> bool:
    return (path / "HEAD").exists()


def _list_mirrors(root: Path) -> list[Path]:
    return [
        path for path in root.glob("*.git") if path.stem.isdigit() and _is_complete_mirror(path)
    ]


def _directory_size(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # a pack that is being put together with others
                total += os.lstat(Path(folder, name)).st_size
    return total


def _remove_leftovers(root: Path) -> None:
    """What a killed process left behind: half clones, half packs, and locks that would stop every later fetch."""
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
