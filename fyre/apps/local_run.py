"""Run a command on this machine without a forge: a clean checkout, the local engine, live output.

The rules are those of every run: the same variables, ``.fyre.yaml`` of the same commit, timeouts,
retries.
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
from fyre.engines.local.capabilities import LOCAL_CAPABILITIES
from fyre.errors import UserError
from fyre.git import git_command
from fyre.message import request
from fyre.message.spec import RunSpec
from fyre.regular_files import NotRegularFileError, open_regular
from fyre.runs import repo_config, run
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import NOT_CHECKED_OUT, NOT_HONOURED
from fyre.workspace.snapshot import RepoPaths

TIMEOUT_EXIT_CODE = 124
"""Exit code of a run that timed out, as ``timeout`` of coreutils has it."""


class OutputSink(Protocol):
    """A destination of output."""

    def write(self, data: bytes, /) -> object:
        """Write some bytes."""

    def flush(self) -> None:
        """Show what was written."""


class TextSink:
    """A destination that takes only text, as stdout in a Jupyter notebook."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        """Write some bytes, which may end inside a character."""
        self._text.write(self._decoder.decode(data))

    def flush(self) -> None:
        """Show what was written."""
        self._text.flush()


def end_output_line(last_byte: bytes) -> None:
    """Begin a new line after output without one, where stderr is shown in the same place."""
    with suppress(OSError):  # one of them is closed
        if last_byte not in {b"", b"\n"} and os.path.sameopenfile(1, 2):
            sys.stderr.write("\n")


def run_in_place(command: str, folder: Path) -> int:
    """Run a shell command in a folder, and return its exit code, 128 + n for a signal."""
    sys.stdout.flush()
    # A stdout without a buffer is no descriptor: the output of a child process would go elsewhere,
    # or nowhere.
    output = None if hasattr(sys.stdout, "buffer") else subprocess.PIPE
    argv = ["/bin/sh", "-c", command]
    with subprocess.Popen(
        argv, cwd=folder, stdout=output, stderr=output and subprocess.STDOUT, bufsize=0
    ) as process:
        sink = TextSink(sys.stdout)
        while process.stdout and (data := process.stdout.read(65536)):
            sink.write(data)
            sink.flush()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def resolve_commit(repo_paths: RepoPaths, rev: str) -> str:
    """Return the SHA of a revision; raise ``UserError`` if it names no commit of this clone."""
    sha = git_command.git_output_or_none(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{rev}^{{commit}}",
        cwd=repo_paths.top,
    )
    # git rev-parse accepts any full SHA, also of a commit that does not exist
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
    """Run a command on a commit, and return its exit code.

    It is 128 + n for a signal, and 124 for a timeout.

    Raises ``UserError`` if the command has no exit code of its own: no checkout, a failed setup.
    """
    new_run = _create_run(
        repo_paths,
        sha,
        name,
        repo_config.apply_repo_defaults(spec, name, _load_defaults(repo_paths, sha)),
    )
    state = Path(tempfile.mkdtemp(prefix="fyre-"))
    engine = LocalEngine(
        state,
        find_git_dir=lambda _: repo_paths.common_dir,
        jobs=1,
        keep_checkouts=keep_checkout,
        own_python=True,  # it is the environment of the shell that somebody types this in
    )
    try:
        record = _run_to_end(
            engine, new_run, sink or getattr(sys.stdout, "buffer", None) or TextSink(sys.stdout)
        )
        _hand_over_outputs(engine, new_run.key)
    finally:
        engine.close()
        _wait_for_supervisor(state / "runs" / new_run.key / "lock")
        if keep_checkout:
            sys.stderr.write(f"fyre: the checkout is kept in {state / 'work' / new_run.key}\n")
        else:
            _remove_state(state)
    return _record_exit_code(record)


def _hand_over_outputs(engine: LocalEngine, key: str) -> None:
    """Put what the run kept into a folder of its own, and say where."""
    manifest = engine.artifacts.get_manifest(key)
    if manifest is None:
        return
    for problem in manifest.results.problems:
        sys.stderr.write(f"fyre: {problem}\n")
    if manifest.artifacts:
        folder = Path(tempfile.mkdtemp(prefix="fyre-outputs-"))
        engine.artifacts.copy_out(manifest, folder)
        sys.stderr.write(f"fyre: the outputs are in {folder}\n")


def create_checkout(repo_paths: RepoPaths, sha: str) -> Path:
    """Return the path of a clean checkout of a commit in a new folder, made as for a run.

    Its git objects are those of the repository.

    Raises ``UserError`` if the checkout fails.
    """
    from fyre.engines import segmented_log
    from fyre.engines.local import checkout as checkouts
    from fyre.engines.local import run_dir
    from fyre.engines.local.code_parts import CodeParts

    folder = Path(tempfile.mkdtemp(prefix="fyre-"))
    work = folder / repo_paths.top.name
    log = segmented_log.SegmentedLogWriter(str(folder / "log"), max_bytes=64 * 1024)
    job = run_dir.build_supervisor_job(
        _create_run(repo_paths, sha, "run", RunSpec("")), repo_paths.common_dir, work
    )
    try:
        checkouts.create_checkout(job, str(work), log, deadline=None)
        missing = CodeParts(job, deadline=None).add_to(str(work))
    except (checkouts.CheckoutError, OSError) as error:
        checkouts.remove_tree(str(folder))
        is_of_machine = isinstance(error, OSError)
        hint = "TMPDIR names another folder" if is_of_machine else "git fsck; or git fetch first"
        raise UserError(str(error), hint=hint) from error
    finally:
        log.close()
    if missing:
        sys.stderr.write(f"fyre: {NOT_CHECKED_OUT}{', '.join(missing)}\n")
    return work


def _wait_for_supervisor(lock_file: Path) -> None:
    """Wait until the supervisor, which reports the end and then removes the checkout, has ended.

    Inside another run, it would count as a process that the command left behind.
    """
    # there is no lock file if nothing was started
    with (
        suppress(FileNotFoundError, NotRegularFileError),
        os.fdopen(open_regular(lock_file), "rb") as file,
    ):
        fcntl.flock(file, fcntl.LOCK_EX)


def _load_defaults(repo_paths: RepoPaths, sha: str) -> repo_config.RunDefaults:
    show = git_command.run_git(
        "show", f"{sha}:{repo_config.CONFIG_PATH}", cwd=repo_paths.top, check=False
    )
    if show.returncode:
        return repo_config.RunDefaults()
    try:
        return repo_config.parse_repo_config(show.stdout.decode(errors="replace"))
    except repo_config.RepoConfigError as error:
        raise UserError(str(error), hint=error.hint) from error


def _create_run(repo_paths: RepoPaths, sha: str, name: str, spec: RunSpec) -> Run:
    """Return a run for a commit, without a forge."""
    output = git_command.git_output(
        "show",
        "-s",
        "--no-show-signature",
        "--encoding=UTF-8",
        "--format=%T %P%n%B",
        sha,
        cwd=repo_paths.top,
    )
    header, _, message = output.partition("\n")
    tree, parents = header.split(" ", 1)
    repository = Repository("", 0, repo_paths.top.name)
    key = run.run_key(repository, sha, spec.digest, 0, str(time.time_ns()))
    ref = (
        git_command.git_output_or_none("symbolic-ref", "--quiet", "HEAD", cwd=repo_paths.top) or ""
    )
    user = os.environ.get("USER", "")
    return Run(
        key, repository, sha, tree, tuple(parents.split()), ref, user, name, spec, spec.digest,
        fyre_id=request.parse_message(message).fyre_id, created_at=time.time(),
    )  # fmt: skip


def _run_to_end(engine: LocalEngine, new_run: Run, sink: OutputSink) -> RunRecord:
    """Launch a run, copy its output, and return its record.

    If this process is interrupted, the run is cancelled first.
    """
    changed = threading.Event()
    engine.subscribe(lambda _: changed.set())
    if ignored := LOCAL_CAPABILITIES.unsupported_fields(new_run.spec):
        sys.stderr.write(f"fyre: {NOT_HONOURED}{', '.join(ignored)}\n")
    try:
        with raise_on_signal():
            engine.launch(new_run)
            last_byte = b""
            for chunk in engine.read_log(new_run.key, follow=True):
                last_byte = chunk[-1:] or last_byte
                sink.write(chunk)
                sink.flush()
            end_output_line(last_byte)
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
    """Return the exit code of a run that ended, and print more about it to stderr."""
    if record.missing_code:
        sys.stderr.write(f"fyre: {NOT_CHECKED_OUT}{', '.join(record.missing_code)}\n")
    if record.state is RunState.SUCCEEDED:
        return 0
    if record.state is not RunState.FAILED:
        raise UserError(record.reason or str(record.state))
    sys.stderr.write(f"fyre: {record.reason}\n" if record.reason else "")
    if record.signal:
        return 128 + record.signal
    if record.exit_code is None:
        return TIMEOUT_EXIT_CODE
    return record.exit_code or 1  # the command ended well, and an output is missing


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Raise ``SystemExit`` on TERM and HUP inside the block, as Ctrl-C raises an exception."""

    def raise_system_exit(signal_number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signal_number)

    # only the main thread can handle signals
    in_main_thread = threading.current_thread() is threading.main_thread()
    old_handlers = (
        {
            number: signal.signal(number, raise_system_exit)
            for number in (signal.SIGTERM, signal.SIGHUP)
        }
        if in_main_thread
        else {}
    )
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


def _remove_state(state: Path) -> None:
    from fyre.engines.local import checkout as checkouts

    # a command may have left directories that nobody may write to, so this is no plain rmtree
    checkouts.remove_tree(str(state))
