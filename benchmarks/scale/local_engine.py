"""The cost of the local engine: runs of ``echo`` against a bare loop of clone, checkout and spawn.

``python benchmarks/scale/local_engine.py [RUNS] [JOBS] [ROUNDS]`` prints JSON: medians of the
seconds of both over rounds that take turns, CPU seconds a run (as the kernel counts them for ended
children and their children), and the ratio.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import bare_loop, up_fixture
from fyre.engines.local import LocalEngine
from fyre.message.spec import RunSpec
from fyre.runs.run import Repository, Run
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState

COMMAND = "echo hello"


def run_engine(folder: Path, git_dir: Path, sha: str, count: int, jobs: int) -> float:
    """Return the seconds from the first launch to the last end, with records, logs and fsyncs."""
    one = LocalEngine(folder, find_git_dir=lambda _: git_dir, jobs=jobs)
    repository = Repository("http://127.0.0.1/api", 1, "bench/lab")
    runs = [
        Run(
            f"{n:026x}",
            repository,
            sha,
            "",
            (),
            "refs/heads/main",
            "ada",
            "run",
            RunSpec(COMMAND),
            "",
            created_at=0.0,
        )
        for n in range(count)
    ]
    left, done = {run.key for run in runs}, threading.Event()

    def changed(key: str) -> None:
        record = one.get_record(key)
        if record is not None and record.state.is_final:
            left.discard(key)
        if not left:
            done.set()

    one.subscribe(changed)
    begun = time.perf_counter()
    for run in runs:
        one.launch(run)
    assert done.wait(600), f"{len(left)} runs never ended"
    seconds = time.perf_counter() - begun
    assert all(record.state is RunState.SUCCEEDED for record in one.query_runs(ALL_RUNS)), (
        "a run failed"
    )
    while any((folder / "work").iterdir()):  # the last checkouts are being removed
        time.sleep(0.01)
    time.sleep(0.1)
    one.close()
    return seconds


def run_loop(git_dir: Path, sha: str, count: int, jobs: int) -> float:
    """Return the seconds of the bare loop, so many commands at a time."""

    begun = time.perf_counter()
    assert set(bare_loop.run_commands(git_dir, [(sha, COMMAND)] * count, jobs)) == {0}
    return time.perf_counter() - begun


def measure(work: Callable[[], float]) -> tuple[float, float]:
    """Do the work in a process of its own; return its seconds, and CPU seconds with children."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):  # the exit code tells the parent
            seconds = work()
            both = [
                resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            ]
            os.write(
                write,
                json.dumps([seconds, sum(used.ru_utime + used.ru_stime for used in both)]).encode(),
            )
            code = 0
        os._exit(code)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the measured part failed"
    with os.fdopen(read) as answer:
        seconds, cpu = json.load(answer)
    return seconds, cpu


def main(count: int, jobs: int, rounds: int) -> None:
    """Measure in turn, so that a busy machine is busy for both, and print."""
    with tempfile.TemporaryDirectory(prefix="fyre-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ.update(up_fixture.isolated_git(folder), TMPDIR=name)
        path = up_fixture.create_repository(folder, "lab")
        sha, git_dir = up_fixture.git("rev-parse", "HEAD", cwd=path), folder / "lab.git"
        up_fixture.git("clone", "-q", "--bare", str(path), str(git_dir), cwd=folder)
        ours, bare = [], []
        for number in range(rounds):
            bare.append(measure(lambda: run_loop(git_dir, sha, count, jobs)))
            state = folder / f"state{number}"
            ours.append(measure(lambda state=state: run_engine(state, git_dir, sha, count, jobs)))
    print(json.dumps(report(ours, bare, count, jobs), indent=2))


def report(
    ours: list[tuple[float, float]], bare: list[tuple[float, float]], count: int, jobs: int
) -> dict[str, object]:
    """Return the medians, and the median of the rounds' own ratios."""
    return {
        "runs": count,
        "jobs": jobs,
        "rounds": len(ours),
        "engine_seconds": round(statistics.median(pair[0] for pair in ours), 2),
        "bare_loop_seconds": round(statistics.median(pair[0] for pair in bare), 2),
        "engine_cpu_seconds_per_run": round(statistics.median(pair[1] for pair in ours) / count, 4),
        "bare_loop_cpu_seconds_per_run": round(
            statistics.median(pair[1] for pair in bare) / count, 4
        ),
        "ratio": round(statistics.median(a[0] / b[0] for a, b in zip(ours, bare, strict=True)), 2),
        "ratio_target": 1.3,
    }


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [200, 2, 3][len(given) :]))
