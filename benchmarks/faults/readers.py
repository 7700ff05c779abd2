"""Fuzzed inputs for each reader of stored things: none crashes, and what was read can be shown.

What is stored may have been damaged, written by another version, or by somebody else: files of the
local engine, annotations of Jobs, statuses, tokens, cursors, ``.fyre.yaml``. A reader refuses it
with ``UnreadableError`` (or its own documented error), or reads it; then the record can be posted,
shown on a page, and put into an order. All follows from the seed. ``python
benchmarks/faults/readers.py [INPUTS] [SEED] [READER...]`` prints JSON; it exits 1 at any other
error. The issue's figure is 100,000 inputs a reader; ``.ci/run`` takes fewer.
"""

from __future__ import annotations

import json
import logging
import random
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from starlette.responses import JSONResponse

from benchmarks.lib.stored_fuzzer import StoredFuzzer
from fyre.artifacts import manifest as manifests
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.controller.comments import handler
from fyre.engines import segment_reader, segmented_log
from fyre.engines.kubernetes import job_hold, job_labels, run_status
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.local import run_dir, state_dir
from fyre.engines.local.cut_short_runs import CutShortRuns
from fyre.engines.local.held_runs import HeldRuns
from fyre.git import access_token
from fyre.message import request, spec_form
from fyre.message.spec import RunSpec
from fyre.message.value_parsers import BadValueError
from fyre.reporter import unposted_statuses
from fyre.reporter.own_statuses import is_of_same_run
from fyre.runs import posted_states, repo_config, status_text
from fyre.runs import run as runs
from fyre.runs.commit_status import DESCRIPTION_MAX, CommitStatus
from fyre.runs.repo_config import RepoConfigError
from fyre.runs.results import MetricValue, RunResults
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import RunCursor
from fyre.runs.state import RunState
from fyre.server import run_links
from fyre.server.run_pages import RunPages
from fyre.stored_form import UnreadableError, parse_json

KEY = "0123456789abcdef0123456789"
SHA = "a" * 40
SECRET = b"s" * 32
NOW = 5.0
RUN = Run(
    KEY,
    Repository("http://forge", 1, "ada/lab"),
    SHA,
    "b" * 40,
    (),
    "refs/heads/main",
    "ada",
    "train",
    RunSpec("true", env=(("A", "1"),), outputs=("ck/",), note="n", metric_goals=(("a", "max"),)),
    "d",
    fyre_id="01JD0000000000000000000000",
    created_at=NOW,
)


def as_stored(data: object) -> Any:  # noqa: ANN401 - what JSON holds
    """Return data as it is read back from JSON."""
    return json.loads(json.dumps(data))


STORED_RUN = as_stored(runs.to_json(RUN))
RESULTS = RunResults(1, 3, (("a", MetricValue(0.5, 0.25, 1.0)),), ("pipe is not kept",))
FAILED = RunRecord(RUN, RunState.FAILED, 1, 1.0, 2.0, 3, results=RESULTS)
OUTCOME = as_stored(json.loads(run_status.format_outcome(FAILED)))
MANIFEST = as_stored(
    manifests.to_json(
        RunManifest(
            KEY,
            RUN.repository,
            SHA,
            "train",
            1,
            NOW,
            (Artifact("ck/m.pt", 3, "c" * 64, 0o644),),
            RESULTS,
            (("title", "https://example.org"),),
        )
    )
)
JOB = as_stored(
    run_dir.build_supervisor_job(RUN, Path("/git"), Path("/work"), grace=1.0, log_cap=1, keep=False)
)
FILES = {
    "run.json": STORED_RUN,
    "job.json": JOB,
    "progress.json": {"state": "running", "tries": 1, "started_at": NOW},
    "outcome.json": OUTCOME,
    "notes.json": {"reported": "{}", "carried": [SHA]},
    "cancel": {"by": "bob"},
    "hold.json": {"reason": "needs prep"},
    "lock": {"pid": 1},
}
ANNOTATIONS = {
    "run": STORED_RUN,
    "outcome": OUTCOME,
    "reported": {SHA: "pending"},
    "carried": [SHA],
    **dict.fromkeys(("settled", "cancelled-by", "given-up", "held", "queue", "released-at"), None),
}
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
CONFIG = "timeout: 2h\nsetup: [uv sync]\nenv: {A: b}\nresources: {cpu: 4}\nretries: 2\n"

COMMENT = "Try it:\n\n/fyre run --name big --timeout 2h -- python train.py\n"
MESSAGE = "Work\n\nFyre-Run: make\nFyre-Name: x\nFyre-Timeout: 2h\nFyre-Env: A=b\n"


