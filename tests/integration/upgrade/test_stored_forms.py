"""Whatever stands where something of ours is stored is read, or left out with a line in the log;
nothing stops.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fyre.apps.derived_keys import instance_name
from fyre.apps.replica import Replica
from fyre.engines.kubernetes import job_labels, run_status
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.local import run_dir, state_dir
from fyre.engines.local.cut_short_runs import CutShortRuns
from fyre.engines.local.engine import LocalEngine
from fyre.engines.local.run_dir import RunDirectory
from fyre.engines.run_index import RunIndex
from fyre.errors import UserError
from fyre.git import access_token
from fyre.git.cat_file import ObjectReader
from fyre.git.mirror_store import MirrorStore
from fyre.local_forge.api.pull_api import find_pull_request as find_pull
from fyre.local_forge.api.rest import ApiError
from fyre.local_forge.database import ForgeDatabase
from fyre.local_forge.storage.git_notes import GitNotes
from fyre.local_forge.storage.note_forms import (
    CHECK_NOTE,
    COMMENT_NOTE,
    CONVERSATION_NOTE,
    STATUS_NOTE,
    pull_from_json,
    pull_to_json,
)
from fyre.local_forge.storage.repository_store import BareRepository, RepositoryStore
from fyre.message import spec_form
from fyre.message.spec import RunSpec
from fyre.reporter import status_reporter, unposted_statuses
from fyre.runs import commit_status, posted_states, run
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from fyre.runs.status_text import PUSH_REFUSAL_HINTS, is_push_refusal, parse_status
from fyre.server import run_links
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnreadableError,
    as_integer,
    as_signed_integer,
    as_text,
    as_texts,
    parse_json,
)
from tests.contract.engine import await_end, make_run
from tests.support.ci_marks import easier_cases, long_case
from tests.support.person import Person, person

__all__ = ["person"]

RUN = make_run("a" * 40, "true", key="0123456789abcdef0123456789")
STORED = json.loads(json.dumps(run.to_json(RUN)))
NOT_OURS = [
    "",
    "nonsense",
    "[1,2]",
    '"x"',
    '{"a":',
    "7",
    "null",
    "[" * 2_000,
    '{"version": 2}',
    '{"version": "x"}',
]
"""Texts where JSON of ours belongs."""

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
)
WORDS = st.sampled_from([*RunState, "skipped", "", "Running"])


def mutated(stored: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same with some members of other values, some left out, and some that nobody knows."""
    change = st.dictionaries(
        st.sampled_from([*stored, "needs", "version"]), JSON | WORDS, max_size=4
    )
    left_out = st.sets(st.sampled_from([*stored]), max_size=2)
    return st.builds(
        lambda new, gone: {k: v for k, v in (stored | new).items() if k not in gone},
        change,
        left_out,
    )


def texts(stored: dict[str, Any]) -> st.SearchStrategy[str]:
    """Such a thing as JSON, any other JSON, or no JSON at all."""
    return st.one_of(
        mutated(stored).map(json.dumps), JSON.map(json.dumps), st.text(), st.sampled_from(NOT_OURS)
    )


OUTCOME = json.loads(run_status.format_outcome(RunRecord(RUN, RunState.FAILED, 1, 1.0, 2.0, 3)))


@given(mutated(STORED) | JSON)
def test_a_run_is_read_or_refused(data: Any) -> None:
    try:
        found = run.from_json(data)
    except UnreadableError as error:
        assert str(error)
        return
    assert isinstance(found.spec.command, str)
    again = run.to_json(found)
    given = {name: value for name, value in data.items() if name != "version"}
    assert json.loads(json.dumps(again | given)) == json.loads(json.dumps(again)), (
        "what is not known is kept"
    )


@given(mutated(STORED["spec"]) | JSON)
def test_a_spec_is_read_or_refused_and_what_is_not_known_is_part_of_its_digest(data: Any) -> None:
    try:
        found = spec_form.from_json(data)
    except UnreadableError:
        return
    extra = set(data) - {field.name for field in spec_form.SPEC_FORM.fields} - {"version"}
    plain = replace(found, unknown=())
    assert (found.digest == plain.digest) == (not extra)


