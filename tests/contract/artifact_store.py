"""What every artifact store does, wherever it keeps its objects: a suite to subclass."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fyre.artifacts import manifest as manifests
from fyre.artifacts import object_storage
from fyre.artifacts.artifact_store import ArtifactStore, UnreadableFileError
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.runs.results import RunResults
from fyre.runs.run import Repository

KEY = "ab" * 13


def make_manifest(key: str, artifacts: dict[str, bytes], **fields: object) -> RunManifest:
    """Return a manifest of a run that kept these contents."""
    listed = tuple(
        Artifact(path, len(content), hashlib.sha256(content).hexdigest(), 0o644)
        for path, content in artifacts.items()
    )
    size = sum(one.size for one in listed)
    manifest = RunManifest(
        key,
        Repository("http://forge", 1, "ada/lab", "main"),
        "a1" * 20,
        "train",
        1,
        1.5,
        listed,
        RunResults(len(listed), size),
    )
    return replace(manifest, **fields)  # type: ignore[arg-type]


def store_files(store: ArtifactStore, folder: Path, artifacts: dict[str, bytes]) -> None:
    """Store contents, from files that have them."""
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(artifacts.values()):
        path = folder / str(number)
        path.write_bytes(content)
        assert store.add_file(path).sha256 == hashlib.sha256(content).hexdigest()


class ArtifactStoreContract:
    """The contract. ``store`` is a fixture with an empty store."""

    def test_10_2_a_content_is_stored_once_and_read_from_any_byte(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        content = os.urandom(300_000)
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(content)
            blob = store.add_file(tmp_path / name)
        assert (blob.sha256, blob.size) == (hashlib.sha256(content).hexdigest(), 300_000)
        assert [one.size for one in store.storage.list_objects("blobs/")] == [300_000]
        assert b"".join(store.read_blob(blob.sha256)) == content
        assert b"".join(store.read_blob(blob.sha256, 5, 250_001)) == content[5:250_001]
        assert b"".join(store.read_blob(blob.sha256, 299_999)) == content[-1:]
        with store.open_blob(blob.sha256) as file:
            assert file.read() == content

    def test_10_2_no_content_and_no_manifest_are_told_apart_from_trouble(
        self, store: ArtifactStore
    ) -> None:
        assert not store.has_blob("ab" * 32)
        with pytest.raises(FileNotFoundError):
            next(store.read_blob("ab" * 32))
        with pytest.raises(FileNotFoundError):
            store.open_blob("ab" * 32)
        assert store.get_manifest("nobody") is None

    def test_10_2_a_content_in_memory_is_stored_as_one_of_a_file(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        blob = store.add_bytes(b"in memory")
        store.flush_blobs({blob.sha256})
        store_files(store, tmp_path / "in", {"a": b"in memory"})
        assert store.add_bytes(b"in memory") == blob
        assert [one.size for one in store.storage.list_objects("blobs/")] == [9]
        assert b"".join(store.read_blobs([blob, blob])) == 2 * b"in memory"

    def test_10_2_an_empty_content_is_one(self, store: ArtifactStore, tmp_path: Path) -> None:
        store_files(store, tmp_path / "in", {"a": b""})
        sha256 = hashlib.sha256(b"").hexdigest()
        assert store.blob_size(sha256) == 0
        assert b"".join(store.read_blob(sha256)) == b""

    def test_10_2_a_manifest_stays_as_the_first_one_was(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        store_files(store, tmp_path / "in", {"a": b"first"})
        first = make_manifest(KEY, {"a": b"first"})
        store.put_manifest(first)
        store.put_manifest(replace(first, sealed_at=9.0))
        assert store.get_manifest(KEY) == first

    def test_10_2_no_manifest_names_a_content_that_is_not_there(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        store_files(store, tmp_path / "in", {"a": b"stored"})
        with pytest.raises(FileNotFoundError):
            store.put_manifest(make_manifest(KEY, {"a": b"stored", "b": b"never stored"}))
        of_another_size = make_manifest(KEY, {"a": b"stored"})
        (artifact,) = of_another_size.artifacts
        with pytest.raises(FileNotFoundError):
            store.put_manifest(replace(of_another_size, artifacts=(replace(artifact, size=7),)))
        assert store.get_manifest(KEY) is None

    def test_10_2_files_come_out_as_they_went_in(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        files = {f"d{n % 3}/{n}": os.urandom(n * 100) for n in range(40)}
        sources = []
        for number, content in enumerate(files.values()):
            sources.append(tmp_path / f"f{number}")
            sources[-1].write_bytes(content)
        blobs = list(store.add_files([*sources, tmp_path / "none", tmp_path]))
        assert [one.sha256 for one in blobs[:-2]] == [  # type: ignore[union-attr]
            hashlib.sha256(content).hexdigest() for content in files.values()
        ]
        assert [str(one) for one in blobs[-2:]] == ["No such file or directory", "no regular file"]
        manifest = make_manifest(KEY, files)
        store.put_manifest(manifest)
        (tmp_path / "out").mkdir()
        store.copy_out(manifest, tmp_path / "out")
        assert {path: (tmp_path / "out" / path).read_bytes() for path in files} == files

    def test_10_2_a_file_that_is_written_to_meanwhile_is_not_stored(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        path = tmp_path / "growing"
        path.write_bytes(os.urandom(9_000_000))
        pieces = []

        def grow() -> None:
            pieces.append(1)
            if len(pieces) in (4, 12):
                with path.open("r+b") as file:
                    file.write(os.urandom(8))

        with pytest.raises(UnreadableFileError):
            store.add_file(path, grow)
        assert list(store.storage.list_objects("blobs/")) == []

    def test_10_2_a_stop_in_the_middle_leaves_nothing_half(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        path = tmp_path / "large"
        path.write_bytes(os.urandom(9_000_000))

        def stop() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.add_file(path, stop)
        assert list(store.storage.list_objects("blobs/")) == []

    def test_10_2_a_signed_request_is_tied_to_one_content(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        content = b"what was promised"
        sha256 = hashlib.sha256(content).hexdigest()
        upload = store.sign_upload(sha256, len(content), 60)
        if upload is None:
            assert store.sign_download(sha256, 60) is None
            return
        for other in (b"what was not said", b"longer than promised"):
            headers = {**upload.headers, "content-length": str(len(other))}
            assert requests.put(upload.url, other, headers=headers, timeout=30).status_code >= 400
        assert not store.has_blob(sha256)
        elsewhere = upload.url.replace(sha256[2:], "0" * 62)
        refusal = requests.put(elsewhere, content, headers=upload.headers, timeout=30)
        assert refusal.status_code == 403
        answer = requests.put(upload.url, content, headers=upload.headers, timeout=30)
        assert answer.status_code == 200
        assert store.has_blob(sha256, len(content))
        url = store.sign_download(sha256, 60)
        assert url is not None
        part = requests.get(url, headers={"Range": "bytes=5-"}, timeout=30)
        assert (part.status_code, part.content) == (206, content[5:])
        assert requests.delete(url, timeout=30).status_code == 403

    def test_10_2_what_is_listed_can_be_deleted(self, store: ArtifactStore, tmp_path: Path) -> None:
        store_files(store, tmp_path / "in", {"a": b"x", "b": b"y"})
        for one in [*store.storage.list_objects("blobs/")]:
            store.storage.delete_object(one.key)
            store.storage.delete_object(one.key)
        assert list(store.storage.list_objects("blobs/")) == []
        assert list(store.storage.list_objects("nothing/")) == []

    @settings(
        max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @given(content=st.binary(min_size=1, max_size=300), data=st.data())
    def test_10_2_any_range_is_that_of_the_content(
        self, store: ArtifactStore, tmp_path: Path, content: bytes, data: st.DataObject
    ) -> None:
        start = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(start, len(content)) | st.none())
        store_files(store, tmp_path / "in", {"a": content})
        sha256 = hashlib.sha256(content).hexdigest()
        assert b"".join(store.read_blob(sha256, start, end)) == content[start:end]

    def test_10_2_a_damaged_content_or_manifest_is_noticed(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        store_files(store, tmp_path / "in", {"a": b"good"})
        manifest = make_manifest(KEY, {"a": b"good"})
        store.put_manifest(manifest)
        sha256 = manifest.artifacts[0].sha256
        store.storage.replace_object(object_storage.blob_key(sha256), b"evil")
        with pytest.raises(OSError, match="damaged"):
            store.open_blob(sha256)
        (tmp_path / "out").mkdir()
        with pytest.raises(OSError, match="damaged"):
            store.copy_out(manifest, tmp_path / "out")
        store.storage.replace_object(f"manifests/{KEY}.json", b'{"half a manif')
        assert store.get_manifest(KEY) is None
        assert manifests.to_json(manifest)["run_key"] == KEY
