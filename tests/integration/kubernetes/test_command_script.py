"""The script around the command, by real shells: where it starts, what it says, how it ends.

Two things of a pod are replaced: the file for its last words, and "every process of the pod" by
"every process of this test's own session", since outside of a pod it would be every process of the
user.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fyre.engines import exit_status
from fyre.engines.kubernetes import job_labels, job_manifest
from tests.support import shells
from tests.support.checkpoint import COMMANDS, Checkpoint
from tests.support.ci_marks import LONG_CASE
from tests.support.foreign_program import FOREIGN_ELF
from tests.support.waiting import until

REPLACED = {
    "FYRE_TOLD=/dev/termination-log": "FYRE_TOLD=$FYRE_TEST_TOLD",
    # There is no container around these processes: their directory says which they are.
    '"$FYRE_PROCESS/ns/mnt" -ef /proc/self/ns/mnt': (
        '"$FYRE_PROCESS/cwd" -ef "${FYRE_TEST_TOLD%/*}/top"'
    ),
}


STARTED = "started by Fyre"
"""What stands in the file for last words as long as nothing else does."""


def script() -> str:
    text = job_manifest.load_script("command.sh")
    for ours, tests in REPLACED.items():
        assert text.count(ours) == 1, ours
        text = text.replace(ours, tests)
    assert " -1" not in text
    return text


@dataclass
class Container:
    """What the command's container has: an environment, a checkout, a shell called sh."""

    place: Path
    shell: str
    group: int = 0
    is_marked: bool = False

    @property
    def told(self) -> str:
        """The last words, without how the command came to its end."""
        return self.last_words.partition(",")[0]

    @property
    def last_words(self) -> str:
        file = self.place / "told"
        return file.read_text() if file.exists() else ""

    def run(
        self,
        command: str,
        /,
        *setup: str,
        text: str = "",
        end: Checkpoint | None = None,
        **env: str,
    ) -> tuple[int, str]:
        """Its exit code, or the negative number of a signal; and its log, without the end mark."""
        known = {
            "PATH": f"{self.place}/bin:{os.environ['PATH']}",
            "FYRE_TOP": f"{self.place}/top",
            "FYRE_WORKDIR": ".",
            "FYRE_TIMEOUT": "",
            "FYRE_TIMEOUT_TEXT": "0s",
            "FYRE_GRACE": "20",
            "FYRE_TEST_TOLD": f"{self.place}/told",
        }
        with (self.place / "log").open("w+b") as log:
            process = subprocess.Popen(
                ["sh", "-c", text or script(), "fyre", command, *setup],
                env=known | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )
            self.group = process.pid
            if end is not None:
                until(lambda: end.is_ready)
                process.terminate()
            code = process.wait(60)
            log.seek(0)
            text = log.read()
            mark = job_labels.log_end_mark(env.get("FYRE_KEY", ""))
            self.is_marked = text.endswith(mark)
            return code, text.replace(mark, b"").decode()


@pytest.fixture(params=shells.params("dash", "bash", "busybox"))
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Container]:
    (tmp_path / "top" / "sub dir").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(str(shutil.which(request.param)))
    made = Container(tmp_path, request.param)
    yield made
    if made.group:  # 0 would be our own
        with suppress(ProcessLookupError):
            os.killpg(made.group, signal.SIGKILL)


def test_the_command_is_verbatim_and_its_code_the_containers(container: Container) -> None:
    code, log = container.run(
        """printf '%s|' "a  b" '$x' "$(echo sub)"; echo err >&2; echo out; exit 7"""
    )
    assert (code, log, container.told) == (7, "a  b|$x|sub|err\nout\n", STARTED)


@pytest.mark.parametrize(
    ("command", "code"),
    [("true", 0), ("exit 113", 113), ("no-such-command", 127), ("kill -SEGV $$", 128 + 11)],
)
def test_endings(container: Container, command: str, code: int) -> None:
    assert container.run(command)[0] == code
    assert container.told == STARTED


