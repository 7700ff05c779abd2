"""Whose a Job is: its signature says so, and nothing that somebody else may copy."""

from __future__ import annotations

import copy
import json
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fyre.engines.kubernetes import job_labels, job_manifest
from fyre.engines.kubernetes.job_signature import CREATION_WINDOW, JobSigner
from fyre.engines.kubernetes.job_writer import JobWriter
from fyre.engines.kubernetes.logs.created_jobs import CreatedJobs
from fyre.engines.kubernetes.object_cache import ObjectCache, job_key
from fyre.engines.log_store import LogStore
from fyre.git import access_token
from fyre.runs import run as runs
from fyre.runs.profiles import Profile
from fyre.runs.run import Run
from fyre.runs.run_query import ALL_RUNS
from tests.contract.engine import REPOSITORY, make_run
from tests.support.waiting import until

SECRET, RELAY_SECRET = b"of the receiver", b"of its relay"
RUN = make_run("a" * 40, "true", key="0123456789abcdef0123456789")
OTHER_KEY = "f" * 26
NOW = float(int(time.time()))


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def created(
    run: Run = RUN, *, at: float = NOW, signed_at: float | None = None, token: str = ""
) -> dict[str, Any]:
    """A Job of a run as the API server answers it; signed before that, unless it is None."""
    place = job_manifest.JobContext("fyre", "lab", "git:1", "http://relay" * bool(token), token)
    job = job_manifest.build_job(run, Profile(image="python:3"), place)
    if signed_at is not None:
        job = JobSigner(SECRET).sign_job(job, signed_at)
    job["metadata"] |= {"uid": "first", "resourceVersion": "7", "creationTimestamp": moment(at)}
    return copy.deepcopy({**job, "status": {}})


def known_runs(*jobs: dict[str, Any], **options: Any) -> list[Run]:
    """What a receiver that was just started knows after these Jobs."""
    known = ObjectCache(JobSigner(SECRET, relay_secret=RELAY_SECRET, **options))
    for job in jobs:
        known.upsert_job(copy.deepcopy(job))
    return [record.run for record in known.query_runs(ALL_RUNS)]