class Readers:
    """The readers, by name. ``folder`` is a temporary one, empty before each input."""

    def __init__(self, fuzzer: StoredFuzzer, folder: Path) -> None:
        self.fuzzer, self.folder = fuzzer, folder
        self.pages = RunPages(None, SECRET, lambda: "http://receiver")  # type: ignore[arg-type]

    def by_name(self) -> dict[str, Callable[[], object]]:
        """Return each reader, which reads one fuzzed input."""
        named: dict[str, Callable[[], object]] = {
            "run": self.read_run,
            "spec": lambda: spec_form.from_json(
                parse_json(self.fuzzer.json_bytes(STORED_RUN["spec"]))
            ),
            "posted states": self.read_posted_states,
            "cursor": self.read_cursor,
            "status text": self.read_status_text,
            "target URL": self.read_target_url,
            "log segments": self.read_segments,
            "page token": self.read_page_token,
            "relay token": self.read_relay_token,
            ".fyre.yaml": lambda: repo_config.parse_repo_config(self.fuzzer.text(CONFIG)),
            "comment": lambda: handler.parse_command(self.fuzzer.text(COMMENT)),
            "manifest": lambda: manifests.from_json(parse_json(self.fuzzer.json_bytes(MANIFEST))),
            "message": lambda: request.parse_message(self.fuzzer.text(MESSAGE)),
        }
        for name in FILES:
            named[f"runs/{name}"] = lambda name=name: self.read_local_run(name)
            named[f"held/{name}"] = lambda name=name: self.read_held_run(name)
        for name in ANNOTATIONS:
            named[f"annotation {name}"] = lambda name=name: self.read_annotation(name)
        return named

    def show(self, record: RunRecord) -> None:
        """Do with a record what is done with each: post it, show it, order it."""
        for post in unposted_statuses.unposted_statuses(record, "http://page"):
            assert len(post.status.description) <= DESCRIPTION_MAX
            (post.status.description + post.status.context + post.sha).encode()
        JSONResponse([self.pages.describe_run(record)])
        cursor = RunCursor.from_record(record)
        assert RunCursor.from_text(str(cursor)) == cursor

    def read_run(self) -> None:
        """Read a run, and show it."""
        run = runs.from_json(parse_json(self.fuzzer.json_bytes(STORED_RUN)))
        self.show(RunRecord(run))
        as_stored(runs.to_json(run))

    def read_posted_states(self) -> None:
        """Read what was posted of a run, and add to it."""
        text = self.fuzzer.json_bytes({SHA: "pending"}).decode("utf-8", "replace")
        posted_states.posted_states(text)
        self.show(RunRecord(RUN, reported=text))
        json.loads(posted_states.with_posted_state(text, "b" * 40, "failed"))

    def read_cursor(self) -> None:
        """Read the place in a list of runs."""
        try:
            RunCursor.from_text(self.fuzzer.text("1796000000.25_0123456789abcdef"))
        except ValueError:
            raise UnreadableError from None

    def read_status_text(self) -> None:
        """Read a status back."""
        description = self.fuzzer.text("exit 1 · 3s · carried from 0123456 · attempt 2")
        status_text.parse_status(self.fuzzer.rng.choice(("pending", "error", "x")), description)

    def read_target_url(self) -> None:
        """Compare the links of two statuses."""
        url = self.fuzzer.text(f"http://[::1]:8020/runs/{KEY}-abc")
        statuses = (CommitStatus("fyre/run", "success", "x", one) for one in (url, "http://h/runs"))
        is_of_same_run(*statuses)

    def read_segments(self) -> None:
        """Read a log whose segments have any names."""
        for _ in range(self.fuzzer.rng.randrange(4)):
            end = self.fuzzer.rng.choice(
                ("0", "1", "7", "²", "٣", "-1", "1e3", "9" * 20, "x", "00")
            )
            (self.folder / f"log.{end}").write_bytes(b"line\n")
        path = str(self.folder / "log")
        for _ in segment_reader.read_pieces(path, self.fuzzer.rng.randrange(30)):
            pass
        segment_reader.end_offset(path)
        segmented_log.read_tail(path, 9)

    def read_page_token(self) -> None:
        """Read the token of a run's page."""
        run_links.run_key_from_token(SECRET, self.fuzzer.text(f"{KEY}-0123456789abcdef"))

    def read_relay_token(self) -> None:
        """Read a relay's token with any signed content."""
        content = self.fuzzer.text(f"{NOW}:1,2:{KEY}").encode("utf-8", "replace")
        claims = access_token._encode_base64url(content)  # noqa: SLF001 - signed as a true one
        mac = access_token._compute_mac(SECRET, claims)  # noqa: SLF001
        access_token.verify_access_token([SECRET], f"{claims}.{mac}", 0.0)

    def write_run(self, parent: str, damaged: str) -> None:
        """Write a run of the local engine, with one damaged file."""
        (self.folder / "runs").mkdir()
        (self.folder / "held").mkdir()
        path = self.folder / parent / KEY
        path.mkdir()
        for name, data in FILES.items():
            if name == damaged:
                (path / name).write_bytes(self.fuzzer.json_bytes(data))
            elif name in ("run.json", "job.json") or self.fuzzer.rng.random() < 0.3:
                (path / name).write_text(json.dumps(data))

    def read_local_run(self, name: str) -> None:
        """Read a run of the local engine, and write to it."""
        self.write_run("runs", name)
        for directory, run in state_dir.load_runs(
            self.folder / "runs", CutShortRuns(self.folder / "cut-short")
        ):
            directory.conclude_without_supervisor(NOW)
            self.show(directory.updated_record(RunRecord(run)))
            directory.job_problem()
            directory.is_lost()
            directory.supervisor_pid()
            directory.write_notes(carried=("b" * 40,))
            directory.write_outcome(NOW, RunState.ERROR, "x")

    def read_held_run(self, name: str) -> None:
        """Read a held run of the local engine, and release it."""
        self.write_run("held", name)
        held = HeldRuns(
            self.folder / "held", self.folder / "runs", CutShortRuns(self.folder / "cut-short")
        )
        for directory, run in held.recover_runs(NOW):
            if run.key in held:
                self.show(held.updated_record(RunRecord(run)))
                directory.request_cancel("bob")
                directory.conclude_without_supervisor(NOW)
                held.move_to_runs(run.key)

    def read_annotation(self, name: str) -> None:
        """Read a Job with a damaged annotation, and release it."""
        content = self.fuzzer.json_bytes(ANNOTATIONS[name]).decode("utf-8", "replace")
        annotations = {
            job_labels.RUN_ANNOTATION: json.dumps(STORED_RUN),
            **({job_labels.HELD_ANNOTATION: "prep"} if self.fuzzer.rng.random() < 0.3 else {}),
            job_labels.FYRE_PREFIX + name: content.replace("\0", ""),
        }
        labels = {job_labels.INSTANCE_LABEL: "fyre", job_labels.KEY_LABEL: KEY}
        metadata = {"name": f"fyre-{KEY}", "namespace": "lab", "uid": "u", "resourceVersion": "1"}
        cache = ObjectCache()
        key = cache.upsert_job({
            "metadata": {**metadata, "labels": labels, "annotations": annotations},
            "spec": {"suspend": self.fuzzer.rng.random() < 0.3},
            "status": {},
        })  # fmt: skip
        refreshed = cache.refresh_record(key) if key else None
        if refreshed is None:
            return
        _, record, job, _ = refreshed
        self.show(record)
        job_hold.released_at(job)
        patched = job_hold.release_patch(job, NOW)["metadata"].get("labels", {})
        queue = patched.get(job_labels.KUEUE_QUEUE_LABEL)
        assert queue is None or LABEL_VALUE.fullmatch(queue), "the API server refuses this release"