@pytest.mark.parametrize(
    "missing", ["key", "repository", "sha", "tree", "parents", "ref", "actor", "name", "spec"]
)
def test_what_must_be_there_is_named_where_it_is_not(missing: str) -> None:
    with pytest.raises(UnreadableError, match=f"a run lacks {missing}"):
        run.from_json({name: value for name, value in STORED.items() if name != missing})


def test_a_later_version_is_refused_and_the_first_needs_no_number() -> None:
    assert run.from_json(STORED | {"version": 1}) == run.from_json(STORED) == RUN
    with pytest.raises(UnreadableError, match="a run has version 2, this Fyre reads up to 1"):
        run.from_json(STORED | {"version": 2})


def test_a_later_field_is_written_where_it_is_set_and_nowhere_else() -> None:
    @dataclass
    class Thing:
        title: str
        needs: tuple[str, ...] = ()

    form = StoredForm(
        "a thing",
        (
            StoredField("name", "title", as_text, required=True),
            StoredField("needs", "needs", as_texts, since=2, unset=()),
        ),
    )
    assert form.encode(Thing("x")) == {"name": "x"}
    assert form.encode(Thing("x", ("y",))) == {"name": "x", "needs": ("y",)}
    assert form.decode({"name": "x", "needs": ["y"]}) == {"title": "x", "needs": ("y",)}


def test_what_a_later_version_stored_is_kept_and_changes_the_digest_as_it_does_there() -> None:
    later = STORED | {"group": {"a": [1, 2]}, "spec": STORED["spec"] | {"needs": ["b"]}}
    later["repository"] = STORED["repository"] | {"private": True}
    found = run.from_json(later)
    assert json.loads(json.dumps(run.to_json(found))) == later
    again = replace(found, spec=replace(found.spec, image="python"))  # as a rerun on another image
    assert run.to_json(again)["spec"]["needs"] == ["b"]
    assert found.spec.digest != RUN.spec.digest
    assert found == RUN, "what is not known is no difference to us"


# Kubernetes: a Job's annotations


def job(**notes: str) -> dict[str, Any]:
    about = {"name": f"fyre-{RUN.key}", "namespace": "lab", "uid": "u", "resourceVersion": "1"}
    about["labels"] = {job_labels.INSTANCE_LABEL: "fyre", job_labels.KEY_LABEL: RUN.key}  # type: ignore[assignment]
    told = {
        job_labels.RUN_ANNOTATION: json.dumps(STORED),
        **{job_labels.FYRE_PREFIX + name.replace("_", "-"): text for name, text in notes.items()},
    }
    return {"metadata": {**about, "annotations": told}, "spec": {}, "status": {}}


@given(
    texts(STORED) | st.just(json.dumps(STORED)),
    texts(OUTCOME),
    texts({"a" * 40: "pending"}),
    texts({"x": 1}) | st.just('["x"]'),
    st.text(),
)
def test_a_job_with_whatever_annotations_stops_nobody(
    stored: str, outcome: str, reported: str, carried: str, given_up: str
) -> None:
    known = ObjectCache()
    key = known.upsert_job(
        job(run=stored, outcome=outcome, reported=reported, carried=carried, given_up=given_up)
    )
    seen = known.refresh_record(key)
    assert (seen is None) == (not key)
    if seen is not None:
        for debt in unposted_statuses.unposted_statuses(seen[1], "http://page"):
            assert len(debt.status.description) <= commit_status.DESCRIPTION_MAX


@pytest.mark.parametrize("text", NOT_OURS)
def test_a_note_of_what_was_posted_that_is_not_ours_counts_as_nothing(text: str) -> None:
    assert posted_states.posted_states(text) == {}
    assert [
        debt.sha for debt in unposted_statuses.unposted_statuses(RunRecord(RUN, reported=text), "")
    ] == [RUN.sha]
    written = posted_states.with_posted_state(text, RUN.sha, "failed")
    assert json.loads(written) == {RUN.sha: "failed"}


def test_a_note_keeps_what_a_later_version_put_into_it() -> None:
    written = posted_states.with_posted_state('{"new": {"x": [1]}, "b": "pending"}', "b", "failed")
    assert json.loads(written) == {"new": {"x": [1]}, "b": "failed"}
    assert posted_states.posted_states(written) == {"b": "failed"}


