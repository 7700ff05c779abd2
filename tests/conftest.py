"""Isolate every test: a git that reads no configuration of the machine it runs on."""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from fyre.stored_form import warn_once

if TYPE_CHECKING:
    from fyre.apps.up import FyreUp

# Even if the machine turns bytecode off: without it each of the many processes that the tests start
# compiles all of Fyre again, and each run of the tests rewrites every assertion again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A script's `&` and nohup make this process ignore these signals. Every child would inherit that,
# and some children are to be stopped by such a signal. A handler is not inherited; this process
# goes on.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# An example that waits for the machine, or for a library to be loaded, has not failed. Who changes
# what is read from outside has more examples tried: --hypothesis-profile=thorough, as .ci/run does.
hypothesis.settings.register_profile("fyre", deadline=None, max_examples=20)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=400)
hypothesis.settings.load_profile("fyre")

GITCONFIG = """\
[user]
	name = Ada
	email = ada@example.org
[init]
	defaultBranch = main
[commit]
	gpgsign = false
[core]
	fsync = none
[gc]
	auto = 0
[maintenance]
	auto = false
[advice]
	detachedHead = false
"""


def pytest_collection() -> None:
    """Stop the garbage collector while modules are loaded: they all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector ignore all that was loaded."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _warnings_are_new() -> None:
    """Let each test see the warnings that are logged once in a process."""
    warn_once.cache_clear()


_numbers = itertools.count()


@pytest.fixture(autouse=True)
def isolated_git(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own: no git configuration, no inherited GIT_*, no prompt."""
    # not mktemp(), which looks through all that the tests before have made
    home = tmp_path_factory.getbasetemp() / f"home-{next(_numbers)}"
    home.mkdir(0o700)
    config = home / "gitconfig"
    config.write_text(GITCONFIG)
    for name in [name for name in os.environ if name.startswith(("GIT_", "FYRE_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "false",  # an editor fails at once instead of waiting
        "LC_ALL": "C.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def fixed_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the same author and committer date for every commit, so that SHAs repeat."""
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2026-01-02T03:04:05+0000")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+0000")


@pytest.fixture
def repo(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a repository with one commit on ``main`` that holds ``README``.

    It is a copy of one that is made once for each date.
    """
    dated = os.environ.get("GIT_COMMITTER_DATE", "")
    if dated not in _first:
        _first[dated] = _Tree.read(_with_a_commit(tmp_path_factory.mktemp("first") / "repo"))
    path = tmp_path / "repo"
    _first[dated].write(path)
    _refresh_index(path)
    return path


@dataclass(frozen=True)
class _Tree:
    """All that is in a folder: written a thousand times, at a fifth of what ``copytree`` costs."""

    folders: list[str]
    files: list[tuple[str, bytes]]  # path and content

    @classmethod
    def read(cls, path: Path) -> _Tree:
        below = sorted(path.rglob("*"))
        return cls(
            [str(one.relative_to(path)) for one in below if one.is_dir()],
            [(str(one.relative_to(path)), one.read_bytes()) for one in below if one.is_file()],
        )

    def write(self, path: Path) -> None:
        root = str(path)
        os.mkdir(root)  # noqa: PTH102 - a path object costs as much as the folder
        for folder in self.folders:
            os.mkdir(f"{root}/{folder}")  # noqa: PTH102
        for name, content in self.files:
            file = os.open(f"{root}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            os.write(file, content)
            os.close(file)


def _refresh_index(repo: Path) -> None:
    """Do as ``git update-index --refresh``: the index knows its one file by inode and times."""
    os.utime(repo / "README", (0, 0))  # git reads again what is as new as its index
    index, file = repo / ".git/index", (repo / "README").stat()
    seconds = [divmod(at, 10**9) for at in (file.st_ctime_ns, file.st_mtime_ns)]
    numbers = [*seconds[0], *seconds[1], file.st_dev, file.st_ino]
    content = bytearray(index.read_bytes()[:-20])
    struct.pack_into(">6I", content, 12, *(number & 0xFFFFFFFF for number in numbers))
    index.write_bytes(content + hashlib.sha1(content).digest())


_first: dict[str, _Tree] = {}


def _with_a_commit(path: Path) -> Path:
    git("init", "-q", str(path), cwd=path.parent)
    for sample in (path / ".git/hooks").glob("*.sample"):
        sample.unlink()
    (path / "README").write_text("hello\n")
    git("add", "README", cwd=path)
    git("commit", "-q", "-m", "First", cwd=path)
    return path


def git(*args: str, cwd: Path, stdin: str | None = None) -> str:
    """Run git and return what it prints; fail the test with git's message if git fails."""
    done = subprocess.run(
        ["git", *args], cwd=cwd, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr}"
    return done.stdout.removesuffix("\n")


@pytest.fixture(name="git")
def git_fixture() -> Callable[..., str]:
    """Return ``git(*args, cwd=…)``, which runs git."""
    return git


@contextmanager
def one_at_a_time(seconds: float = 30) -> Iterator[Callable[[Callable[[], FyreUp]], FyreUp]]:
    """Yield a function that runs a server in a thread of the test, and stops the one before.

    The last one is stopped at the end.
    """
    running: list[tuple[FyreUp, threading.Thread]] = []

    def stop() -> None:
        while running:
            up, thread = running.pop()
            up.stop()
            thread.join(seconds)
            assert not thread.is_alive(), "fyre up does not stop"

    def start(make: Callable[[], FyreUp]) -> FyreUp:
        stop()
        up = make()
        thread = threading.Thread(target=up.serve)
        thread.start()
        running.append((up, thread))
        return up

    yield start
    stop()


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[[], FyreUp]]:
    """Return a function that runs a ``fyre up`` in threads of the test, on the same root each time.

    The one before is stopped.
    """
    from fyre.apps.up import FyreUp
    from fyre.engines.factory import EngineOptions

    four = EngineOptions(jobs=4)
    with one_at_a_time() as start:
        yield lambda: start(lambda: FyreUp(tmp_path / "state", "127.0.0.1", 0, options=four))


@pytest.fixture
def up(start_up: Callable[[], FyreUp]) -> FyreUp:
    """Run a ``fyre up``."""
    return start_up()