DOCUMENTED = (UnreadableError, RepoConfigError, BadValueError)


def read_many(read: Callable[[], object], folder: Path, inputs: int) -> tuple[int, Counter[str]]:
    """Return how many inputs were refused, and how often which undocumented error came."""
    from fyre.engines.local.checkout import remove_tree

    refused, errors = 0, Counter[str]()
    for _ in range(inputs):
        folder.mkdir(exist_ok=True)
        try:
            read()
        except DOCUMENTED:
            refused += 1
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            name = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            errors[f"{name}: {error!s:.80}".encode("ascii", "backslashreplace").decode()] += 1
        if any(folder.iterdir()):
            remove_tree(str(folder))
    return refused, errors


def main(inputs: int, seed: int, *names: str) -> None:
    """Read so many fuzzed inputs with each reader."""
    logging.disable(logging.CRITICAL)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        folder = Path(root, "input")
        readers = Readers(StoredFuzzer(random.Random(seed)), folder).by_name()
        results = {
            name: read_many(read, folder, inputs)
            for name, read in readers.items()
            if not names or name in names
        }
    print(json.dumps({
        "inputs_per_reader": inputs,
        "seed": seed,
        "readers": len(results),
        "refused": {name: refused for name, (refused, _) in results.items()},
        "errors": {name: errors for name, (_, errors) in results.items() if errors},
    }, indent=2))  # fmt: skip
    sys.exit(any(errors for _, errors in results.values()))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    main(*(numbers + [2000, 1][len(numbers) :]), *sys.argv[3:])