@pytest.mark.parametrize("text", ["nonsense", *easier_cases("[1,2]", '"x"', "7"), '{"a":'])
def test_a_receiver_starts_whatever_its_notes_say_and_looks_up_what_was_posted(
    person: Person, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    sha = person.run("true")
    person.final(sha)
    book = person.up.controller.executor.reporter
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    book.stop()
    before = person.statuses(sha)
    person.up.engine.annotate(record.run.key, reported=text)
    again = status_reporter.StatusReporter(
        book.forge, book.engine, RunIndex(book.engine), book.page_url
    )
    with caplog.at_level(logging.WARNING):
        again.start()
    try:
        deadline = time.monotonic() + 30
        while posted_states.posted_states(person.up.engine.get_record(record.run.key).reported) != {
            sha: "succeeded"
        }:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        again.stop()
    assert person.statuses(sha) == before, "it was looked up, and is not posted once more"
    assert record.run.key in caplog.text


# This machine: a run's folder

FILES = {
    "run.json": STORED,
    "job.json": json.loads(
        json.dumps(
            run_dir.build_supervisor_job(
                RUN, Path("/g"), Path("/w"), grace=1.0, log_cap=1, keep=False
            )
        )
    ),
    "progress.json": {"state": "running", "tries": 1, "started_at": 5.0},
    "outcome.json": OUTCOME,
    "notes.json": {"reported": "{}", "carried": ["a"]},
    "cancel": {"by": "bob"},
    "lock": {"pid": 1},
}


@given(
    st.fixed_dictionaries({}, optional={name: texts(data) for name, data in FILES.items()}),
    st.booleans(),
)
@long_case
def test_a_run_s_folder_with_whatever_in_it_stops_nobody(
    found: dict[str, str], sound: bool
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch)
        folder = parent / RUN.key
        folder.mkdir()
        if sound:
            found = {
                "job.json": json.dumps(FILES["job.json"]),
                **found,
                "run.json": json.dumps(STORED),
            }
        for name, text in found.items():
            (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        for each, read in state_dir.load_runs(parent, CutShortRuns(parent)):
            assert read.key == RUN.key
            each.conclude_without_supervisor(5.0)
            record = each.updated_record(RunRecord(read))
            assert isinstance(record.state, RunState)
            assert isinstance(unposted_statuses.unposted_statuses(record, ""), list)
            assert isinstance(each.cancelled_by(), str)
            each.write_notes(carried=("b" * 40,))
            assert each.read_record().carried == ("b" * 40,)
            assert each.supervisor_pid() is None


@pytest.mark.parametrize(
    "outcome", ['{"state": "skipped", "version": 1}', "7", '{"version": 3, "state": "failed"}']
)
def test_an_engine_starts_over_what_it_can_not_read_and_does_the_rest(
    tmp_path: Path, repo: Path, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.conftest import git

    sha, state = git("rev-parse", "HEAD", cwd=repo), tmp_path / "state"

    def folder(key: str, command: str = "true") -> Path:
        one = make_run(sha, command, key=key)
        told = run_dir.build_supervisor_job(
            one, repo / ".git", state / "work" / key, grace=1.0, log_cap=4096, keep=False
        )
        made = RunDirectory.create_for_run(state / "runs", one, told)
        assert made is not None
        return made.path

    ended, later, waits, odd = (folder(f"{number:026x}") for number in range(4))
    (ended / "outcome.json").write_text(outcome)
    (later / "run.json").write_text(
        json.dumps(json.loads((later / "run.json").read_bytes()) | {"version": 2})
    )
    (odd / "job.json").write_text("[]")
    (state / "work" / later.name).mkdir(parents=True)
    engine = LocalEngine(state, find_git_dir=lambda _: repo / ".git", jobs=1)
    try:
        assert await_end(engine, waits.name).state is RunState.SUCCEEDED
        found = {record.run.key: record for record in engine.query_runs(ALL_RUNS)}
    finally:
        engine.close()
    assert (found[ended.name].state, "can't be read" in found[ended.name].reason) == (
        RunState.ERROR,
        True,
    )
    assert (found[odd.name].state, "can't be read" in found[odd.name].reason) == (
        RunState.ERROR,
        True,
    )
    assert later.name not in found
    assert (later / "run.json").exists()
    assert (state / "work" / later.name).exists(), "it may be running, for a later version"
    assert (ended / "outcome.json").read_text() == outcome
    assert "version 2" in caplog.text


def test_a_word_for_what_a_supervisor_does_that_we_do_not_know_is_pending(tmp_path: Path) -> None:
    made = RunDirectory.create_for_run(tmp_path, RUN, FILES["job.json"])
    assert made is not None
    for told, state in (
        ({}, RunState.STARTING),
        ({"started_at": 5.0, "tries": 1}, RunState.RUNNING),
    ):
        (made.path / "progress.json").write_text(json.dumps({"state": "thawing", **told}))
        assert made.read_record().state is state


# Statuses

REASONS = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "refused: ",
                "cancelled by ",
                "ran at abcdef1",
                "carried from abcdef1",
                "not launched: ",
                "attempt 7",
                "timed out after 1s",
                " · ",
                "lost: ",
                "exit 3",
                "x",
                *PUSH_REFUSAL_HINTS,
            ]
        ),
        max_size=9,
    ).map("".join),
    st.sampled_from([*RunState]).map(str),
)
KEPT = [
    state for state in RunState if state not in (RunState.REFUSED, RunState.CARRIED, RunState.MOVED)
]