@pytest.mark.parametrize(
    ("command", "limit", "words"),
    [
        ("printf out; exit 3", "", STARTED + job_labels.ENDED_BY_ITSELF),
        ("kill -KILL $$", "60", STARTED + job_labels.ENDED_BY_ITSELF),
        (
            "trap 'printf saved; exit 0' TERM; sleep 9 & wait",
            "0.5",
            "timed out after 0s" + job_labels.TOLD_TO_END,
        ),
    ],
)
def test_9_24_the_log_has_an_end_mark_and_the_last_words_say_who_ended_it(
    container: Container, command: str, limit: str, words: str
) -> None:
    _, log = container.run(command, FYRE_KEY="a1", FYRE_TIMEOUT=limit)
    assert (container.last_words, container.is_marked) == (words, True)
    assert "fyre-end" not in log


@pytest.mark.parametrize("why", ["killed", "no tool for a session", "no setup"])
def test_9_24_what_comes_to_no_end_of_its_own_claims_none(container: Container, why: str) -> None:
    if why == "killed":
        container.run("kill -KILL $PPID; sleep 9")
    elif why == "no setup":
        container.run("true", "exit 2")
    else:
        container.run("true", text=script().replace("\nfind_starter\n", "\n"))
    assert not container.last_words.endswith((job_labels.ENDED_BY_ITSELF, job_labels.TOLD_TO_END))
    assert container.is_marked == (why == "no setup")


@pytest.mark.parametrize("command", ["./foreign", "exec ./foreign"])
def test_9_29_a_program_of_another_architecture_is_named(
    container: Container, command: str
) -> None:
    program = container.place / "top" / "foreign"
    program.write_bytes(FOREIGN_ELF)
    program.chmod(0o755)
    code, _ = container.run(command)
    if container.shell != "busybox":  # which takes it for a script, and finds no such command
        assert "another architecture" in exit_status.classify_exit(code)["reason"]
    assert container.told == STARTED  # so the end of this log never comes into the pod's status


def test_no_variable_of_the_scripts_is_one_that_a_run_may_have(container: Container) -> None:
    """What is assigned to a variable of the environment is in that of the command too: a run's
    own was overwritten.
    """
    assigned = set(re.findall(r"(?m)^\s*(?:for )?(\w+)(?:=|; do)", script()))
    assert len(assigned) >= 5
    # That one is meant for the command: the checkout has an environment of its own.
    assert {name for name in assigned if not name.startswith("FYRE_")} == {"VIRTUAL_ENV"}
    own = dict.fromkeys(("told", "top", "folder", "command", "setup", "code", "watcher"), "mine")
    shown = "; ".join(f'echo "{name}=${name}"' for name in own)
    code, log = container.run(shown, "true", FYRE_TIMEOUT="60", **own)
    assert (code, log.splitlines()) == (0, [f"{name}=mine" for name in own])
    assert not [
        line for line in container.run("env", FYRE_TIMEOUT="60")[1].splitlines() if "FYRE_C" in line
    ]


def test_the_command_starts_in_the_workdir_after_setup_at_the_top(container: Container) -> None:
    code, log = container.run(
        "pwd", "pwd", "cd /; A=1; export A", 'echo "${A-unset}"', FYRE_WORKDIR="sub dir"
    )
    top = container.place / "top"
    assert (code, log) == (0, f"{top}\nunset\n{top}/sub dir\n")


def test_what_the_script_was_told_is_not_the_commands(container: Container) -> None:
    code, log = container.run("env | grep ^FYRE_", FYRE_SHA="abc", FYRE_TIMEOUT="60")
    assert code == 0
    assert sorted(log.split()) == [
        "FYRE_SHA=abc",
        f"FYRE_TEST_TOLD={container.place}/told",
        "FYRE_TRY=1",
    ]


