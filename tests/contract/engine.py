"""What every engine must do, as tests: an engine's own test module subclasses
``EngineContract``.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fyre.engines.protocol import Engine
from fyre.errors import UserError
from fyre.message.spec import RunSpec
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import ALL_RUNS, RunCursor, RunQuery
from fyre.runs.state import PENDING_STATES, RunState
from tests.conftest import git
from tests.support.first_push import read_head

REPOSITORY = Repository("http://forge/api", 1, "ada/lab")
FEW = (("cpu", "10m"),)
_numbers = itertools.count()


def make_run(sha: str, command: str, key: str = "", **spec: object) -> Run:
    """A run of a command on a commit, under a key of its own."""
    own = (
        key or f"{os.getpid():010x}{next(_numbers):016x}"
    )  # test processes side by side never share one
    return Run(
        own,
        REPOSITORY,
        sha,
        "t" * 40,
        (),
        "refs/heads/main",
        "ada",
        "train",
        RunSpec(command, **spec),
        "d",
        fyre_id="01JD0000000000000000000000",
        attempt=2,
        created_at=time.time(),
    )


def await_end(engine: Engine, key: str, seconds: float = 60.0) -> RunRecord:
    """The record of a run once it has ended; a hang fails the test."""
    ended = threading.Event()
    engine.subscribe(lambda _: ended.set())
    deadline = time.monotonic() + seconds
    while (record := engine.get_record(key)) is None or not record.state.is_final:
        assert time.monotonic() < deadline, f"still {record}"
        ended.wait(0.05)
        ended.clear()
    return record


def await_state(engine: Engine, key: str, state: RunState) -> None:
    deadline = time.monotonic() + 60
    while (record := engine.get_record(key)) is None or record.state is not state:
        assert time.monotonic() < deadline, f"never {state}: {record}"
        time.sleep(0.01)


class EngineContract:
    """Needs the fixtures ``engine`` and ``sha``: an engine, and a commit that holds ``README``
    with "hello".
    """

    def go(self, engine: Engine, sha: str, command: str, **spec: object) -> tuple[RunRecord, str]:
        """Run a command to its end: its record and its output."""
        run = make_run(sha, command, **spec)
        assert engine.launch(run)
        record = await_end(engine, run.key)
        return record, b"".join(engine.read_log(run.key)).decode(errors="replace")

    def test_success(self, engine: Engine, sha: str) -> None:
        record, log = self.go(engine, sha, "cat README; git rev-parse HEAD")
        assert (record.state, record.exit_code, record.tries, record.reason) == (
            RunState.SUCCEEDED,
            0,
            1,
            "",
        )
        assert log == f"hello\n{sha}\n"
        assert record.started_at
        assert record.ended_at
        assert record.run.created_at <= record.started_at <= record.ended_at <= time.time()

    def test_failure_keeps_the_exit_code(self, engine: Engine, sha: str) -> None:
        record, _ = self.go(engine, sha, "exit 3")
        assert (record.state, record.exit_code) == (RunState.FAILED, 3)

    def test_the_command_is_the_shells_verbatim(self, engine: Engine, sha: str) -> None:
        _, log = self.go(
            engine,
            sha,
            """echo "a  b" '$HOME' `echo c` $(echo d) && echo e | tr e f; echo é \\\\ "##vso" """,
        )
        assert log == "a  b $HOME c d\nf\né \\ ##vso\n"

    def test_both_outputs_are_kept_in_order(self, engine: Engine, sha: str) -> None:
        _, log = self.go(engine, sha, "echo one; echo two >&2; echo three")
        assert log == "one\ntwo\nthree\n"

    def test_the_environment_says_what_runs(self, engine: Engine, sha: str) -> None:
        command = "echo $CI,$FYRE_SHA,$FYRE_REF,$FYRE_REPOSITORY,$FYRE_RUN,$FYRE_ID,$FYRE_ATTEMPT"
        command += ",$FYRE_TRY"
        _, log = self.go(engine, sha, command)
        assert (
            log.strip()
            == f"true,{sha},refs/heads/main,ada/lab,train,01JD0000000000000000000000,2,1"
        )

    def test_its_own_environment_is_taken_as_it_is(self, engine: Engine, sha: str) -> None:
        env = (("A", "x  'y' \"z\" $(HOME) $HOME"), ("B", ""), ("C", "é\n2"))
        _, log = self.go(engine, sha, 'printf "%s|" "$A" "$B" "$C"', env=env)
        assert log == "x  'y' \"z\" $(HOME) $HOME||é\n2|"

    def test_workdir(self, engine: Engine, sha: str) -> None:
        _, log = self.go(engine, sha, "cat data", workdir="sub dir")
        assert log == "below\n"

    @pytest.mark.parametrize("workdir", ["nope", "README", "out"])
    def test_a_workdir_that_is_none_is_an_error(
        self, engine: Engine, sha: str, workdir: str
    ) -> None:
        record, log = self.go(engine, sha, "echo ran", workdir=workdir)
        assert (record.state, "ran" in log) == (RunState.ERROR, False)
        assert workdir in record.reason

    def test_a_sha_that_can_not_be_had_is_an_error_and_nothing_runs(
        self, engine: Engine, sha: str
    ) -> None:
        record, log = self.go(engine, "f" * 40, "echo ran")
        assert (record.state, "ran" in log) == (RunState.ERROR, False)
        assert "f" * 12 in record.reason

    def test_a_timeout_ends_the_command_and_its_children(self, engine: Engine, sha: str) -> None:
        record, log = self.go(
            engine, sha, "echo before; sleep 100 & sleep 100; echo after", timeout=1
        )
        assert (record.state, record.exit_code, record.reason) == (
            RunState.FAILED,
            None,
            "timed out after 1s",
        )
        assert log.startswith("before\n")
        assert "after" not in log

    def test_a_command_that_ignores_term_is_killed(self, engine: Engine, sha: str) -> None:
        record, _ = self.go(engine, sha, "trap '' TERM; sleep 100; sleep 100", timeout=1)
        assert record.reason == "timed out after 1s"

    def test_9_40_retries_start_it_again_in_a_fresh_checkout_and_say_which_try_it_is(
        self, engine: Engine, sha: str
    ) -> None:
        command = "cat mark; echo dirt > mark; echo $FYRE_TRY of $FYRE_ATTEMPT; exit 1"
        record, log = self.go(engine, sha, command, retries=2)
        assert (record.state, record.exit_code, record.tries) == (RunState.FAILED, 1, 3)
        assert "dirt" not in log
        assert re.findall(r"^\d of \d$", log, re.MULTILINE) == ["1 of 2", "2 of 2", "3 of 2"]

    def test_a_success_is_not_retried(self, engine: Engine, sha: str) -> None:
        record, _ = self.go(engine, sha, "true", retries=5)
        assert record.tries == 1

    def test_setup_runs_first_in_the_same_checkout(self, engine: Engine, sha: str) -> None:
        _, log = self.go(engine, sha, "cat made", setup=("echo one > made", "echo two >> made"))
        assert log == "one\ntwo\n"

    def test_setup_runs_at_the_top_whatever_the_workdir(self, engine: Engine, sha: str) -> None:
        _, log = self.go(engine, sha, "cat data", setup=("cat README",), workdir="sub dir")
        assert log == "hello\nbelow\n"

    def test_a_failed_setup_is_an_error_and_the_command_never_starts(
        self, engine: Engine, sha: str
    ) -> None:
        record, log = self.go(
            engine, sha, "echo ran", setup=("echo first", "exit 4", "echo third"), retries=2
        )
        assert (record.state, record.reason, record.tries) == (
            RunState.ERROR,
            "setup failed: `exit 4` exit 4",
            1,
        )
        assert log == "first\n"

    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ("no-such-command", "command not found"),
            ("./README", "not executable"),
            ("kill -SEGV $$", "SIGSEGV"),
            ("sh -c 'kill -KILL $$'; exit $?", "SIGKILL"),
        ],
    )
    def test_a_bad_end_is_named(self, engine: Engine, sha: str, command: str, reason: str) -> None:
        record, _ = self.go(engine, sha, command)
        assert record.state is RunState.FAILED
        assert reason in record.reason

    def test_the_same_key_twice_is_one_run(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo once")
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(engine.launch(run))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False] * 7 + [True]
        await_end(engine, run.key)
        assert not engine.launch(replace(run, created_at=0.0))
        assert b"".join(engine.read_log(run.key)) == b"once\n"

    def test_cancel_ends_a_running_command(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo on; sleep 100; echo after", retries=3)
        engine.launch(run)
        await_state(engine, run.key, RunState.RUNNING)
        assert engine.cancel(run.key, "bob")
        record = await_end(engine, run.key)
        assert (record.state, record.cancelled_by, record.tries) == (RunState.CANCELLED, "bob", 1)
        assert not engine.cancel(run.key, "eve")

    def test_cancel_of_nothing(self, engine: Engine) -> None:
        assert not engine.cancel("0" * 26, "bob")

    def test_a_held_run_waits_until_it_is_released(self, engine: Engine, sha: str) -> None:
        held, other = make_run(sha, "cat README", resources=FEW), make_run(sha, "true")
        assert engine.launch(held, hold=True, reason="needs\n prep")
        before = engine.get_record(held.key)
        assert before is not None
        assert (before.state, before.reason, before.tries) == (RunState.WAITING, "needs prep", 0)
        assert before in engine.query_runs(ALL_RUNS)
        assert engine.launch(other)
        await_end(engine, other.key)
        assert engine.get_record(held.key) == before
        assert b"".join(engine.read_log(held.key)) == b""
        assert engine.release(held.key)
        after = await_end(engine, held.key)
        assert (after.state, after.tries, after.reason) == (RunState.SUCCEEDED, 1, "")
        assert after.unsupported == before.unsupported
        assert b"".join(engine.read_log(held.key)) == b"hello\n"
        assert not engine.release(held.key)

    def test_a_held_run_is_known_by_its_key(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo once")
        assert engine.launch(run, hold=True, reason="needs prep")
        assert not engine.launch(run)
        assert not engine.launch(run, hold=True, reason="needs more")
        record = engine.get_record(run.key)
        assert record is not None
        assert (record.state, record.reason) == (RunState.WAITING, "needs prep")
        assert engine.release(run.key)
        assert not engine.launch(run, hold=True)
        await_end(engine, run.key)
        assert b"".join(engine.read_log(run.key)) == b"once\n"

    def test_a_release_by_many_is_one_start(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo once")
        engine.launch(run, hold=True)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(engine.release(run.key)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False] * 7 + [True]
        record = await_end(engine, run.key)
        assert (record.state, record.tries) == (RunState.SUCCEEDED, 1)
        assert b"".join(engine.read_log(run.key)) == b"once\n"

    def test_a_release_of_nothing(self, engine: Engine, sha: str) -> None:
        assert not engine.release("0" * 26)
        run = make_run(sha, "sleep 100")
        engine.launch(run)
        assert not engine.release(run.key)
        engine.cancel(run.key, "bob")
        await_end(engine, run.key)
        assert not engine.release(run.key)

    def test_cancel_of_a_held_run_ends_it_without_a_start(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo ran")
        engine.launch(run, hold=True, reason="needs prep")
        assert engine.cancel(run.key, "bob")
        assert not engine.release(run.key)
        record = await_end(engine, run.key)
        assert (record.state, record.cancelled_by, record.tries) == (RunState.CANCELLED, "bob", 0)
        assert (record.reason, record.started_at) == ("", None)
        assert record.ended_at
        assert b"".join(engine.read_log(run.key)) == b""
        assert not engine.cancel(run.key, "eve")

    def test_a_cancel_and_a_release_at_once_leave_one_end(self, engine: Engine, sha: str) -> None:
        runs = [make_run(sha, "sleep 100") for _ in range(4)]
        for run in runs:
            engine.launch(run, hold=True)
        threads = [
            threading.Thread(target=change)
            for run in runs
            for change in (partial(engine.release, run.key), partial(engine.cancel, run.key, "bob"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ends = [await_end(engine, run.key) for run in runs]
        assert {record.state for record in ends} == {RunState.CANCELLED}

    def test_notes_of_a_held_run_are_kept_at_every_moment(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "true")
        engine.launch(run, hold=True, reason="needs prep")
        engine.annotate(run.key, reported="r", carried=("a" * 40, "b" * 40))
        noted = engine.get_record(run.key)
        assert noted is not None
        assert (noted.state, noted.reason) == (RunState.WAITING, "needs prep")
        assert (noted.reported, noted.carried) == ("r", ("a" * 40, "b" * 40))
        seen: list[RunRecord | None] = []
        engine.subscribe(lambda _: seen.append(engine.get_record(run.key)))
        engine.release(run.key)
        seen.append(engine.get_record(run.key))  # usually queued
        seen.append(await_end(engine, run.key))
        notes = {record and (record.reported, record.carried) for record in list(seen)}
        assert notes == {("r", ("a" * 40, "b" * 40))}

    def test_the_log_of_a_held_run_is_followed_to_its_end(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo 1; echo 2")
        engine.launch(run, hold=True)
        with ThreadPoolExecutor(1) as reader:
            followed = reader.submit(lambda: b"".join(engine.read_log(run.key, follow=True)))
            engine.release(run.key)
            assert followed.result() == b"1\n2\n"

    def test_notes_are_kept_beside_the_run(self, engine: Engine, sha: str) -> None:
        record, _ = self.go(engine, sha, "true")
        engine.annotate(record.run.key, reported="r", carried=("a" * 40, "b" * 40))
        engine.annotate(record.run.key, reported="s")
        noted = engine.get_record(record.run.key)
        assert noted is not None
        assert (noted.reported, noted.carried, noted.state) == (
            "s",
            ("a" * 40, "b" * 40),
            RunState.SUCCEEDED,
        )

    def test_a_log_is_followed_to_the_end(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "for i in 1 2 3; do echo $i; sleep 0.2; done")
        engine.launch(run)
        assert b"".join(engine.read_log(run.key, follow=True)) == b"1\n2\n3\n"
        record = engine.get_record(run.key)
        assert record is not None
        assert record.state.is_final

    def test_a_log_is_followed_while_it_grows(self, engine: Engine, sha: str) -> None:
        run = make_run(sha, "echo 1; sleep 1000; echo 2")
        engine.launch(run)
        text = b""
        for piece in engine.read_log(run.key, follow=True):
            text += piece
            if b"1\n" in text:  # else it would not come to an end
                engine.cancel(run.key, "bob")
        assert text.startswith(b"1\n")
        assert await_end(engine, run.key).state is RunState.CANCELLED

    def test_a_log_of_nothing(self, engine: Engine) -> None:
        with pytest.raises(UserError):
            list(engine.read_log("0" * 26))

    def test_records_hold_every_run(self, engine: Engine, sha: str) -> None:
        keys = {self.go(engine, sha, "true")[0].run.key for _ in range(3)}
        assert keys <= {record.run.key for record in engine.query_runs(ALL_RUNS)}

    def test_a_query_selects_runs_and_pages_follow_its_order(
        self, engine: Engine, sha: str
    ) -> None:
        oldest = make_run(sha, "exit 3")
        branch = f"refs/heads/{oldest.key}"
        made = [
            replace(oldest, ref=branch, name="Eval", created_at=oldest.created_at - 60),
            *(  # of one commit, so of one moment
                replace(make_run(sha, "true"), ref=branch, created_at=oldest.created_at - 30)
                for _ in range(2)
            ),
            make_run(sha, "true"),
        ]
        for run in made:
            assert engine.launch(run)
        for run in made:
            await_end(engine, run.key)
        expected = [made[3].key, *sorted((made[1].key, made[2].key), reverse=True), made[0].key]

        def found(**wanted: Any) -> list[str]:
            return [record.run.key for record in engine.query_runs(RunQuery(**wanted))]

        assert [key for key in found() if key in expected] == expected
        assert found(ref=branch, repository_id=REPOSITORY.id) == expected[1:]
        assert found(ref=branch, repository_id=REPOSITORY.id + 1) == []
        assert found(ref=branch, repository_name="Ada/Lab", limit=1) == expected[1:2]
        assert found(ref=branch, name="eval") == found(ref=branch, name="EVAL") == expected[3:]
        assert found(ref=branch, states=frozenset({RunState.FAILED})) == expected[3:]
        assert found(ref=branch, states=PENDING_STATES) == []
        assert found(ref=branch, created_after=made[0].created_at) == expected[1:3]
        last = RunCursor.from_record(engine.query_runs(RunQuery(ref=branch, limit=1))[-1])
        assert found(ref=branch, before=last) == expected[2:]

    def test_a_query_and_a_key_give_the_same_record(self, engine: Engine, sha: str) -> None:
        record, _ = self.go(engine, sha, "exit 4")
        engine.annotate(record.run.key, reported="r")
        known = engine.get_record(record.run.key)
        found = [one for one in engine.query_runs(ALL_RUNS) if one.run.key == record.run.key]
        assert (found, found[0].reported, found[0].exit_code) == ([known], "r", 4)


def make_commit(repo: Path) -> str:
    """What the contract's commands find in their checkout."""
    (repo / "sub dir").mkdir()
    (repo / "sub dir" / "data").write_text("below\n")
    (repo / "out").symlink_to("/tmp")
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Content", cwd=repo)
    return read_head(repo)
