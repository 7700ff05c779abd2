"""Limits and prune: nothing that a run names is deleted, whatever happens at the same time."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.folder_storage import FolderStorage
from fyre.artifacts.pruning import Pruner
from fyre.cli import main
from fyre.errors import UserError
from fyre.runs.keep_rules import KeepRule
from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.contract.artifact_store import make_manifest, store_files
from tests.contract.engine import await_end, make_run
from tests.integration.local_engine.test_engine import Make, make
from tests.support.ci_marks import EASIER_CASE, long_case
from tests.support.engine_fixtures import sha

__all__ = ["make", "sha"]  # fixtures

REPOSITORY_EXCESS = (
    "with its outputs the repository's would be 3.0 kB, and the policy allows 2.5 kB a repository: "
    "none of them is kept, until fyre prune makes room"
)

KEEP_NONE = [KeepRule(max_age=0.0)]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def key(number: int) -> str:
    return f"{number:026x}"


def put_run(store: ArtifactStore, folder: Path, number: int, *contents: bytes) -> None:
    files = {str(n): content for n, content in enumerate(contents)}
    store_files(store, folder, files)
    store.put_manifest(make_manifest(key(number), files, sealed_at=time.time() - 1000 + number))


def blob_count(store: ArtifactStore) -> int:
    return len([*store.storage.list_objects("blobs/")])


def test_10_2_what_no_rule_keeps_goes_and_shared_contents_stay(
    store: ArtifactStore, tmp_path: Path
) -> None:
    put_run(store, tmp_path / "in", 1, b"only first", b"shared")
    put_run(store, tmp_path / "in", 2, b"shared")
    preview = Pruner(store, [KeepRule(last=1)], 0.0).preview()
    assert ([one.run_key for one in preview.dropped], preview.deleted_bytes) == ([key(1)], 10)
    assert blob_count(store) == 2
    report = Pruner(store, [KeepRule(last=1)], 0.0).prune()
    assert (report.kept_runs, report.deleted_blobs, report.deleted_bytes) == (1, 1, 10)
    assert [*store.list_runs()] == [key(2)]
    assert blob_count(store) == 1


def test_10_2_a_content_goes_when_nothing_has_named_it_for_long_enough(
    store: ArtifactStore, tmp_path: Path
) -> None:
    put_run(store, tmp_path / "in", 1, b"dropped")
    old = time.time() - 9e6
    for one in store.storage.list_objects("blobs/"):
        os.utime(tmp_path / "store" / one.key, (old, old))  # it was stored long ago
    assert Pruner(store, KEEP_NONE).prune().waiting_blobs == 1  # but was named until now
    assert blob_count(store) == 1
    assert Pruner(store, KEEP_NONE).prune().deleted_blobs == 0
    noted = store.read_json("pruning/unused.json")
    assert isinstance(noted, dict)
    earlier = json.dumps({sha256: since - 90_000 for sha256, since in noted.items()})
    store.storage.replace_object("pruning/unused.json", earlier.encode())
    assert Pruner(store, KEEP_NONE).prune().deleted_blobs == 1
    assert blob_count(store) == 0


def test_10_2_a_content_that_an_upload_has_just_stored_stays(
    store: ArtifactStore, tmp_path: Path
) -> None:
    store_files(store, tmp_path / "in", {"a": b"not sealed yet"})
    assert Pruner(store, KEEP_NONE).prune().deleted_blobs == 0
    store.put_manifest(make_manifest(key(1), {"a": b"not sealed yet"}))


def test_10_2_a_manifest_that_can_not_be_read_keeps_every_content(
    store: ArtifactStore, tmp_path: Path
) -> None:
    put_run(store, tmp_path / "in", 1, b"x")
    store.storage.create_object(f"manifests/{key(2)}.json", b'{"version": 99}')
    report = Pruner(store, KEEP_NONE, 0.0).prune()
    assert (report.unreadable, report.deleted_blobs, blob_count(store)) == ([key(2)], 0, 1)


@long_case
def test_10_2_what_was_pruned_meanwhile_is_stored_again(
    make: Make, sha: str, tmp_path: Path
) -> None:
    """It is deleted between the look for the contents and the manifest: the worst moment."""

    class PrunedFolder(FolderStorage):
        prunings = 0

        def keep_durable(self, hashes: set[str]) -> None:
            super().keep_durable(hashes)
            if not self.prunings:
                self.prunings += 1
                assert Pruner(store, KEEP_NONE, 0.0).prune().deleted_blobs == 1

    folder = PrunedFolder(tmp_path / "store")
    store = ArtifactStore(folder)
    engine = make(artifacts=store)
    run = make_run(sha, 'echo x > "$FYRE_OUTPUTS/x"')
    engine.launch(run)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    manifest = store.get_manifest(run.key)
    assert manifest is not None
    assert store.has_blob(manifest.artifacts[0].sha256, 2)
    assert folder.prunings == 1


def test_10_2_sealing_waits_while_contents_are_deleted(
    store: ArtifactStore, tmp_path: Path
) -> None:
    state = json.dumps({"id": "1", "until": time.time() + 60}).encode()
    store.storage.replace_object("pruning/state.json", state)
    with pytest.raises(OSError, match="fyre prune is at work on the store"):
        put_run(store, tmp_path / "in", 1, b"x")
    killed = json.dumps({"id": "1", "until": time.time() - 3600}).encode()
    store.storage.replace_object("pruning/state.json", killed)
    put_run(store, tmp_path / "in", 1, b"x")


def test_10_2_two_prunes_are_never_at_work_together(store: ArtifactStore) -> None:
    lock = json.dumps({"until": time.time() + 60}).encode()
    store.storage.create_object("pruning/lock.json", lock)
    with pytest.raises(UserError, match="another fyre prune is at work"):
        Pruner(store, KEEP_NONE).prune()
    store.storage.replace_object("pruning/lock.json", json.dumps({"until": 1}).encode())
    Pruner(store, KEEP_NONE).prune()


@long_case
def test_10_2_no_race_of_sealing_and_pruning_loses_a_content(
    store: ArtifactStore, tmp_path: Path
) -> None:
    sealed, stop = [], threading.Event()

    def seal(first: int) -> None:
        for number in range(first, first + 15):
            contents = [b"same for all", str(number % 4).encode()]
            for _ in range(1000):  # as the sealer does
                try:
                    put_run(store, tmp_path / f"in{first}", number, *contents)
                except OSError:
                    continue
                sealed.append(number)
                break

    def prune() -> None:
        while not stop.is_set():
            Pruner(store, [KeepRule(last=3)], 0.0).prune()

    pruning = threading.Thread(target=prune)
    sealings = [threading.Thread(target=seal, args=(first,)) for first in (100, 200)]
    for thread in (pruning, *sealings):
        thread.start()
    for thread in sealings:
        thread.join()
    stop.set()
    pruning.join()
    assert len(sealed) == 30
    for run_key in store.list_runs():
        manifest = store.get_manifest(run_key)
        assert manifest is not None
        assert all(store.has_blob(one.sha256, one.size) for one in manifest.artifacts)


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        pytest.param(
            Policy(run_output_bytes=1000),
            "its outputs are 2.0 kB, and the policy allows 1.0 kB a run: none of them is kept",
            marks=EASIER_CASE,
        ),
        pytest.param(
            Policy(run_output_files=1),
            "its outputs are 2 files, and the policy allows 1 a run: none of them is kept",
            marks=EASIER_CASE,
        ),
        (
            Policy(repository_output_bytes=2500),
            REPOSITORY_EXCESS,
        ),
    ],
)
def test_10_2_of_a_run_over_a_limit_nothing_is_kept_and_it_says_so(
    make: Make, sha: str, tmp_path: Path, policy: Policy, problem: str
) -> None:
    store = ArtifactStore(tmp_path / "store", policy)
    engine = make(artifacts=store)
    before = make_run(sha, 'head -c 1000 /dev/zero > "$FYRE_OUTPUTS/z"')
    engine.launch(before)
    assert await_end(engine, before.key).state is RunState.SUCCEEDED
    command = 'for n in a b; do head -c 1000 /dev/urandom > "$FYRE_OUTPUTS/$n"; done; echo y > y'
    run = make_run(sha, command + '; echo \'{"acc": 1}\' > "$FYRE_METRICS"')
    engine.launch(run)
    record = await_end(engine, run.key)
    assert record.state is RunState.FAILED
    assert record.reason == f"the command ended well, but {problem}"
    assert record.results is not None
    assert record.results.problems == (problem,)
    assert (record.results.output_count, dict(record.results.metrics)["acc"].last) == (0, 1)
    manifest = store.get_manifest(run.key)
    assert manifest is not None
    assert (manifest.artifacts, manifest.state, manifest.ref) == ((), "failed", run.ref)
    assert blob_count(store) == 2  # the first run's, and the metrics


def test_10_2_prune_from_the_keyboard(
    store: ArtifactStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        put_run(store, tmp_path / "in", number, b"x" * number)
    policy = tmp_path / "policy.yaml"
    policy.write_text("keepOutputs: [{last: 1}]\n")
    words = [
        *("prune", "--artifact-store", str(tmp_path / "store"), "--policy", str(policy)),
        *("--unused-for", "0s"),
    ]
    assert main.main([*words, "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert "ada/lab  a1a1a1a  train  1 B" in out
    assert "would delete the outputs of 1 run, kept those of 1; would delete 1 content, 1 B" in err
    assert main.main([*words, "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["deleted"], report["kept_runs"]) == ({"count": 1, "bytes": 1}, 1)
    assert main.main(["prune", "--root", str(tmp_path / "none")]) == 1
