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

from fyre.errors import TryAgainError, UserError
from fyre.git import git_command
from fyre.github.errors import DeniedError, HiddenError, NotFoundError
from fyre.runs.run import Repository, Run, repository_from_json, repository_to_json
from fyre.stored_form import UnreadableError, parse_json, warn_once

BYTES_MAX = 20 * 1024**3
"""All mirrors together; beyond it those that no run pins go, the one used longest ago first."""

PACKS_MAX = 30
"""Each fetch leaves a pack; with more than these they are put together."""

_FACTS = "fyre-repository.json"  # in each mirror: whose it is
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_HELPER = '!f() { if [ "$1" = get ]; then echo username=x-access-token; echo "password=$FYRE_FORGE_TOKEN"; fi; }; f'


@dataclass
class _Turn:
    """Who fetches a repository now. A fetch that began after somebody asked answers that somebody too."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    error: Exception | None = None


class Clones:
    """The mirrors under one directory, which is this process's alone. Thread-safe.

    ``url`` is where a repository is fetched from, without a credential; ``token`` is asked for one at each fetch.
    """

    def __init__(
        self,
        root: Path,
        url: Callable[[Repository], str],
        token: Callable[[Repository], str | None],
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._root, self._url, self._token, self._bytes_max = root, url, token, bytes_max
        self._turns: dict[int, _Turn] = {}
        self._guard, self._evicting = threading.Lock(), threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        _mend(root)

    def git_dir(self, repository: Repository) -> Path:
        """Where the mirror is, or will be."""
        return self._root / f"{repository.id}.git"

    def find(self, repository_id: int) -> Path | None:
        """The mirror of a repository that has one; counts as a use of it."""
        path = self._root / f"{repository_id}.git"
        if not _whole(path):
            return None
        os.utime(path)
        return path

    def source(self, repository_id: int) -> tuple[str, str | None] | None:
        """The URL and the token with which a mirror's repository is fetched, for its LFS objects."""
        repository = _repository_of(self._root / f"{repository_id}.git")
        return (self._url(repository), self._token(repository)) if repository is not None else None

    def ensure(self, repository: Repository, sha: str, run_key: str = "") -> Path:
        """The mirror, with that commit in it, pinned for a run if one is named; fetched only when it is missing.

        Raises ``NotFoundError`` where no branch or tag of the forge leads to it, ``DeniedError``, ``TryAgainError``.
        """
        path, turn = self.git_dir(repository), self._turn(repository.id)
        asked_at = turn.begun
        if not _held(path, sha, run_key):
            with turn.lock:
                if not _has(path, sha):
                    self._renew(repository, path, turn, asked_at)
                if not _has(path, sha):
                    raise NotFoundError(
                        f"commit {sha[:12]} of {repository.name}: the forge no longer has it on any branch or tag",
                        hint="was it force-pushed away, or its branch deleted?",
                    )
                if run_key:
                    _git(path, "update-ref", _pin(run_key), sha)
        self.find(repository.id)
        return path

    def renew(self, repository: Repository) -> None:
        """Fetch what is on the forge's branches and tags now. Raises as ``ensure``."""
        turn = self._turn(repository.id)
        asked_at = turn.begun
        with turn.lock:
            self._renew(repository, self.git_dir(repository), turn, asked_at)

    def of(self, run: Run) -> Path:
        """The mirror, with the commit of that run pinned in it. Raises as ``ensure``."""
        match = re.fullmatch(r"refs/pull/(\d+)/head", run.ref)
        if match and not _has(
            self.git_dir(run.repository), run.sha
        ):  # approved by another receiver
            self.pull_head(run.repository, int(match[1]))
        return self.ensure(run.repository, run.sha, run.key)

    def pull_head(self, repository: Repository, number: int) -> str:
        """The SHA of a pull request's head, all that it stands on in the mirror now; only a run's pin will hold it.

        Raises ``NotFoundError``, ``DeniedError``, ``TryAgainError``.
        """
        path, turn = self.git_dir(repository), self._turn(repository.id)
        ref = _pin(
            f"pull-{number}"
        )  # as a pin: hidden, in the way of an eviction, and removed after a crash
        with turn.lock:
            if not _whole(path):
                self._renew(repository, path, turn, turn.begun)
            url, options = (
                self._url(repository),
                ("--quiet", "--no-tags", "--no-auto-gc", "--no-write-fetch-head"),
            )
            words = ("fetch", *options, "--", url, f"+refs/pull/{number}/head:{ref}")
            settings = _settings(url, self._token(repository))
            done = git_command.run("--git-dir", str(path), *words, env=settings, check=False)
            if done.returncode:
                raise _trouble(repository, done.stderr.decode(errors="replace"))
            sha = _git(path, "rev-parse", ref)
            _git(path, "update-ref", "-d", ref)
        return sha

    def unpin(self, repository: Repository, run_key: str) -> None:
        """The run is over; its mirror may be evicted. Nothing happens where there is no such pin."""
        with self._turn(repository.id).lock:
            if _whole(self.git_dir(repository)):
                _git(self.git_dir(repository), "update-ref", "-d", _pin(run_key))

    def pins(self) -> Iterator[tuple[int, str]]:
        """Every pin as repository id and run key, for who starts again and knows which runs are over."""
        for path in _mirrors(self._root):
            for ref in _git(
                path, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/fyre/"
            ).split():
                yield int(path.stem), ref

    def _turn(self, repository_id: int) -> _Turn:
        with self._guard:
            return self._turns.setdefault(repository_id, _Turn())

    def _renew(self, repository: Repository, path: Path, turn: _Turn, asked_at: int) -> None:
        """Fetch, unless a fetch has begun and ended since the question was asked."""
        if turn.begun > asked_at:
            if turn.error is not None:
                raise turn.error
            return
        turn.begun, turn.error = turn.begun + 1, None
        try:
            self._fetch(repository, path)
        except (UserError, TryAgainError) as error:
            turn.error = error
            raise
        with self._evicting:
            self._evict(path)

    def _fetch(self, repository: Repository, path: Path) -> None:
        # A new mirror takes its name when it is complete: the relay never serves half of one.
        place = path if _whole(path) else self._root / f"new-{repository.id}"
        if place != path:
            shutil.rmtree(
                path, ignore_errors=True
            )  # an LFS object that arrived after its mirror was evicted
            git_command.run(
                "init", "--quiet", "--bare", "--template=", str(place), env=git_command.clean_env()
            )
        url = self._url(repository)
        settings = _settings(url, self._token(repository))
        options = ("--quiet", "--prune", "--no-tags", "--no-auto-gc", "--no-write-fetch-head")
        done = git_command.run(
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
            raise _trouble(repository, done.stderr.decode(errors="replace"))
        if len(list((place / "objects/pack").glob("*.pack"))) > PACKS_MAX:
            _git(place, "repack", "--quiet", "-d", "--geometric=2")
        facts = place / _FACTS
        known = _repository_of(place)
        told = (
            dataclasses.replace(repository, unknown=known.unknown)
            if known is not None
            else repository
        )
        facts.with_suffix(".new").write_text(json.dumps(repository_to_json(told)))
        facts.with_suffix(".new").rename(facts)
        place.rename(path)

    def _evict(self, current: Path) -> None:
        """Remove mirrors above the limit; not the current one, not one with a pin, not one that somebody is at."""
        sizes = {path: _size(path) for path in _mirrors(self._root)}
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            lock = self._turn(int(path.stem)).lock
            if total <= self._bytes_max or path == current or not lock.acquire(blocking=False):
                continue
            try:
                if not _git(path, "for-each-ref", "--count=1", "refs/fyre/"):
                    total -= sizes[path]
                    gone = path.rename(self._root / f"old-{path.stem}")
                    shutil.rmtree(gone, ignore_errors=True)
            finally:
                lock.release()


def _repository_of(mirror: Path) -> Repository | None:
    """Whose mirror it is; None where that is not written there, or not so that it can be read: a fetch does it anew."""
    try:
        return repository_from_json(parse_json((mirror / _FACTS).read_bytes()))
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        warn_once(str(mirror / _FACTS), str(error))
        return None


def _has(path: Path, sha: str) -> bool:
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", sha):
        return False
    argv = ("--git-dir", str(path), "cat-file", "-e", f"{sha}^{{commit}}")
    return (
        _whole(path)
        and git_command.run(*argv, env=git_command.clean_env(), check=False).returncode == 0
    )


def _held(path: Path, sha: str, run_key: str) -> bool:
    """Whether the commit is there, and pinned now if it is for a run.

    It is looked for once more afterwards: without the lock, which a long fetch may hold, the mirror may be evicted.
    """
    if not run_key:
        return _has(path, sha)
    if not _has(path, sha):
        return False
    argv = ("--git-dir", str(path), "update-ref", _pin(run_key), sha)
    return git_command.run(
        *argv, env=git_command.clean_env(), check=False
    ).returncode == 0 and _has(path, sha)


def _git(path: Path, *args: str) -> str:
    return git_command.out("--git-dir", str(path), *args, env=git_command.clean_env())


def _pin(run_key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", run_key):
        raise ValueError(f"not a run's key: {run_key!r}")
    return f"refs/fyre/{run_key}"


def _settings(url: str, token: str | None) -> dict[str, str]:
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
        f"credential.{parts.scheme}://{parts.netloc}.helper": _HELPER if token else "",
    }
    pairs = {"GIT_CONFIG_COUNT": str(len(settings)), "FYRE_FORGE_TOKEN": token or "", "LC_ALL": "C"}
    for number, (key, value) in enumerate(settings.items()):
        pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return git_command.clean_env(**pairs)


def _trouble(repository: Repository, said: str) -> Exception:
    """What a failed fetch means. git's exit code is 128 whatever happened, so its words must do."""
    if re.search(r"fatal: repository '.*' not found", said):
        return HiddenError(
            f"{repository.name}: the forge has no such repository, or does not show it to this token"
        )
    if match := re.search(r"fatal: couldn't find remote ref (\S+)", said):
        return NotFoundError(f"{repository.name}: the forge has no {match[1]}")
    if re.search(
        r"Authentication failed|could not read (Username|Password)|returned error: 403", said
    ):
        return DeniedError(
            f"{repository.name}: the forge does not let this token fetch",
            hint="mend the token's rights",
        )
    words = [line for line in said.splitlines() if line.startswith(("fatal:", "error:"))]
    return TryAgainError(
        f"{repository.name}: fetching failed: {words[-1] if words else said.strip()[-200:]}"
    )


def _whole(path: Path) -> bool:
    return (path / "HEAD").exists()


def _mirrors(root: Path) -> list[Path]:
    return [path for path in root.glob("*.git") if path.stem.isdigit() and _whole(path)]


def _size(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # a pack that is being put together with others
                total += os.lstat(Path(folder, name)).st_size
    return total


def _mend(root: Path) -> None:
    """What a killed process left behind: half clones, half packs, and locks that would stop every later fetch."""
    for path in (*root.glob("new-*"), *root.glob("old-*")):
        shutil.rmtree(path, ignore_errors=True)
    for mirror in _mirrors(root):
        for pattern in (
            "*.lock",
            "refs/**/*.lock",
            "objects/pack/tmp_*",
            "objects/*/tmp_obj_*",
            "lfs/objects/*/*/tmp_*",
        ):
            for path in mirror.glob(pattern):
                path.unlink(missing_ok=True)