@settings(max_examples=5 * settings().max_examples)
@given(st.sampled_from(KEPT), REASONS, st.integers(1, 400), st.booleans(), st.booleans())
def test_what_a_status_says_is_read_back(
    state: RunState, reason: str, attempt: int, carried: bool, took: bool
) -> None:
    one = replace(RUN, attempt=attempt)
    record = RunRecord(
        one,
        state,
        1,
        0.0,
        9e7 if took else None,
        3 if not reason else None,
        reason=reason,
        cancelled_by=reason,
    )
    said = commit_status.status_from_record(record, carried=carried)
    found = parse_status(said.state, said.description)
    assert found.state is (RunState.CARRIED if carried and state.is_final else state)
    assert found.attempt == attempt
    assert len(said.description) <= commit_status.DESCRIPTION_MAX


@given(REASONS)
def test_a_refusal_and_a_malformed_message_are_read_back(reason: str) -> None:
    refused, malformed = (
        commit_status.refused_status("fyre/run", reason),
        commit_status.malformed_status("fyre/run", reason),
    )
    assert parse_status(refused.state, refused.description).state is RunState.REFUSED
    assert parse_status(malformed.state, malformed.description).state is RunState.ERROR
    assert not is_push_refusal(malformed.state, malformed.description)


@given(st.text(), st.text())
def test_a_status_of_whomever_is_read_as_something(word: str, description: str) -> None:
    assert parse_status(word, description).attempt >= 0


# The small forge


@given(
    st.lists(texts({"state": "pending", "id": 5, "created_at": "x", "creator": "ada"}), max_size=4)
)
def test_notes_are_read_line_by_line(lines: list[str]) -> None:
    for form in (STATUS_NOTE, COMMENT_NOTE, CHECK_NOTE, CONVERSATION_NOTE):
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
        for record in GitNotes("refs/notes/x", ObjectReader(), form)._parse_records(content):
            form.decode(record)


PULL = {
    "number": 1,
    "title": "t",
    "body": None,
    "user": "ada",
    "repository": "a/b",
    "ref": "x",
    "base": "main",
    "created_at": "2026-01-01T00:00:00Z",
}


@given(mutated(PULL) | JSON)
def test_a_pull_request_is_read_or_refused(data: Any) -> None:
    try:
        found = pull_from_json(data)
    except UnreadableError:
        return
    assert pull_to_json(found)["number"] == data["number"]


@given(texts({"id": 5, "created_at": 1.0}))
def test_a_repository_whose_facts_can_not_be_read_is_left_out(text: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "a" / "b.git").mkdir(parents=True)
        (Path(scratch) / "a" / "b.git" / "fyre.json").write_bytes(
            text.encode("utf-8", "surrogatepass")
        )
        shelf = RepositoryStore(Path(scratch), lambda: 1)
        assert len([*shelf]) == (shelf.find_repo("a/b") is not None)


