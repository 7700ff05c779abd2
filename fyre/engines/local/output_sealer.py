"""Seal the outputs of ended runs: store every file, then the manifest, then write the outcome.

A supervisor leaves ``ended.json``, which is the outcome, and the files where the command wrote
them. Each step can be done again after a crash: nothing is deleted before the outcome is there.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fyre.artifacts import output_files, output_limits, run_sealing
from fyre.artifacts.artifact_store import ArtifactStore, UnreadableFileError, fsync_path
from fyre.artifacts.link_lines import LINKS_SIZE
from fyre.artifacts.manifest import Artifact
from fyre.artifacts.output_files import OutputFiles
from fyre.artifacts.output_limits import OutputSize
from fyre.artifacts.run_sealing import StoredOutputs
from fyre.engines.local import result_files
from fyre.engines.local.result_files import ENDED_FILE, LINKS_FILE, METRICS_FILE, OUTPUTS_DIR
from fyre.regular_files import open_for_writing, read_beginning
from fyre.runs import results
from fyre.runs.run import Run
from fyre.runs.state import RunState
from fyre.stored_form import UnreadableError, read_json

log = logging.getLogger(__name__)

_THREADS = 2
_PAUSES = (1.0, 5.0, 30.0, 60.0)
"""Seconds before the next attempt, after an error of the disk; the last one again and again."""

PATIENCE = 24 * 3600.0
"""Seconds for which an error of the disk may last before the outputs are given up."""


class StoppedError(Exception):
    """This process stops; the next one seals the run."""


@dataclass(slots=True)
class EndedRun:
    """A run whose command has ended: what it was, its directory, and its checkout."""

    run: Run
    directory: Path
    checkout: Path
    attempts: int = 0  # that failed
    first_failure: float = 0.0  # on the monotonic clock
    trouble: str = ""  # why the last attempt failed


class OutputSealer:
    """Threads that seal; ``on_sealed(key)`` is called from them."""

    def __init__(self, store: ArtifactStore, on_sealed: Callable[[str], None]) -> None:
        self._store, self._on_sealed = store, on_sealed
        self._runs: dict[str, EndedRun] = {}
        store.remove_drafts()  # of a process that was killed
        self._queue: queue.SimpleQueue[EndedRun | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    def __contains__(self, key: str) -> bool:
        """Return True if a run is being sealed."""
        return key in self._runs

    def trouble_of(self, key: str) -> str:
        """Return why the outputs of a run can't be stored yet; "" if nothing is known."""
        ended = self._runs.get(key)
        return (
            f"its outputs can't be stored yet: {ended.trouble}" if ended and ended.trouble else ""
        )

    def submit(self, ended: EndedRun) -> None:
        """Have a run sealed, once."""
        if ended.run.key in self._runs:
            return
        self._runs[ended.run.key] = ended
        self._queue.put(ended)
        if len(self._threads) < min(_THREADS, len(self._runs)):
            thread = threading.Thread(target=self._seal_loop, name="output sealer", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop soon; what is not sealed is sealed after the next start."""
        self._stopped.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _seal_loop(self) -> None:
        while (ended := self._queue.get()) is not None and not self._stopped.is_set():
            try:
                self._seal(ended)
            except StoppedError:
                continue
            except Exception as error:
                self._note_failure(ended, error)
            else:
                del self._runs[ended.run.key]
            self._on_sealed(ended.run.key)

    def _note_failure(self, ended: EndedRun, error: Exception) -> None:
        """Have a run sealed again after a pause, in which others are; or give its outputs up."""
        log.warning("the outputs of %s can't be stored yet: %s", ended.run.key, error)
        ended.trouble = getattr(error, "strerror", None) or str(error)
        ended.first_failure = ended.first_failure or time.monotonic()
        if time.monotonic() - ended.first_failure > PATIENCE and self._give_up(ended):
            del self._runs[ended.run.key]
            return
        pause = _PAUSES[min(ended.attempts, len(_PAUSES) - 1)]
        ended.attempts += 1
        timer = threading.Timer(pause, self._queue.put, [ended])
        timer.daemon = True
        timer.start()

    def _seal(self, ended: EndedRun) -> None:
        outcome = _read_outcome(ended)
        is_complete = outcome.get("state") == "succeeded"
        found = output_files.find_output_files(
            ended.directory / OUTPUTS_DIR,
            ended.checkout,
            ended.run.spec.outputs,
            self._raise_if_stopped,
        )
        artifacts = self._store_files(ended.run, found)
        metrics_sha256 = self._store_metrics(ended, found)
        links = read_beginning(ended.directory / LINKS_FILE, LINKS_SIZE).decode(errors="replace")
        missing = found.missing({one.path for one in artifacts})
        stored = StoredOutputs(
            artifacts, metrics_sha256, links, found.shown_problems(), missing, found.refusal
        )
        manifest = run_sealing.seal_run(self._store, ended.run, stored, _known_state(outcome))
        if is_complete and (reason := stored.failure_reason()):
            outcome |= {"state": "failed", "reason": reason}
        _write_outcome(ended, outcome | {"results": results.to_json(manifest.results)})
        _remove_stored(ended)

    def _store_files(self, run: Run, found: OutputFiles) -> tuple[Artifact, ...]:
        """Store all files that may be kept, or none of them."""
        before = OutputSize(sum(found.sizes()), len(found.files))
        if excess := output_limits.find_excess(self._store, run, before):
            found.refuse_all(excess)
            return ()
        artifacts, files = [], list(found.files.values())
        stored = self._store.add_files((file.source for file in files), self._raise_if_stopped)
        for file, blob in zip(files, stored, strict=True):
            if isinstance(blob, UnreadableFileError):
                found.add_problem(file.path, str(blob))
            else:
                artifacts.append(Artifact(file.path, blob.size, blob.sha256, file.mode))
        after = OutputSize(sum(one.size for one in artifacts), len(artifacts))
        if after != before and (excess := output_limits.find_excess(self._store, run, after)):
            found.refuse_all(excess)  # it was still being written
            return ()
        return tuple(artifacts)

    def _store_metrics(self, ended: EndedRun, found: OutputFiles) -> str | None:
        """Store the lines of metrics that a command wrote; return their hash, None for none."""
        path = ended.directory / METRICS_FILE
        try:
            if path.lstat().st_size:
                return self._store.add_file(path, self._raise_if_stopped).sha256
        except FileNotFoundError:
            pass
        except UnreadableFileError as error:
            found.add_problem("$FYRE_METRICS", str(error))
        return None

    def _raise_if_stopped(self) -> None:
        if self._stopped.is_set():
            raise StoppedError

    def _give_up(self, ended: EndedRun) -> bool:
        """Say that the outputs are lost; return False if not even that can be written.

        What is in the run's own directory stays there.
        """
        reason = f"outputs lost: they can't be stored: {ended.trouble}"
        with suppress(OSError):
            _write_outcome(ended, {**_read_outcome(ended), "state": "error", "reason": reason})
            return True
        return False


def _known_state(outcome: dict[str, Any]) -> RunState | None:
    """Return the state in an outcome; None for a later version's."""
    with suppress(ValueError):
        return RunState(str(outcome.get("state")))
    return None


def _read_outcome(ended: EndedRun) -> dict[str, Any]:
    try:
        outcome = read_json(ended.directory / ENDED_FILE)
    except UnreadableError as error:
        outcome = {"state": "error", "reason": f"lost: how it ended can't be read: {error}"}
    return outcome if isinstance(outcome, dict) else {"state": "error", "reason": "lost: no object"}


def _write_outcome(ended: EndedRun, outcome: dict[str, Any]) -> None:
    """Write the outcome, durably."""
    directory = ended.directory
    draft = directory / f"outcome.json.{os.getpid()}"
    with os.fdopen(open_for_writing(draft, os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(json.dumps(outcome))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(directory / "outcome.json")
    fsync_path(directory)


def _remove_stored(ended: EndedRun) -> None:
    """Remove what is in the store by now."""
    result_files.remove_results_files(str(ended.directory))
    with suppress(OSError):
        (ended.directory / ENDED_FILE).unlink()
