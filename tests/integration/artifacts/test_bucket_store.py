"""The artifact store in a bucket of a real S3 server, also behind a bad network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.artifacts import bucket_storage
from fyre.artifacts.artifact_store import ArtifactStore, open_store
from fyre.artifacts.object_storage import StoredObject
from fyre.client.outputs import OutputDownload, fetch_outputs
from fyre.engines.factory import EngineOptions
from fyre.errors import UserError
from fyre.runs.state import RunState
from tests.conftest import one_at_a_time
from tests.contract.artifact_store import ArtifactStoreContract, store_files
from tests.contract.engine import await_end, make_run
from tests.integration.artifacts.test_pruning import (
    test_10_2_a_content_that_an_upload_has_just_stored_stays,
    test_10_2_no_race_of_sealing_and_pruning_loses_a_content,
    test_10_2_what_no_rule_keeps_goes_and_shared_contents_stay,
)
from tests.integration.local_engine.test_engine import Make, make
from tests.support import s3_server, waiting
from tests.support.ci_marks import NEEDS_S3
from tests.support.engine_fixtures import sha
from tests.support.fault_proxy import FaultProxy
from tests.support.person import make_person
from tests.support.s3_server import S3Server

__all__ = [  # fixtures, and tests that are done with this module's store
    "make",
    "sha",
    "test_10_2_a_content_that_an_upload_has_just_stored_stays",
    "test_10_2_no_race_of_sealing_and_pruning_loses_a_content",
    "test_10_2_what_no_rule_keeps_goes_and_shared_contents_stay",
]

pytestmark = [*NEEDS_S3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.run_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(
    server: S3Server,
    proxy: FaultProxy,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    for name, value in server.environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    return server.make_bucket(f"b{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
def store(bucket: Path) -> ArtifactStore:
    return open_store(f"s3://{bucket.name}/some/prefix")


class TestBucketStore(ArtifactStoreContract):
    pass


def test_10_2_a_second_store_of_the_same_sends_no_content_again(
    bucket: Path, store: ArtifactStore, tmp_path: Path
) -> None:
    contents = {"small": b"x" * 1000, "large": os.urandom(20_000_000)}
    store_files(store, tmp_path / "in", contents)
    before = _inodes(bucket, store)
    store_files(store, tmp_path / "in", contents)
    assert _inodes(bucket, store) == before
    assert len(before) == 2


def test_10_2_an_object_that_is_cut_short_is_stored_again(
    bucket: Path, store: ArtifactStore, tmp_path: Path
) -> None:
    store_files(store, tmp_path / "in", {"a": b"whole content"})
    (one,) = _blobs(store)
    store.storage.replace_object(one.key, b"whole")
    store_files(store, tmp_path / "in", {"a": b"whole content"})
    assert [one.size for one in _blobs(store)] == [13]


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("AWS_SECRET_ACCESS_KEY", "another-secret", "the store answers SignatureDoesNotMatch: "),
        ("BUCKET", "no-such-bucket", "the store answers NoSuchBucket: "),
    ],
)
def test_10_2_a_store_that_somebody_has_to_set_up_is_refused_at_the_start(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(variable, value)
    name = os.environ.get("BUCKET", bucket.name)
    with pytest.raises(UserError) as caught:
        open_store(f"s3://{name}/x")
    assert f"outputs can't be kept in s3://{name}/x: {problem}" in caught.value.message
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message


ROOT = Path(__file__).parents[3]

FAULTS = {
    "refuse": "the store can't be reached",
    "503": "the store answers 503",
    "403": "the store answers 403",
    "507": "the store answers 507",
    "garbage": "the store's answer can't be understood",
    "cut": "the store",
}


@pytest.mark.parametrize("mode", FAULTS)
def test_10_2_trouble_is_waited_for_and_told_in_one_line(
    make: Make, sha: str, proxy: FaultProxy, store: ArtifactStore, mode: str
) -> None:
    engine = make(artifacts=store)
    run = make_run(sha, 'head -c 12000000 /dev/urandom > "$FYRE_OUTPUTS/x"')

    def reason() -> str:
        record = engine.get_record(run.key)
        return record.reason if record else ""

    with proxy.fault(mode):
        engine.launch(run)
        waiting.until(lambda: "can't be stored yet" in reason())
        line = reason()
    assert f"its outputs can't be stored yet: {FAULTS[mode]}" in line
    assert "\n" not in line
    assert "127.0.0.1" not in line
    record = await_end(engine, run.key)
    assert record.state is RunState.SUCCEEDED
    manifest = store.get_manifest(run.key)
    assert manifest is not None
    with store.open_blob(manifest.artifacts[0].sha256) as file:
        assert len(file.read()) == 12_000_000


def test_10_2_a_store_that_hangs_is_noticed(
    bucket: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bucket_storage, "QUESTION_TIMEOUT", timedelta(seconds=0.1))
    store = open_store(f"s3://{bucket.name}/x")
    (tmp_path / "a").write_text("x")
    with proxy.fault("hang"), pytest.raises(OSError, match="the store takes too long to answer"):
        store.add_file(tmp_path / "a")


def test_10_2_a_receiver_starts_while_its_store_is_down(
    bucket: Path, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    with proxy.fault("refuse"):
        store = open_store(f"s3://{bucket.name}/x")
    assert caplog.messages == ["the artifact store can't be used yet: the store can't be reached"]
    assert store.get_manifest("ab" * 13) is None


_STORER = """
import sys, os
from pathlib import Path
from fyre.artifacts.artifact_store import open_store
from tests.contract.artifact_store import make_manifest
store, folder = open_store(sys.argv[1]), Path(sys.argv[2])
store.remove_drafts()
for number in range(1000):
    contents = {str(n): os.urandom(n * 4_500_000 + 10) for n in range(3)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for blob in store.add_files(folder / name for name in contents):
        pass
    store.put_manifest(make_manifest(f"{os.getpid():08x}{number:018x}", contents))
    print(number, flush=True)
"""


def test_10_2_no_kill_leaves_a_manifest_without_its_contents(
    bucket: Path, store: ArtifactStore, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    command = [sys.executable, "-c", _STORER, f"s3://{bucket.name}/some/prefix", str(folder)]
    for wait in (0.0, 0.05, 0.1, 0.2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is at its second manifest
            time.sleep(wait)  # a moment of its own
            process.send_signal(signal.SIGKILL)
    listed = [*store.storage.list_objects("manifests/")]
    assert len(listed) >= 4
    for one in listed:
        manifest = store.get_manifest(one.key.removeprefix("manifests/").removesuffix(".json"))
        assert manifest is not None
        for artifact in manifest.artifacts:
            with store.open_blob(artifact.sha256) as file:
                assert len(file.read()) == artifact.size


def test_10_2_uploads_in_parts_of_a_killed_process_are_removed(
    bucket: Path, store: ArtifactStore, tmp_path: Path
) -> None:
    script = (
        "import sys, os; from pathlib import Path; import fyre.artifacts.artifact_store as s\n"
        "pieces = []\n"
        "def die():\n"
        "    pieces.append(1)\n"
        "    len(pieces) == 58 and os.kill(os.getpid(), 9)\n"
        "s.open_store(sys.argv[1]).add_file(Path(sys.argv[2]), die)\n"
    )
    (tmp_path / "large").write_bytes(os.urandom(30_000_000))
    command = [sys.executable, "-c", script, f"s3://{bucket.name}/some/prefix", tmp_path / "large"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    parts = bucket / ".sgwtmp" / "multipart"
    before: list[Path] = []
    while before != (found := [path for path in parts.rglob("*") if path.is_file()]) or not found:
        before = found
        time.sleep(1)  # the server still takes what was sent before the kill
    store.remove_drafts()
    assert not [path for path in parts.rglob("*") if path.is_file()]
    assert list(_blobs(store)) == []


def test_10_2_outputs_in_a_bucket_are_pulled_from_the_receiver(
    bucket: Path, repo: Path, tmp_path: Path
) -> None:
    options = EngineOptions(jobs=2, artifact_store=f"s3://{bucket.name}/p")
    large = os.urandom(20_000_000)
    (tmp_path / "large").write_bytes(large)
    with one_at_a_time() as start:
        up = start(lambda: FyreUp(tmp_path / "root", "127.0.0.1", 0, options=options))
        person = make_person(up, repo)
        sha = person.run(f'cp {tmp_path}/large "$FYRE_OUTPUTS/large"; echo s > "$FYRE_OUTPUTS/s"')
        page = person.final(sha)["target_url"]
        outputs = fetch_outputs(page)
        assert outputs is not None
        folder = tmp_path / "pulled"
        OutputDownload(outputs, folder).run(outputs.select([]))
        assert (folder / "large").read_bytes() == large
        assert (folder / "s").read_text() == "s\n"
        answer = requests.get(
            f"{page}/outputs/large", headers={"Range": "bytes=19999990-"}, timeout=30
        )
        assert (answer.status_code, answer.content) == (206, large[-10:])
        assert requests.head(f"{page}/outputs/large", timeout=30).headers["Content-Length"] == str(
            len(large)
        )
        next(bucket.rglob(f"{outputs.manifest.artifacts[0].sha256[2:]}")).unlink()
        assert requests.get(f"{page}/outputs/large", timeout=30).status_code == 410
    assert not (tmp_path / "root" / "artifacts").exists()


def _blobs(store: ArtifactStore) -> list[StoredObject]:
    return [*store.storage.list_objects("blobs/")]


def _inodes(bucket: Path, store: ArtifactStore) -> dict[str, int]:
    """Return which file each content is in: one that is sent again is in another."""
    prefix = bucket / "some" / "prefix"
    return {one.key: (prefix / one.key).stat().st_ino for one in _blobs(store)}