def with_run(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a Job with another run in it, in a Job of that run's name."""
    run = replace(RUN, **changes)
    annotations = job["metadata"]["annotations"]
    annotations |= {job_labels.RUN_ANNOTATION: json.dumps(runs.to_json(run))}
    job["metadata"]["name"] = job_labels.job_name("fyre", run.key)
    job["metadata"]["labels"][job_labels.KEY_LABEL] = run.key
    return job


def test_9_30a_a_job_of_ours_is_known_after_any_restart() -> None:
    job = created(signed_at=NOW)
    assert known_runs(job) == [RUN]
    month_ago = created(at=NOW - 30 * 86400, signed_at=NOW - 30 * 86400 - 1)
    assert known_runs(month_ago) == [RUN]


@pytest.mark.parametrize(
    "changes",
    [
        {"key": OTHER_KEY},
        {"key": OTHER_KEY, "attempt": 2},
        {"key": OTHER_KEY, "attempt": 2**53 - 1},
        {"attempt": 2**53 - 1},
        {"sha": "b" * 40},
        {"name": "required"},
        {"repository": replace(REPOSITORY, id=8)},
    ],
    ids=str,
)
@pytest.mark.parametrize("signed_at", [NOW, None], ids=["copied", "forged"])
def test_9_30a_a_job_that_somebody_else_created_is_left_alone(
    changes: dict[str, Any], signed_at: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = created(signed_at=NOW), with_run(created(signed_at=signed_at), **changes)
    theirs["metadata"]["uid"] = "theirs"
    assert known_runs(theirs) == []
    assert known_runs(ours, theirs) == known_runs(theirs, ours) == [RUN]
    assert len([line for line in caplog.messages if "did not create it" in line]) <= 1


def test_9_30a_a_copy_in_another_namespace_of_fyre_s_is_left_alone() -> None:
    theirs = created(signed_at=NOW)
    theirs["metadata"]["namespace"] = "other"
    assert known_runs(theirs) == []


@pytest.mark.parametrize(
    "signature", ["", ".", "0.", "é.é", "1" * 40 + ".x", "٣.x", "1767323045.", "1767323045.é"]
)
def test_9_30a_what_is_no_signature_stops_nothing(signature: str) -> None:
    job = created()
    job["metadata"]["annotations"][job_labels.SIGNATURE_ANNOTATION] = signature
    assert known_runs(job) == []


@settings(max_examples=30)
@given(st.integers(0, 80), st.characters())
def test_9_30a_a_signature_with_any_character_changed_is_none(at: int, character: str) -> None:
    job = created(signed_at=NOW)
    annotations = job["metadata"]["annotations"]
    signature = annotations[job_labels.SIGNATURE_ANNOTATION]
    at %= len(signature)
    changed = annotations[job_labels.SIGNATURE_ANNOTATION] = (
        signature[:at] + character + signature[at + 1 :]
    )
    assert changed == signature or JobSigner(SECRET).find_forgery(job, RUN.key)


def test_9_30a_another_secret_signs_for_another_installation() -> None:
    job = JobSigner(b"another").sign_job(created(), NOW)
    assert known_runs(job) == []


def test_9_30a_a_job_that_is_created_again_later_is_not_believed() -> None:
    """Nobody but the API server sets the time, so a collected Job can't come back as it was."""
    again = created(at=NOW + CREATION_WINDOW + 1, signed_at=NOW)
    assert known_runs(again) == []
    assert known_runs(created(at=NOW + CREATION_WINDOW - 1, signed_at=NOW)) == [RUN]


def test_9_30a_a_signature_is_good_for_one_job() -> None:
    """Also where somebody deletes a Job right away, and creates another one of that name."""
    known, first, again = ObjectCache(JobSigner(SECRET)), created(signed_at=NOW), created()
    again = created(at=NOW + 5, signed_at=NOW)
    again["metadata"] |= {"uid": "second", "resourceVersion": "9"}
    assert known.upsert_job(first) == RUN.key
    assert not known.is_replacement(first)
    assert known.upsert_job(copy.deepcopy(again)) == ""
    assert known.is_replacement(again)
    known.remove_job(RUN.key)
    assert known.upsert_job(again) == ""
    launched_anew = created(at=NOW + 60, signed_at=NOW + 60)
    launched_anew["metadata"]["uid"] = "third"
    assert known.upsert_job(launched_anew) == RUN.key


def started_on(store: LogStore) -> tuple[JobSigner, ObjectCache]:
    """A receiver that was just started, where the marks of earlier ones are kept."""
    signer = JobSigner(SECRET, created_jobs=CreatedJobs(store))
    return signer, ObjectCache(signer)


def replaced(uid: str = "second") -> dict[str, Any]:
    job = created(at=NOW + 5, signed_at=NOW)
    job["metadata"] |= {"uid": uid, "resourceVersion": "9"}
    return job


@pytest.mark.parametrize("url", ["{}", "memory://{}"], ids=["folder", "bucket"])
def test_9_30a_a_receiver_that_starts_again_knows_which_job_it_created(
    url: str, tmp_path: Path
) -> None:
    store = LogStore(url.format(tmp_path))
    started_on(store)[0].remember_job(created(signed_at=NOW))
    until(lambda: store.list_marks("created-job."))
    for _ in range(2):
        assert started_on(store)[1].upsert_job(replaced()) == ""
        assert started_on(store)[1].upsert_job(created(signed_at=NOW)) == RUN.key
    store.add_mark("created-job.nonsense")
    assert started_on(store)[1].upsert_job(replaced()) == ""


def test_9_30a_a_job_whose_creator_was_killed_is_believed_and_then_no_other(
    tmp_path: Path,
) -> None:
    store = LogStore(str(tmp_path))
    assert started_on(store)[1].upsert_job(created(signed_at=NOW)) == RUN.key
    assert started_on(store)[1].upsert_job(replaced()) == ""


def test_9_30a_marks_of_jobs_go_when_no_job_can_be_created_with_their_signature(
    tmp_path: Path,
) -> None:
    store, long_ago = LogStore(str(tmp_path)), int(NOW - 2 * CREATION_WINDOW - 1)
    CreatedJobs(store).add(f"{long_ago}.{'0' * 64}", "uid", 0.0)
    assert len(before := store.list_marks("")) == 1
    started_on(store)[0].remember_job(created(signed_at=NOW))
    assert len(after := store.list_marks("")) == 1
    assert before != after


def test_9_30a_a_storage_that_takes_nothing_stops_no_launch(tmp_path: Path) -> None:
    store = LogStore(str(tmp_path / "logs"))
    signer, known = started_on(store)
    shutil.rmtree(tmp_path / "logs")
    signer.remember_job(created(signed_at=NOW))
    assert known.upsert_job(created(signed_at=NOW)) == RUN.key
    assert known.upsert_job(replaced()) == ""
    (tmp_path / "logs").mkdir()
    signer.remember_job(created(replace(RUN, key=OTHER_KEY), signed_at=NOW))
    assert len(store.list_marks("created-job.")) == 2


class FutureServer:
    """An API server whose clock is a day ahead."""

    def __init__(self) -> None:
        self.job: dict[str, Any] = {}

    def create_job(self, namespace: str, job: dict[str, Any]) -> dict[str, Any]:
        self.job = copy.deepcopy(job) | {"status": {}}
        about = {"uid": "u", "resourceVersion": "1", "creationTimestamp": moment(NOW + 86400)}
        self.job["metadata"] |= about
        return copy.deepcopy(self.job)

    def patch_job(self, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.job["metadata"]["annotations"] |= patch["metadata"]["annotations"]
        self.job["metadata"]["resourceVersion"] = "2"
        return copy.deepcopy(self.job)


def test_9_30a_a_clock_that_differs_by_a_day_loses_no_job() -> None:
    server, signer = FutureServer(), JobSigner(SECRET)
    known = ObjectCache(signer)
    writer = JobWriter(server, known, 60.0, signer, reconcile_run=str, on_job_deleted=str)  # type: ignore[arg-type] # all it asks
    writer.create_job("lab", created())
    assert [record.run for record in known.query_runs(ALL_RUNS)] == [RUN]
    assert known_runs(server.job) == [RUN]


def test_9_30a_a_job_of_before_signatures_is_believed_until_the_first_start_with_them() -> None:
    assert known_runs(created(at=NOW), unsigned_until=NOW) == [RUN]
    assert known_runs(created(at=NOW + 1), unsigned_until=NOW) == []


def older_token(secret: bytes = RELAY_SECRET, key: str = RUN.key, number: int = 7) -> str:
    """A token as it was before Jobs were signed: without the comma after the last id."""
    payload = access_token._encode_base64url(f"{int(NOW) + 60}:{number}:{key}".encode())
    return f"{payload}.{access_token._compute_mac(secret, payload)}"


@pytest.mark.parametrize(
    ("token", "at", "is_known"),
    [
        (older_token(), NOW, True),
        (older_token(), NOW + 61, False),  # created again after its token had expired
        (older_token(b"guessed"), NOW, False),
        (older_token(key=OTHER_KEY), NOW, False),
        # The token of a Job that is signed: somebody took it, and left the signature out.
        (access_token.create_access_token(RELAY_SECRET, (7,), RUN.key, NOW + 60), NOW, False),
    ],
    ids=["known", "again", "guessed", "another", "signed"],
)
def test_9_30a_a_job_of_before_signatures_is_known_by_the_token_of_its_run(
    token: str, at: float, is_known: bool
) -> None:
    assert known_runs(created(at=at, token=token)) == [RUN] * is_known
    assert access_token.verify_access_token([RELAY_SECRET], older_token(), NOW) is not None


def test_9_30a_nothing_of_it_stays_in_memory() -> None:
    known = ObjectCache(JobSigner(SECRET, relay_secret=RELAY_SECRET))
    known.upsert_job(created(token=older_token()))
    known.upsert_job(created(replace(RUN, key=OTHER_KEY), signed_at=NOW))
    for key in (RUN.key, OTHER_KEY):
        job = known.find_job(key)
        assert job is not None
        assert job["spec"] == {}
        assert job["metadata"]["annotations"] == {job_labels.RUN_ANNOTATION: ""}
        assert job_key(job) == key
