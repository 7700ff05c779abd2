"""One run on this machine without a forge: a clean checkout, the local engine, its output as it comes.

The rules are those of every run: the same variables, ``.fyre.yaml`` of that very commit, timeouts, retries.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, Protocol

from fyre.engines.local import LocalEngine
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import request
from fyre.message.spec import Spec
from fyre.runs import repo_config, run
from fyre.runs.run import Record, Repository, Run
from fyre.runs.state import State
from fyre.workspace.snapshot import Place

TIMED_OUT = 124
"""The exit code that ``timeout`` of coreutils gives."""


class Out(Protocol):
    """Where output goes."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""

    def flush(self) -> None:
        """Show what was taken."""


class TextOut:
    """Output for where only text is taken, as in a Jupyter notebook."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        """Take some bytes, which may end inside a character."""
        self._text.write(self._decoder.decode(data))

    def flush(self) -> None:
        """Show what was taken."""
        self._text.flush()


def in_place(command: str, folder: Path) -> int:
    """Run a shell command in a folder as it is; answers with its exit code, 128 + n for a signal."""
    sys.stdout.flush()
    # Without a buffer below it, stdout is no descriptor: a child's output would show up elsewhere, or nowhere.
    into = None if hasattr(sys.stdout, "buffer") else subprocess.PIPE
    words = ["/bin/sh", "-c", command]
    with subprocess.Popen(
        words, cwd=folder, stdout=into, stderr=into and subprocess.STDOUT, bufsize=0
    ) as process:
        out = TextOut(sys.stdout)
        while process.stdout and (data := process.stdout.read(65536)):
            out.write(data)
            out.flush()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def commit_of(where: Place, rev: str) -> str:
    """The SHA of a revision. Raises ``UserError`` when it names no commit here: then nothing runs."""
    sha = git_command.ask(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}", cwd=where.top
    )
    # git takes any full SHA for one that exists
    if (
        not rev
        or not sha
        or git_command.run("cat-file", "-e", sha, cwd=where.top, check=False).returncode
    ):
        raise UserError(
            f"{rev!r} names no commit here", hint="git log --oneline --all; or git fetch first"
        )
    return sha


def go(
    where: Place,
    sha: str,
    spec: Spec,
    *,
    name: str = "run",
    keep: bool = False,
    out: Out | None = None,
) -> int:
    """Run a command on a commit; answers with its exit code, 128 + n for a signal, 124 for a timeout.

    Raises ``UserError`` when the command's own verdict is not known: no checkout, a failed setup.
    """
    wanted = _run(where, sha, name, repo_config.settle(spec, name, _defaults(where, sha)))
    state = Path(tempfile.mkdtemp(prefix="fyre-"))
    engine = LocalEngine(state, git_dir=lambda _: where.common, jobs=1, keep_checkouts=keep)
    try:
        record = _to_its_end(
            engine, wanted, out or getattr(sys.stdout, "buffer", None) or TextOut(sys.stdout)
        )
    finally:
        engine.close()
        _outlast(state / "runs" / wanted.key / "lock")
        if keep:
            sys.stderr.write(f"fyre: the checkout is kept in {state / 'work' / wanted.key}\n")
        else:
            _remove(state)
    return _code(record)


def checkout(where: Place, sha: str) -> Path:
    """A clean checkout of a commit in a new folder, made as for a run; its objects are borrowed from the repository."""
    from fyre.engines import segmented_log
    from fyre.engines.local import checkout as checkouts
    from fyre.engines.local import run_dir

    folder = Path(tempfile.mkdtemp(prefix="fyre-"))
    work = folder / where.top.name
    log = segmented_log.Writer(str(folder / "log"), cap=64 * 1024)
    try:
        checkouts.make(
            run_dir.job(_run(where, sha, "run", Spec("")), where.common, work), str(work), log
        )
    except checkouts.CheckoutError as error:
        checkouts.remove(str(folder))
        raise UserError(str(error), hint="git fsck; or git fetch first") from error
    finally:
        log.close()
    return work


def _outlast(lock: Path) -> None:
    """Wait for the supervisor, which tells of the end and removes the checkout then.

    Inside another run it would count as a process that the command left behind.
    """
    with suppress(FileNotFoundError), lock.open("rb") as file:  # none where nothing was started
        fcntl.flock(file, fcntl.LOCK_EX)


def _defaults(where: Place, sha: str) -> repo_config.Defaults:
    text = git_command.run("show", f"{sha}:{repo_config.PATH}", cwd=where.top, check=False)
    if text.returncode:
        return repo_config.Defaults()
    try:
        return repo_config.read(text.stdout.decode(errors="replace"))
    except repo_config.BadFileError as error:
        raise UserError(str(error), hint=error.hint) from error


def _run(where: Place, sha: str, name: str, spec: Spec) -> Run:
    """The run of a commit that no forge was told of."""
    said = git_command.out(
        "show",
        "-s",
        "--no-show-signature",
        "--encoding=UTF-8",
        "--format=%T %P%n%B",
        sha,
        cwd=where.top,
    )
    head, _, message = said.partition("\n")
    tree, parents = head.split(" ", 1)
    repository = Repository("", 0, where.top.name)
    key = run.key(repository, sha, spec.digest, 0, str(time.time_ns()))
    ref = git_command.ask("symbolic-ref", "--quiet", "HEAD", cwd=where.top) or ""
    who = os.environ.get("USER", "")
    return Run(
        key, repository, sha, tree, tuple(parents.split()), ref, who, name, spec, spec.digest,
        fyre_id=request.read(message).fyre_id, created_at=time.time(),
    )  # fmt: skip


def _to_its_end(engine: LocalEngine, wanted: Run, out: Out) -> Record:
    """Launch, copy the output, answer with the record; whatever stops us stops the run first."""
    changed = threading.Event()
    engine.subscribe(lambda _: changed.set())
    try:
        with told_to_stop():
            engine.launch(wanted)
            for chunk in engine.log(wanted.key, follow=True):
                out.write(chunk)
                out.flush()
    except BaseException:
        engine.cancel(wanted.key, "the keyboard")
        _ended(engine, wanted.key, changed)
        raise
    return _ended(engine, wanted.key, changed)


def _ended(engine: LocalEngine, key: str, changed: threading.Event) -> Record:
    while True:
        changed.clear()
        record = engine.record(key)
        if record is not None and record.state.final:
            return record
        changed.wait(1.0)


def _code(record: Record) -> int:
    """The exit code of a run that ended; says on stderr what is more to say."""
    if record.unhonoured:
        sys.stderr.write(f"fyre: not honoured here: {', '.join(record.unhonoured)}\n")
    if record.state is State.SUCCEEDED:
        return 0
    if record.state is not State.FAILED:
        raise UserError(record.reason or str(record.state))
    sys.stderr.write(f"fyre: {record.reason}\n" if record.reason else "")
    if record.signal:
        return 128 + record.signal
    return TIMED_OUT if record.exit_code is None else record.exit_code


@contextmanager
def told_to_stop() -> Iterator[None]:
    """While inside, TERM and HUP raise ``SystemExit``, as Ctrl-C raises ``KeyboardInterrupt``."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()  # only there can signals be taken
    before = (
        {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
        if main
        else {}
    )
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(state: Path) -> None:
    from fyre.engines.local import checkout as checkouts

    checkouts.remove(str(state))  # a command may have left directories that nobody can write
