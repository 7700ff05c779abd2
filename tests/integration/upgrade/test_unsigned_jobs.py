"""Jobs of versions that did not sign them: an upgrade knows them, and so does one after a rollback.

The versions are real ones: what 0.1 wrote, and what it does to the disk when it starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.apps.job_signing import create_signer
from fyre.engines.factory import EngineContext, EngineOptions, SecretSource
from fyre.engines.kubernetes.job_signature import JobSigner
from fyre.engines.kubernetes.logs.log_collector import LogCollector
from fyre.engines.kubernetes.logs.signing_mark import SigningMark
from fyre.engines.log_store import LogStore
from fyre.git import access_token
from fyre.runs.policy import Policy
from tests.support.ci_marks import long_case
from tests.support.old_version import old_version
from tests.unit.engines.kubernetes.test_job_signature import NOW, RELAY_SECRET, RUN, created

__all__ = ["old_version"]  # a fixture

OLD_START = """
import sys
from pathlib import Path
from fyre.engines.kubernetes.logs import Logs
from fyre.engines.store import Store
state = Path(sys.argv[1])
Logs(None, state / "live", Store(str(state / "logs")), 100).clean(60.0)
"""
"""What 0.1 does to the logs in the second after its start."""

OLD_TOKENS = """
import sys
from fyre.relaykey import mint, verify
secret, ours, key, expires = sys.argv[1:]
print(mint(secret.encode(), (7,), key, float(expires)), verify([secret.encode()], ours, 7, 0.0))
"""
"""A token as 0.1 makes it, and how it reads ours."""


def run_old(old_version: Path, script: str, *words: object) -> list[str]:
    """Run a script with 0.1's package; return the words that it prints."""
    command = [sys.executable, "-c", script, *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(old_version)}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, cwd=old_version
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def start(
    state: Path, server_time: float = NOW, *, source: SecretSource | None = None, relay: str = ""
) -> JobSigner:
    """What a receiver of today signs with, as it starts on a state."""

    def find(*_: object) -> Path:
        return state

    options = EngineOptions(relay=relay)
    context = EngineContext(
        state, Policy(), find, find, find, options=options, secret_source=source
    )
    secret_source = source or (lambda name: {"relay.secret": RELAY_SECRET}.get(name, b"secret"))
    signer = create_signer(context, secret_source, state, lambda: server_time)
    assert signer is not None
    return signer


def believes(signer: JobSigner, *, at: float) -> bool:
    """Return True if a Job without a signature, created at that time, is believed."""
    return not signer.find_forgery(created(at=at), RUN.key)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a receiver of before signatures."""
    (tmp_path / "instance").write_text("0a1b2c3d" * 8)
    return tmp_path


def test_9_30a_the_first_start_believes_what_was_there_and_later_ones_no_more(state: Path) -> None:
    signer = start(state)
    assert believes(signer, at=NOW)
    assert not believes(signer, at=NOW + 1)
    again = start(state, NOW + 3600)  # whatever was created while nobody served
    assert believes(again, at=NOW)
    assert not believes(again, at=NOW + 1)


def test_9_30a_a_new_installation_believes_no_job_without_a_signature(tmp_path: Path) -> None:
    assert not believes(start(tmp_path), at=0)
    assert not believes(start(tmp_path, NOW + 60), at=NOW)


@pytest.mark.parametrize("damage", ["", "garbage", "é"])
def test_9_30a_a_damaged_moment_is_the_first_start_again(damage: str, state: Path) -> None:
    start(state)
    (state / "unsigned-jobs-until").write_text(damage)
    assert believes(start(state, NOW + 3600), at=NOW + 3600)


@long_case  # loads 0.1's client library
def test_9_30a_after_a_rollback_the_jobs_of_that_time_are_believed(
    state: Path, old_version: Path
) -> None:
    start(state)
    run_old(old_version, OLD_START, state)
    signer = start(state, NOW + 3600)
    assert believes(signer, at=NOW + 3600)
    assert not believes(signer, at=NOW + 3601)


@pytest.mark.parametrize("relay", ["", "host:1"])
def test_9_30a_a_token_of_0_1_is_one_of_its_run_and_it_reads_ours(
    relay: str, state: Path, old_version: Path
) -> None:
    ours = access_token.create_access_token(RELAY_SECRET, (7,), RUN.key, NOW)
    words = (RELAY_SECRET.decode(), ours, RUN.key, NOW + 60)
    token, read_by_old = run_old(old_version, OLD_TOKENS, *words)
    assert read_by_old == RUN.key
    job = created(at=NOW + 30, token=token)
    job["spec"] = kept_spec(job)
    shared = start(state, 0.0, source=lambda _: RELAY_SECRET, relay=relay)
    assert not shared.find_forgery(job, RUN.key)


def kept_spec(job: dict[str, object]) -> dict[str, object]:
    from fyre.engines.kubernetes import pod_facts

    return dict(pod_facts.strip_unused(job)["spec"])


def test_9_30a_our_own_cleaning_leaves_the_mark(state: Path) -> None:
    start(state)
    store = LogStore(str(state / "logs"))
    store.put_log("a" * 26, [b"ended"])
    (state / "live" / ("a" * 26)).mkdir()
    os.utime(state / "live" / ("a" * 26), (0, 0))
    collector = LogCollector(None, state / "live", store, 100)  # type: ignore[arg-type] # unasked
    collector.remove_archived_files(60.0)
    collector.prune_archive(time.time() + 60)
    assert [path.name for path in (state / "live").iterdir()] == ["jobs-are-signed"]
    assert [store.has_log(key) for key in ("a" * 26, "jobs-are-signed")] == [False, True]
    assert not believes(start(state, NOW + 3600), at=NOW + 1)


def test_9_30a_receivers_with_a_shared_key_and_a_relay_ask_for_the_token(tmp_path: Path) -> None:
    source: Callable[[str], bytes] = lambda _: b"derived"  # noqa: E731
    assert not believes(start(tmp_path, source=source, relay="host:1"), at=0)
    assert believes(start(tmp_path, source=source), at=NOW)
    assert not believes(start(tmp_path, source=source), at=NOW + 1)
    assert not SigningMark(tmp_path / "live", LogStore(str(tmp_path / "logs"))).is_present()


def test_9_30a_workflows_sign_with_a_key_that_somebody_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else that the jobs of a repository share is known to everybody."""
    from fyre.cli.commands import dispatch

    def find(*_: object) -> Path:
        return tmp_path

    def signer() -> JobSigner | None:
        secret = dispatch._shared_job_secret()
        context = EngineContext(tmp_path, Policy(), find, find, find, job_secret=secret)
        return create_signer(context, lambda _: b"public", tmp_path, lambda: NOW)

    monkeypatch.delenv("FYRE_KEY", raising=False)
    assert signer() is None
    monkeypatch.setenv("FYRE_KEY", "of all our workflows\n")
    one, other = signer(), signer()
    assert one is not None
    assert other is not None
    job = one.sign_job(created(), NOW)
    assert other.find_forgery(job, RUN.key) == ""
    assert other.find_forgery(created(), RUN.key) == "it has no signature"
    assert JobSigner(b"public").find_forgery(job, RUN.key) != ""
