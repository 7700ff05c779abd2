"""What a command leaves behind is stored, found again, and never half there."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from pathlib import Path

import pytest

from fyre.artifacts import object_storage
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.manifest import RunManifest
from fyre.engines.local import LocalEngine
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from tests.contract.engine import await_end, make_run
from tests.integration.local_engine.test_engine import Make, make
from tests.support import waiting
from tests.support.ci_marks import easier_cases, long_case

__all__ = ["make"]  # a fixture


def run_to_end(engine: LocalEngine, sha: str, command: str, **fields: object) -> RunRecord:
    run = make_run(sha, command, **fields)
    engine.launch(run)
    return await_end(engine, run.key)


def manifest_of(engine: LocalEngine, record: RunRecord) -> RunManifest:
    manifest = engine.artifacts.get_manifest(record.run.key)
    assert manifest is not None
    return manifest


def content_of(engine: LocalEngine, record: RunRecord) -> dict[str, bytes]:
    contents = {}
    for artifact in manifest_of(engine, record).artifacts:
        with engine.artifacts.open_blob(artifact.sha256) as file:
            content = file.read()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
        assert len(content) == artifact.size
        contents[artifact.path] = content
    return contents


def test_what_is_in_the_outputs_folder_is_kept_with_its_mode(make: Make, sha: str) -> None:
    engine = make()
    command = (
        'mkdir "$FYRE_OUTPUTS/a"; echo model > "$FYRE_OUTPUTS/a/m.pt"; '
        'echo ls > "$FYRE_OUTPUTS/run.sh"; chmod 755 "$FYRE_OUTPUTS/run.sh"'
    )
    record = run_to_end(engine, sha, command)
    assert record.state is RunState.SUCCEEDED
    assert content_of(engine, record) == {"a/m.pt": b"model\n", "run.sh": b"ls\n"}
    assert {one.path: one.mode & 0o100 for one in manifest_of(engine, record).artifacts} == {
        "a/m.pt": 0,
        "run.sh": 0o100,
    }
    assert record.results is not None
    assert (record.results.output_count, record.results.output_bytes) == (2, 9)


def test_declared_outputs_are_kept_out_of_the_checkout(make: Make, sha: str) -> None:
    engine = make()
    command = "mkdir -p ck/x p; echo 1 > ck/x/a; echo 2 > ck/b; touch p/1.png p/2.txt; echo m > m"
    record = run_to_end(engine, sha, command, outputs=("ck/", "p/*.png", "m", "?none"))
    assert content_of(engine, record) == {
        "ck/x/a": b"1\n",
        "ck/b": b"2\n",
        "p/1.png": b"",
        "m": b"m\n",
    }


def test_a_declared_output_that_is_not_there_fails_a_run_that_ended_well(
    make: Make, sha: str
) -> None:
    engine = make()
    record = run_to_end(engine, sha, "echo x > a", outputs=("a", "model.pt", "ck/"))
    assert record.state is RunState.FAILED
    assert record.reason == "the command ended well, but wrote no model.pt, ck/"
    assert content_of(engine, record) == {"a": b"x\n"}


def test_a_failed_run_keeps_what_it_wrote_marked_partial(make: Make, sha: str) -> None:
    engine = make()
    record = run_to_end(engine, sha, "echo x > a; exit 3", outputs=("a", "missing"))
    assert (record.state, record.exit_code) == (RunState.FAILED, 3)
    assert content_of(engine, record) == {"a": b"x\n"}
    assert manifest_of(engine, record).results.is_partial


def test_a_run_that_leaves_nothing_has_no_manifest(make: Make, sha: str) -> None:
    engine = make()
    record = run_to_end(engine, sha, "true")
    assert record.results is None
    assert engine.artifacts.get_manifest(record.run.key) is None


def test_only_the_last_try_counts(make: Make, sha: str) -> None:
    engine = make()
    command = 'echo $FYRE_TRY > "$FYRE_OUTPUTS/$FYRE_TRY"; [ $FYRE_TRY = 2 ]'
    record = run_to_end(engine, sha, command, retries=1)
    assert content_of(engine, record) == {"2": b"2\n"}


def test_hostile_outputs_are_left_out_with_a_line_each(
    make: Make, sha: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    engine = make()
    command = (
        f'cd "$FYRE_OUTPUTS"; ln -s {shlex.quote(str(secret))} out; mkfifo pipe; mkdir d; '
        "ln -s d/f inside; ln -s ../.. up; echo f > d/f; mkdir .git; touch .git/config; "
        r"touch \"$(printf 'a\nb')\"; ln -s /etc etc"
    ).replace('\\"', '"')
    record = run_to_end(engine, sha, command)
    assert content_of(engine, record) == {"d/f": b"f\n", "inside": b"f\n", "a\nb": b""}
    assert record.results is not None
    assert sorted(record.results.problems) == [
        ".git is not kept: git's own files are no outputs",
        "etc is not kept: a link that leads to another place",
        "out is not kept: a link that leads to another place",
        "pipe is not kept: no regular file",
        "up is not kept: a link that leads to another place",
    ]


def test_a_hard_link_to_another_file_is_copied(make: Make, sha: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("first")
    engine = make()
    record = run_to_end(engine, sha, f'ln {shlex.quote(str(other))} "$FYRE_OUTPUTS/copy"')
    other.write_text("later")
    assert content_of(engine, record) == {"copy": b"first"}


def test_metrics_and_links_are_part_of_the_results(make: Make, sha: str) -> None:
    engine = make()
    lines = [{"step": n, "loss": 1 / n, "val": {"acc": n / 10}} for n in (1, 2, 4, 3)]
    text = "\n".join(map(json.dumps, lines)) + '\nhalf a line {\n{"loss": NaN}\n{"loss": 9e999}'
    command = (
        f'printf %s {shlex.quote(text)} > "$FYRE_METRICS"; '
        'echo "My page https://example.org/1" >> "$FYRE_LINK"; echo nonsense >> "$FYRE_LINK"; '
        """echo '{"final": 7}' > "$FYRE_OUTPUTS/metrics.json" """
    )
    record = run_to_end(engine, sha, command, metric_goals=(("loss", "min"),))
    assert record.results is not None
    assert record.results.last_values() == {"loss": 1 / 3, "val/acc": 0.3, "final": 7}
    assert record.results.best_values({"loss": "min"}) == {"loss": 0.25, "val/acc": 0.4, "final": 7}
    assert record.results.problems == (
        "1 line of the metrics is not a JSON object",
        "2 values of the metrics are not numbers",
    )
    assert manifest_of(engine, record).links == (("My page", "https://example.org/1"),)


def test_outputs_are_sealed_after_a_restart(make: Make, sha: str, tmp_path: Path) -> None:
    engine = make()
    run = make_run(sha, 'echo x > "$FYRE_OUTPUTS/x"; echo y > y', outputs=("y",))
    blobs = tmp_path / "state" / "artifacts"
    blobs.write_text("")  # no folder: nothing can be stored
    engine.launch(run)
    ended = tmp_path / "state" / "runs" / run.key / "ended.json"
    waiting.until(ended.exists)
    assert engine.get_record(run.key).state is not RunState.SUCCEEDED  # type: ignore[union-attr]
    blobs.unlink()
    record = await_end(make(), run.key)
    assert record.state is RunState.SUCCEEDED
    store = ArtifactStore(blobs)
    manifest = store.get_manifest(run.key)
    assert manifest is not None
    assert sorted(one.path for one in manifest.artifacts) == ["x", "y"]
    assert not os.path.lexists(ended)
    checkout = tmp_path / "state" / "work" / run.key
    waiting.until(lambda: not checkout.exists())  # it is removed after the outcome is there


@pytest.mark.parametrize("damage", [*easier_cases("", "[]"), '{"state": "thawing"}', None])
def test_a_damaged_end_is_told_and_the_outputs_are_kept(
    make: Make, sha: str, tmp_path: Path, damage: str | None
) -> None:
    engine = make()
    blobs = tmp_path / "state" / "artifacts"
    blobs.write_text("")  # no folder: nothing can be stored
    run = make_run(sha, 'echo x > "$FYRE_OUTPUTS/x"', outputs=("later => notation/../x",))
    engine.launch(run)
    ended = tmp_path / "state" / "runs" / run.key / "ended.json"
    waiting.until(ended.exists)
    engine.close()
    ended.unlink()
    ended.mkdir() if damage is None else ended.write_text(damage)
    blobs.unlink()
    engine = make()
    record = await_end(engine, run.key)
    assert record.state is RunState.ERROR
    assert content_of(engine, record) == {"x": b"x\n"}


def test_what_can_not_be_kept_is_missing(make: Make, sha: str) -> None:
    engine = make()
    for command in (
        "ln -s /nowhere model.pt",
        "mkfifo model.pt",
        "mkdir model.pt",
        "mkdir -p sub/.git; touch sub/.git/model.pt",
    ):
        record = run_to_end(engine, sha, command, outputs=("model.pt",))
        assert record.state is RunState.FAILED, command
        assert record.reason == "the command ended well, but wrote no model.pt", command
        assert manifest_of(engine, record).artifacts == (), command


def test_a_folder_that_became_a_link_is_not_followed(make: Make, sha: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "gold").write_text("gold")
    engine = make()
    command = f'rmdir "$FYRE_OUTPUTS"; ln -s {shlex.quote(str(precious))} "$FYRE_OUTPUTS"'
    record = run_to_end(engine, sha, command)
    assert record.results is not None
    assert record.results.problems == (
        "$FYRE_OUTPUTS is not kept: it is not the folder any more that it was",
    )
    assert (precious / "gold").read_text() == "gold"


def test_a_writer_that_goes_on_changes_no_stored_content(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    run = make_run(sha, f'echo start > "$FYRE_OUTPUTS/d"; touch {tmp_path}/on; sleep 1000')
    engine.launch(run)
    waiting.until((tmp_path / "on").exists)
    with (tmp_path / "state" / "runs" / run.key / "outputs" / "d").open("a") as writer:
        engine.cancel(run.key, "ada")
        record = await_end(engine, run.key)
        writer.write("later")
    assert content_of(engine, record) == {"d": b"start\n"}


def test_a_good_content_takes_the_place_of_a_damaged_one(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    command = 'echo same > "$FYRE_OUTPUTS/a"; cp "$FYRE_OUTPUTS/a" "$FYRE_OUTPUTS/b"'
    first = run_to_end(engine, sha, command)
    sha256 = manifest_of(engine, first).artifacts[0].sha256
    (tmp_path / "state" / "artifacts" / object_storage.blob_key(sha256)).write_text("x")
    run_to_end(engine, sha, command)
    assert content_of(engine, first) == {"a": b"same\n", "b": b"same\n"}


def test_a_file_and_a_folder_of_one_name_are_not_both_kept(make: Make, sha: str) -> None:
    engine = make()
    command = 'echo file > "$FYRE_OUTPUTS/plots"; mkdir plots; echo x > plots/a'
    record = run_to_end(engine, sha, command, outputs=("?plots/",))
    assert content_of(engine, record) == {"plots": b"file\n"}
    assert record.results is not None
    assert record.results.problems == ("plots/a is not kept: a file and a folder have one name",)


@long_case
def test_one_full_store_holds_up_no_other_run_and_its_reason_is_shown(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    blobs = tmp_path / "state" / "artifacts" / "blobs"
    blobs.parent.mkdir(exist_ok=True)
    blobs.write_text("")  # no folder: nothing can be stored
    stuck = [make_run(sha, f'echo {n} > "$FYRE_OUTPUTS/x"') for n in range(3)]
    for run in stuck:
        engine.launch(run)

    def reasons() -> list[str]:
        records = [engine.get_record(run.key) for run in stuck]
        return [record.reason for record in records if record and "stored" in record.reason]

    waiting.until(lambda: len(reasons()) == 3)
    assert {*reasons()} == {"its outputs can't be stored yet: Not a directory"}
    assert not engine.cancel(stuck[0].key, "ada")  # its command has ended
    blobs.unlink()
    for run in stuck:
        assert await_end(engine, run.key).state is RunState.SUCCEEDED


def test_a_supervisor_that_its_command_stopped_can_be_cancelled(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    run = make_run(sha, f"touch {tmp_path}/on; kill -STOP $PPID; sleep 1000")
    engine.launch(run)
    waiting.until((tmp_path / "on").exists)
    engine.cancel(run.key, "ada")
    assert await_end(engine, run.key).state is RunState.CANCELLED
