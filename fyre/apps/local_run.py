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
from fyre.message.spec import RunSpec
from fyre.runs import repo_config, run
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState
from fyre.workspace.snapshot import RepoPaths

TIMEOUT_EXIT_CODE = 124
"""The exit code that ``timeout`` of coreutils gives."""


class OutputSink(Protocol):
    """Where output goes."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""

    def flush(self) -> None:
        """Show what was taken."""


class TextSink:
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


def run_in_place(command: str, folder: Path) -> int:
    """Run a shell command in a folder as it is; answers with its exit code, 128 + n for a signal."""
    sys.stdout.flush()
    # Without a buffer below it, stdout is no descriptor: a child's output would show up elsewhere, or nowhere.
    into = None if hasattr(sys.stdout, "buffer") else subprocess.PIPE
    words = ["/bin/sh", "-c", command]
    with subprocess.Popen(
        words, cwd=folder, stdout=into, stderr=into and subprocess.STDOUT, bufsize=0
    ) as process:
        out = TextSink(sys.stdout)
        while process.stdout and (data := process.stdout.read(65536)):
            out.write(data)
            out.flush()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def resolve_commit(repo_paths: RepoPaths, rev: str) -> str:
    """The SHA of a revision. Raises ``UserError`` when it names no commit here: then nothing runs."""
    sha = git_command.git_output_or_none(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{rev}^{{commit}}",
        cwd=repo_paths.top,
    )
    # git takes any full SHA for one that exists
    if (
        not rev
        or not sha
        or git_command.run_git("cat-file", "-e", sha, cwd=repo_paths.top, check=False).returncode
    ):
        raise UserError(
            f"{rev!r} names no commit here", hint="git log --oneline --all; or git fetch first"
        )
    return sha


def run_on_commit(
    repo_paths: RepoPaths,
    sha: str,
    spec: RunSpec,
    *,
    name: str = "run",
    keep_checkout: bool = False,
    sink: OutputSink | None = None,
) -> int:
    """Run a command on a commit; answers with its exit code, 128 + n for a signal, 124 for a timeout.

    Raises ``UserError`` when the command's own verdict is not known: no checkout, a failed setup.
    """
    wanted = _create_run(
        repo_paths,
        sha,
        name,
        repo_config.apply_repo_defaults(spec, name, _load_defaults(repo_paths, sha)),
    )
    state = Path(tempfile.mkdtemp(prefix="fyre-"))
    engine = LocalEngine(
        state, find_git_dir=lambda _: repo_paths.common_dir, jobs=1, keep_checkouts=keep_checkout
    )
    try:
        record = _run_to_end(
            engine, wanted, sink or getattr(sys.stdout, "buffer", None) or TextSink(sys.stdout)
        )
    finally:
        engine.close()
        _wait_for_supervisor(state / "runs" / wanted.key / "lock")
        if keep_checkout:
            sys.stderr.write(f"fyre: the checkout is kept in {state / 'work' / wanted.key}\n")
        else:
            _remove_state(state)
    return _record_exit_code(record)


def create_checkout(repo_paths: RepoPaths, sha: str) -> Path:
    """A clean checkout of a commit in a new folder, made as for a run; its objects are borrowed from the repository."""
    from fyre.engines import segmented_log
    from fyre.engines.local import checkout as checkouts
    from fyre.engines.local import run_dir

    folder = Path(tempfile.mkdtemp(prefix="fyre-"))
    work = folder / repo_paths.top.name
    log = segmented_log.SegmentedLogWriter(str(folder / "log"), max_bytes=64 * 1024)
    try:
        checkouts.create_checkout(
            run_dir.build_supervisor_job(
                _create_run(repo_paths, sha, "run", RunSpec("")), repo_paths.common_dir, work
            ),
            str(work),
            log,
        )
    except checkouts.CheckoutError as error:
        checkouts.remove_tree(str(folder))
        raise UserError(str(error), hint="git fsck; or git fetch first") from error
    finally:
        log.close()
    return work


def _wait_for_supervisor(lock_file: Path) -> None:
    """Wait for the supervisor, which tells of the end and removes the checkout then.

    Inside another run it would count as a process that the command left behind.
    """
    with (
        suppress(FileNotFoundError),
        lock_file.open("rb") as file,
    ):  # none where nothing was started
        fcntl.flock(file, fcntl.LOCK_EX)


def _load_defaults(repo_paths: RepoPaths, sha: str) -> repo_config.RunDefaults:
    text = git_command.run_git(
        "show", f"{sha}:{repo_config.CONFIG_PATH}", cwd=repo_paths.top, check=False
    )
    if text.returncode:
        return repo_config.RunDefaults()
    try:
        return repo_config.parse_repo_config(text.stdout.decode(errors="replace"))
    except repo_config.RepoConfigError as error:
        raise UserError(str(error), hint=error.hint) from error


def _create_run(repo_paths: RepoPaths, sha: str, name: str, spec: RunSpec) -> Run:
    """The run of a commit that no forge was told of."""
    said = git_command.git_output(
        "show",
        "-s",
        "--no-show-signature",
        "--encoding=UTF-8",
        "--format=%T %P%n%B",
        sha,
        cwd=repo_paths.top,
    )
    head, _, message = said.partition("\n")
    tree, parents = head.split(" ", 1)
    repository = Repository("", 0, repo_paths.top.name)
    key = run.run_key(repository, sha, spec.digest, 0, str(time.time_ns()))
    ref = (
        git_command.git_output_or_none("symbolic-ref", "--quiet", "HEAD", cwd=repo_paths.top) or ""
    )
    who = os.environ.get("USER", "")
    return Run(
        key, repository, sha, tree, tuple(parents.split()), ref, who, name, spec, spec.digest,
        fyre_id=request.parse_message(message).fyre_id, created_at=time.time(),
    )  # fmt: skip


def _run_to_end(engine: LocalEngine, new_run: Run, sink: OutputSink) -> RunRecord:
    """Launch, copy the output, answer with the record; whatever stops us stops the run first."""
    changed = threading.Event()
    engine.subscribe(lambda _: changed.set())
    try:
        with raise_on_signal():
            engine.launch(new_run)
            for chunk in engine.read_log(new_run.key, follow=True):
                sink.write(chunk)
                sink.flush()
    except BaseException:
        engine.cancel(new_run.key, "the keyboard")
        _wait_for_end(engine, new_run.key, changed)
        raise
    return _wait_for_end(engine, new_run.key, changed)


def _wait_for_end(engine: LocalEngine, run_key: str, changed: threading.Event) -> RunRecord:
    while True:
        changed.clear()
        record = engine.get_record(run_key)
        if record is not None and record.state.is_final:
            return record
        changed.wait(1.0)


def _record_exit_code(record: RunRecord) -> int:
    """The exit code of a run that ended; says on stderr what is more to say."""
    if record.unsupported:
        sys.stderr.write(f"fyre: not honoured here: {', '.join(record.unsupported)}\n")
    if record.state is RunState.SUCCEEDED:
        return 0
    if record.state is not RunState.FAILED:
        raise UserError(record.reason or str(record.state))
    sys.stderr.write(f"fyre: {record.reason}\n" if record.reason else "")
    if record.signal:
        return 128 + record.signal
    return TIMEOUT_EXIT_CODE if record.exit_code is None else record.exit_code


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """While inside, TERM and HUP raise ``SystemExit``, as Ctrl-C raises ``KeyboardInterrupt``."""

    def raise_system_exit(signal_number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signal_number)

    main = threading.current_thread() is threading.main_thread()  # only there can signals be taken
    before = (
        {
            number: signal.signal(number, raise_system_exit)
            for number in (signal.SIGTERM, signal.SIGHUP)
        }
        if main
        else {}
    )
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_state(state: Path) -> None:
    from fyre.engines.local import checkout as checkouts

    checkouts.remove_tree(str(state))  # a command may have left directories that nobody can write
