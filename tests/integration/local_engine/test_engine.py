"""The local engine: the contract, and what only processes on one machine can go through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fyre
from fyre.engines import exit_status
from fyre.engines.local import LocalEngine
from fyre.errors import UserError
from fyre.runs.run_query import ALL_RUNS, RunCursor, RunQuery
from fyre.runs.state import RunState
from tests.contract.engine import EngineContract, await_end, await_state, make_run
from tests.support.ci_marks import LONG_CASE, long_case

Make = Callable[..., LocalEngine]


@pytest.fixture
def make(repo: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes engines on one state folder, and closes them."""
    made: list[LocalEngine] = []

    def new(**settings: object) -> LocalEngine:
        for engine in made:
            engine.close()
        engine = LocalEngine(
            tmp_path / "state",
            **{"find_git_dir": lambda _: repo / ".git", "jobs": 4, "grace": 0.5} | settings,
        )
        made.append(engine)
        return engine

    yield new
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make: Make) -> LocalEngine:
    return make()


class TestContract(EngineContract):
    """The local engine keeps the contract."""


def test_a_query_knows_the_place_in_the_whole_queue(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    first, *waiting = (make_run(sha, "sleep 100") for _ in range(4))
    engine.launch(first)
    await_state(engine, first.key, RunState.RUNNING)
    for run in waiting:
        engine.launch(run)
    queued = frozenset({RunState.QUEUED})
    (newest,) = engine.query_runs(RunQuery(states=queued, limit=1))
    assert newest == engine.get_record(waiting[-1].key)
    assert newest.reason == "waiting for a free slot, 2 ahead"
    (running,) = engine.query_runs(RunQuery(before=RunCursor.from_record(newest), limit=3))[2:]
    assert (running.run.key, running.reason) == (first.key, "")
    for run in (*waiting, first):
        engine.cancel(run.key, "bob")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (
        FileNotFoundError,
        ProcessLookupError,
    ):  # the latter where it is reaped between open and read
        return False


@pytest.mark.parametrize(
    "how", ["sleep 100 &", "setsid sleep 100 &", "(setsid sleep 100 & echo $! > $PIDS/double) &"]
)
def test_daemons_end_with_the_command(
    engine: LocalEngine, sha: str, tmp_path: Path, how: str
) -> None:
    run = make_run(
        sha,
        f"{how} sleep 0.2; pgrep -f 'sleep 100' -s 0 > /dev/null; "
        "ps -eo pid,args | grep '[s]leep 100'",
        env=(("PIDS", str(tmp_path)),),
    )
    engine.launch(run)
    record = await_end(engine, run.key)
    log = b"".join(engine.read_log(run.key)).decode()
    pids = [int(line.split()[0]) for line in log.splitlines() if line.endswith("sleep 100")]
    assert record.state is RunState.SUCCEEDED, log
    assert pids
    assert "that the command left behind" in log
    assert not any(
        alive(pid) and f"FYRE_KEY={run.key}" in Path(f"/proc/{pid}/environ").read_text()
        for pid in pids
    )


def test_orphans_that_end_by_themselves_are_not_left_behind(engine: LocalEngine, sha: str) -> None:
    run = make_run(sha, "for i in 1 2 3; do (setsid true &); done; sleep 0.3; echo done")
    engine.launch(run)
    await_end(engine, run.key)
    assert b"".join(engine.read_log(run.key)) == b"done\n"


@long_case
def test_much_more_output_than_is_kept_keeps_head_and_tail(make: Make, sha: str) -> None:
    engine = make(log_max_bytes=40_000)
    run = make_run(sha, "echo head; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo tail")
    engine.launch(run)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    log = b"".join(engine.read_log(run.key))
    assert log.startswith(b"head\nxxx")
    assert log.endswith(b"xxx\ntail\n")
    assert b" bytes are left out here]" in log
    assert len(log) < 41_000
    left_out = int(log.split(b"[fyre: ")[1].split()[0].replace(b",", b""))
    gap = len(log.split(b"\n[fyre: ")[1].split(b"]\n")[0]) + len(b"\n[fyre: ]\n")
    assert left_out + len(log) - gap == 50_000_000 + len("head\n\ntail\n")


def test_binary_output_is_kept_byte_for_byte(engine: LocalEngine, sha: str) -> None:
    run = make_run(sha, "printf '\\000\\377\\033[2J\\r\\n'")
    engine.launch(run)
    await_end(engine, run.key)
    assert b"".join(engine.read_log(run.key)) == b"\0\xff\x1b[2J\r\n"


def test_jobs_bound_what_runs_at_once_and_the_others_wait_in_order(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    runs = [make_run(sha, f"echo {n} >> {tmp_path}/order; sleep 0.1") for n in range(4)]
    for run in runs:
        engine.launch(run)
    await_state(engine, runs[0].key, RunState.RUNNING)
    waiting = engine.get_record(runs[3].key)
    assert waiting is not None
    assert (waiting.state, waiting.reason) == (RunState.QUEUED, "waiting for a free slot, 2 ahead")
    for run in runs:
        await_end(engine, run.key)
    assert (tmp_path / "order").read_text().split() == ["0", "1", "2", "3"]


def test_a_queued_run_is_cancelled_without_starting(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    first, second = make_run(sha, "sleep 100"), make_run(sha, "echo ran")
    engine.launch(first)
    engine.launch(second)
    assert engine.cancel(second.key, "bob")
    record = engine.get_record(second.key)
    assert record is not None
    assert (record.state, record.cancelled_by, record.tries) == (RunState.CANCELLED, "bob", 0)
    assert b"".join(engine.read_log(second.key)) == b""
    engine.cancel(first.key, "bob")
    await_end(engine, first.key)


def test_what_it_can_not_honour_is_said(engine: LocalEngine, sha: str) -> None:
    run = make_run(
        sha, "true", image="python:3.12", resources=(("cpu", "4"),), secrets=("s",), profile="gpu"
    )
    engine.launch(run)
    assert await_end(engine, run.key).unsupported == ("image", "resources", "secrets", "profile")


def test_a_forges_credentials_never_reach_the_command(
    make: Make, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "FYRE_TOKEN", "FYRE_WEBHOOK_SECRET", "GIT_ASKPASS"):
        monkeypatch.setenv(name, "s3cret")
    engine = make()
    run = make_run(sha, "env; cat /proc/$PPID/environ | tr '\\0' '\\n'")
    engine.launch(run)
    await_end(engine, run.key)
    assert b"s3cret" not in b"".join(engine.read_log(run.key))


def test_checkouts_are_removed_even_when_nobody_may_write_them(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    run = make_run(sha, "mkdir -p a/b && touch a/b/c && chmod 500 a/b a")
    engine.launch(run)
    await_end(engine, run.key)
    engine.close()
    deadline = time.monotonic() + 30
    while list((tmp_path / "state" / "work").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@long_case
def test_a_tree_deeper_than_python_can_call_itself_is_removed_and_frees_its_slot(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    deep = 'python3 -c \'import os\nfor i in range(3000): os.mkdir("d"); os.chdir("d")\''
    first, second = make_run(sha, deep), make_run(sha, "echo after")
    engine.launch(first)
    engine.launch(second)
    assert await_end(engine, first.key).state is RunState.SUCCEEDED
    assert await_end(engine, second.key).state is RunState.SUCCEEDED
    engine.close()
    assert not (tmp_path / "state" / "work" / first.key).exists()


def test_checkouts_are_kept_on_request(make: Make, sha: str, tmp_path: Path) -> None:
    engine = make(keep_checkouts=True)
    run = make_run(sha, "echo made > made")
    engine.launch(run)
    await_end(engine, run.key)
    assert (tmp_path / "state" / "work" / run.key / "made").read_text() == "made\n"


def test_a_second_engine_on_the_same_state_is_refused(
    engine: LocalEngine, make: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"pid {os.getpid()}"):
        LocalEngine(tmp_path / "state", find_git_dir=lambda _: tmp_path, jobs=1)


def test_old_runs_are_forgotten(make: Make, sha: str, tmp_path: Path) -> None:
    engine = make()
    run = make_run(sha, "true")
    engine.launch(run)
    await_end(engine, run.key)
    assert make(history=3600.0).get_record(run.key) is not None
    assert make(history=0.0).get_record(run.key) is None
    assert list((tmp_path / "state" / "runs").iterdir()) == []


SERVER = """
import sys, time
from pathlib import Path
from fyre.engines.local import LocalEngine
from tests.contract.engine import make_run
state, git_dir, sha, out, jobs = sys.argv[1:]
engine = LocalEngine(Path(state), find_git_dir=lambda _: Path(git_dir), jobs=int(jobs), grace=0.5)
for n in range(6):
    command = f"echo {n} >> {out}; sleep 0.3; echo done {n} >> {out}"
    engine.launch(make_run(sha, command, key=f"{n:026x}"))
    print("launched", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "moment", [0.1, *(pytest.param(one, marks=LONG_CASE) for one in (0.0, 0.02, 0.35, 0.6))]
)
def test_a_server_killed_at_any_moment_loses_nothing_and_starts_nothing_twice(
    make: Make, repo: Path, sha: str, tmp_path: Path, moment: float
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        SERVER,
        str(tmp_path / "state"),
        str(repo / ".git"),
        sha,
        str(out),
        "2",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as server:
        assert server.stdout is not None
        launched = [server.stdout.readline() for _ in range(6 if moment else 1)]
        time.sleep(moment)
        server.send_signal(signal.SIGKILL)
        server.wait()
        launched += server.stdout.read().splitlines()
    engine = make(jobs=2)
    known = [record.run.key for record in engine.query_runs(ALL_RUNS)]
    assert len(known) >= len(launched)
    for key in known:
        assert await_end(engine, key).state is RunState.SUCCEEDED
    expected = sorted(line for n in range(len(known)) for line in (f"{n}", f"done {n}"))
    assert sorted(out.read_text().splitlines()) == expected


@pytest.mark.parametrize("members", [{}, {"tries": "x"}, {"version": 2}], ids=str)
def test_a_supervisor_killed_while_the_command_runs_is_lost_and_never_started_again(
    make: Make, sha: str, tmp_path: Path, members: dict[str, object]
) -> None:
    """Also where its progress can't be read."""
    engine = make()
    run = make_run(sha, f"echo $$ >> {tmp_path}/pids; sleep 100", retries=3)
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        time.sleep(0.01)
    folder = tmp_path / "state" / "runs" / run.key
    progress = json.loads((folder / "progress.json").read_bytes())
    (folder / "progress.json").write_text(json.dumps(progress | members))
    os.kill(int((folder / "lock").read_text()), signal.SIGKILL)
    record = await_end(engine, run.key)
    assert (record.state, record.reason.startswith("lost:")) == (RunState.ERROR, True)
    (pid,) = (tmp_path / "pids").read_text().split()
    deadline = time.monotonic() + 30
    while alive(int(pid)):
        assert time.monotonic() < deadline, "the command outlived its run"
        time.sleep(0.01)
    again = make().get_record(run.key)
    assert again is not None
    assert again.reason.startswith("lost:")


def test_what_forks_supervisors_starts_with_the_server_and_loads_only_what_they_need() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from fyre.engines.local import fork_server; print(*sys.modules)"
    )
    words = [sys.executable, "-I", "-S", "-c", code, str(Path(fyre.__file__).parents[1])]
    loaded = set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    heavy = {
        "subprocess",
        "dataclasses",
        "logging",
        "pathlib",
        "urllib",
        "fyre.runs.run",
        "fyre.engines.local.engine",
    }
    assert not loaded & heavy


def test_a_killed_spawner_is_replaced(engine: LocalEngine, sha: str) -> None:
    engine._fork_client.start().kill()
    engine._fork_client.start().wait()
    run = make_run(sha, "echo ran")
    engine.launch(run)
    await_end(engine, run.key)
    assert b"".join(engine.read_log(run.key)) == b"ran\n"


def test_a_cancel_written_down_before_a_crash_still_happens(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    run = make_run(sha, "echo on; sleep 100")
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    engine.close()
    (tmp_path / "state" / "runs" / run.key / "cancel").write_text('{"by": "bob"}')
    record = await_end(make(), run.key, 30)
    assert (record.state, record.cancelled_by) == (RunState.CANCELLED, "bob")


def test_a_shallow_source_is_checked_out(repo: Path, sha: str, tmp_path: Path) -> None:
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{repo}", str(tmp_path / "shallow")], check=True
    )
    engine = LocalEngine(
        tmp_path / "state", find_git_dir=lambda _: tmp_path / "shallow" / ".git", jobs=1
    )
    run = make_run(sha, "git log --oneline | wc -l; git status --porcelain")
    engine.launch(run)
    await_end(engine, run.key)
    assert b"".join(engine.read_log(run.key)).split() == [b"1"]
    engine.close()


@pytest.mark.parametrize("how", ["command", "env"])
def test_what_the_kernel_refuses_to_start_is_an_error_and_no_verdict(
    engine: LocalEngine, sha: str, how: str
) -> None:
    long = "x" * 200_000  # Linux takes 128 KiB for one argument
    run = (
        make_run(sha, f"true {long}", retries=2)
        if how == "command"
        else make_run(sha, "true", env=(("A", long),))
    )
    engine.launch(run)
    record = await_end(engine, run.key)
    assert (record.state, record.exit_code, record.tries) == (RunState.ERROR, None, 1)
    assert record.reason == "/bin/sh can't be started: Argument list too long"


def test_nothing_that_python_ignores_is_ignored_by_the_command(
    engine: LocalEngine, sha: str
) -> None:
    run = make_run(sha, "grep -E 'Sig(Ign|Blk)' /proc/self/status")
    engine.launch(run)
    await_end(engine, run.key)
    masks = [
        int(line.split()[1], 16)
        for line in b"".join(engine.read_log(run.key)).decode().splitlines()
    ]
    glibcs = (
        1 << 31 | 1 << 32
    )  # 32 and 33, which its threads use among themselves and nobody can set
    assert [mask & ~glibcs for mask in masks] == [0, 0]


def test_a_machine_without_git_says_so(
    make: Make, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    engine = make()
    run = make_run(sha, "echo ran")
    engine.launch(run)
    record = await_end(engine, run.key)
    assert record.state is RunState.ERROR
    assert (
        record.reason == f"commit {sha[:12]} can't be checked out: "
        "git can't be started: No such file or directory"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "exit 1"),
        (137, "exit 137 (SIGKILL, out of memory?)"),
        (255, "exit 255"),
        (-11, "killed by SIGSEGV (11)"),
        (-9, "killed by SIGKILL (9), out of memory?"),
        (-40, "killed by signal (40)"),  # a real-time signal has no name
    ],
)
def test_endings_are_named(code: int, text: str) -> None:
    assert exit_status.describe_exit(code) == text