@pytest.mark.parametrize(("failures", "number"), [("0", "1"), ("2", "3"), ("", "none")])
def test_9_40_it_says_which_try_it_is_where_the_cluster_counts(
    container: Container, failures: str, number: str
) -> None:
    command = 'echo "${FYRE_TRY-none} ${FYRE_FAILURES-told no more}"'
    assert container.run(command, FYRE_FAILURES=failures) == (0, f"{number} told no more\n")


@pytest.mark.parametrize(
    ("workdir", "message"),
    [
        ("gone", "workdir gone is not in this commit"),
        ("file", "workdir file is not in this commit"),
        ("out", "workdir out leads out of the checkout"),
        ("../outside", "workdir ../outside leads out of the checkout"),
        ("../top-secret", "workdir ../top-secret leads out of the checkout"),
    ],
)
def test_a_workdir_that_is_none(container: Container, workdir: str, message: str) -> None:
    (container.place / "top" / "file").touch()
    (container.place / "top" / "out").symlink_to(container.place / "outside")
    (container.place / "top-secret").mkdir()
    assert container.run("echo ran", "echo setup", FYRE_WORKDIR=workdir) == (113, "")
    assert container.told == message


def test_a_workdir_that_setup_takes_away(container: Container) -> None:
    code, log = container.run("echo ran", "rmdir 'sub dir'", FYRE_WORKDIR="sub dir")
    assert code == 113
    assert "ran" not in log
    assert container.told == "workdir sub dir is not in this commit"


def test_a_link_within_the_checkout_is_followed(container: Container) -> None:
    (container.place / "top" / "in").symlink_to("sub dir")
    assert container.run("pwd -P", FYRE_WORKDIR="in") == (0, f"{container.place}/top/sub dir\n")


def test_without_a_checkout_nothing_runs(container: Container) -> None:
    code, log = container.run("echo ran", FYRE_TOP=f"{container.place}/nowhere")
    assert (code, container.told) == (113, "there is no checkout")
    assert "ran" not in log


def test_a_setup_that_fails_is_named(container: Container) -> None:
    code, log = container.run("echo ran", "echo one", "echo two\nexit 3", "echo three")
    assert (code, log) == (113, "one\ntwo\n")
    assert container.told == "setup failed: `echo two exit 3` exit 3"


def test_9_15_all_of_the_setup_has_one_timeout(container: Container) -> None:
    limits = {"FYRE_TIMEOUT": "2", "FYRE_TIMEOUT_TEXT": "2s", "FYRE_GRACE": "0"}
    code, log = container.run("echo ran", "sleep 1.4", "sleep 1.4", "echo late", **limits)
    assert (code != 0, log) == (True, "")
    assert container.told == "setup failed: timed out after 2s"
    assert container.run("sleep 1.1; echo ran", "sleep 1.1", **limits) == (0, "ran\n")


def test_9_31_the_environment_that_setup_makes_is_the_commands(container: Container) -> None:
    make = "mkdir -p .venv/bin; printf '#!/bin/sh\\necho mine' >.venv/bin/python; "
    setup = (make + "chmod +x .venv/bin/python", "python")
    assert container.run('python; echo "${VIRTUAL_ENV##*/}"', *setup) == (0, "mine\nmine\n.venv\n")


def test_a_long_setup_is_cut_in_the_message(container: Container) -> None:
    assert container.run("echo ran", "exit 4 #" + "x" * 5000)[0] == 113
    assert container.told == f"setup failed: `exit 4 #{'x' * 52}` exit 4"


@pytest.mark.parametrize(
    "command", ["sleep 60", "echo begun; sleep 60; echo late", "sleep 60 & wait"]
)
def test_a_timeout_ends_the_command_and_says_so(container: Container, command: str) -> None:
    code, log = container.run(command, FYRE_TIMEOUT="0.1", FYRE_TIMEOUT_TEXT="2h 00m")
    assert code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert "late" not in log
    assert container.told == "timed out after 2h 00m"