def test_a_pull_request_that_can_not_be_read_is_not_there() -> None:
    found = SimpleNamespace(type="blob", content=b'{"number": 1}', sha="x")
    forge = SimpleNamespace(objects=SimpleNamespace(find_object=lambda *_: found))
    with pytest.raises(ApiError) as caught:
        find_pull(forge, BareRepository("a/b", Path("/g"), 1, 0.0), 1)  # type: ignore[arg-type]
    assert caught.value.status == 404


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"no database" * 500),
        lambda path: sqlite3.connect(path).execute("pragma user_version = 2").connection.close(),
        lambda path: sqlite3.connect(path).execute("create table events (x)").connection.close(),
    ],
    ids=["garbage", "later version", "other tables"],
)
def test_a_database_of_another_form_is_set_aside(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "forge.db"
    make(path)
    before = None if b"create table" in path.read_bytes().lower() else path.read_bytes()
    store = ForgeDatabase(path)
    assert store.next_id() > 0
    store.close()
    (aside,) = (
        one for one in tmp_path.glob("forge.db.*") if one.suffix not in (".db-wal", ".db-shm")
    )
    assert before is None or aside.read_bytes() == before
    assert "kept as" in caplog.text


def test_a_database_with_more_in_it_than_we_know_is_used(tmp_path: Path) -> None:
    path = tmp_path / "forge.db"
    ForgeDatabase(path).close()
    with sqlite3.connect(path) as db:
        db.execute("alter table events add column priority integer not null default 0")
        db.execute("create table later (x)")
    db.close()
    ForgeDatabase(path).close()
    assert [one.name for one in tmp_path.iterdir()] == ["forge.db"]


# Mirrors, keys of the relay, addresses, the Lease, secrets of our own


@given(texts({"forge": "http://f", "id": 1, "name": "a/b", "default_branch": "main"}))
def test_a_mirror_that_does_not_say_whose_it_is_has_no_source(text: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        mirror = Path(scratch) / "1.git"
        mirror.mkdir()
        (mirror / "fyre-repository.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        source = MirrorStore(
            Path(scratch), lambda repository: repository.name, lambda _: None
        ).find_remote(1)
        assert source is None or isinstance(source[0], str)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.booleans())
def test_a_relay_key_that_says_something_else_is_no_key(payload: bytes, signed: bool) -> None:
    coded = access_token._encode_base64url(payload)
    key = f"{coded}.{access_token._compute_mac(b'secret', coded) if signed else ''}"
    found = access_token.verify_access_token([b"secret"], key, 0.0)
    assert found is None or signed


@given(st.text(alphabet=st.characters(), max_size=80))
def test_an_address_that_is_not_ours_names_no_run(named: str) -> None:
    found = run_links.run_key_from_token(b"secret", named)
    assert found is None or run_links.run_token(b"secret", found) == named


@given(st.text() | st.sampled_from(["x " + "9" * 5000, "x h:" + "9" * 5000, "x h:٣"]))
def test_a_lease_held_by_whomever_leads_nowhere(holder: str) -> None:
    held = SimpleNamespace(
        _election=SimpleNamespace(current_holder=lambda: holder),
        _listen_sockets=[0],
        _addresses=["other:1"],
    )
    found = Replica._leader_addresses(held)  # type: ignore[arg-type]
    assert found is None or 0 <= found[0][1] < 65536


def test_an_instance_s_name_that_is_not_ours_is_a_mistake_with_a_hint() -> None:
    with pytest.raises(UserError, match="the instance's name is not what Fyre wrote"):
        instance_name(lambda _: b"\xff" * 64)
    assert instance_name(lambda _: b"0123456789abcdef") == "fyre-01234567"


@given(st.text() | st.binary())
def test_json_is_read_or_refused(text: str | bytes) -> None:
    try:
        parse_json(text)
    except UnreadableError:
        return


@pytest.mark.parametrize("value", [True, -1, 1.5, 2**53, "1", None])
def test_an_integer_is_one(value: object) -> None:
    with pytest.raises(UnreadableError):
        as_integer(value)


@pytest.mark.parametrize("value", [True, 1.5, "1", None])
def test_a_signed_integer_is_one(value: object) -> None:
    assert [as_signed_integer(number) for number in (-1, 2**53)] == [-1, 2**53]
    with pytest.raises(UnreadableError):
        as_signed_integer(value)


def test_two_specs_that_0_1_could_write_differ_as_they_did() -> None:
    assert RunSpec("make", env=(("A", "1"),)).digest != RunSpec("make", env=(("A", "2"),)).digest
    assert isinstance(RUN, Run)