def test_a_command_that_does_not_listen_is_killed(container: Container) -> None:
    code, log = container.run(
        "trap 'echo not now' TERM; while :; do sleep 0.05; done",
        FYRE_TIMEOUT="1",
        FYRE_GRACE="0.5",
    )
    assert code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert "not now" in log.splitlines()
    assert container.told == "timed out after 0s"


@pytest.mark.parametrize(
    ("by", "form"),
    [
        ("runtime", COMMANDS[0]),
        *(pytest.param("runtime", form, marks=LONG_CASE) for form in COMMANDS[1:]),
        pytest.param("timeout", COMMANDS[3], marks=LONG_CASE),
    ],
)
def test_c21_a_checkpoint_is_saved_within_the_grace(
    container: Container, form: str, by: str
) -> None:
    """The runtime tells the container's first process alone, and ends all once that has ended."""
    if container.shell != "sh" and form not in COMMANDS[3:5] and "CI" not in os.environ:
        pytest.skip("with other shells than sh, .ci/run tries the easier forms")
    checkpoint = Checkpoint(container.place)
    command = checkpoint.command(form, seconds=1.0)
    timeout = "4" if by == "timeout" else ""
    container.run(command, end=checkpoint if by == "runtime" else None, FYRE_TIMEOUT=timeout)
    if not checkpoint.is_ready:
        pytest.skip("this machine is too busy to start it in time")
    assert (checkpoint.is_saved, checkpoint.times_told) == (True, 1)


def test_c21_the_command_has_the_signal_that_a_shell_takes_from_a_job(
    container: Container,
) -> None:
    if container.shell == "busybox":
        pytest.skip("only where nothing but busybox is in the image")
    _, log = container.run("sh -c 'kill -INT $$; echo deaf' || echo $?; true")
    assert "deaf" not in log


def test_c21_without_any_tool_for_a_session_the_script_becomes_the_command(
    container: Container,
) -> None:
    bare = script().replace("\nfind_starter\n", "\n")
    assert container.run("echo $$; kill -TERM $$", text=bare) == (-15, f"{container.group}\n")


def test_a_command_may_end_politely_after_its_timeout(container: Container) -> None:
    polite = "trap 'echo saved; exit 0' TERM; while :; do sleep 0.05; done"
    code, log = container.run(polite, FYRE_TIMEOUT="1")
    assert (code, log.splitlines()[-1]) == (0, "saved")
    assert container.told == "timed out after 0s"


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1"])
def test_a_timeout_outlives_a_signal_to_the_group_from_its_first_moment(
    container: Container, name: str
) -> None:
    """The watcher of a busy machine, which gets to its first command when the user's has already
    signalled all.
    """
    watcher = '\n\t(\n\t\tsleep "$FYRE_TIMEOUT"'
    assert script().count(watcher) == 1
    slow = script().replace(watcher, watcher.replace("(\n", "(\n\t\tsleep 0.2\n"))
    code, _ = container.run(
        f"trap '' {name}; kill -{name} 0; trap - {name}; sleep 10", text=slow, FYRE_TIMEOUT="0.1"
    )
    assert code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert container.told == "timed out after 0s"


def test_the_command_hears_the_signals_that_its_watcher_does_not(container: Container) -> None:
    code, log = container.run("kill -HUP $$; echo deaf", FYRE_TIMEOUT="60")
    assert (code, log) == (128 + signal.SIGHUP, "")


def test_a_setup_has_the_same_timeout(container: Container) -> None:
    code, log = container.run("echo ran", "sleep 60", FYRE_TIMEOUT="0.1", FYRE_TIMEOUT_TEXT="1m")
    assert code == -signal.SIGTERM
    assert "ran" not in log
    assert container.told == "setup failed: timed out after 1m"
