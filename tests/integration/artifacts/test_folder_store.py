"""The artifact store in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fyre.artifacts.artifact_store import ArtifactStore, open_store
from fyre.errors import UserError
from tests.contract.artifact_store import ArtifactStoreContract


class TestFolderStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return open_store(f"file://{tmp_path}/a%20store")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("s3://key:secret@bucket/x", "the artifact store's URL, s3://…, holds more than a place"),
        ("s3://bucket/x?key=secret", "the artifact store's URL, s3://…, holds more than a place"),
        ("ftp://host/x", "outputs can't be kept at ftp://"),
        ("s3://", "s3:// is no bucket that outputs can be kept in"),
        ("/dev/null/x", "outputs can't be kept in /dev/null/x: Not a directory"),
    ],
)
def test_10_2_a_place_that_is_none_is_refused_without_its_secret(place: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        open_store(place)
    assert caught.value.message.startswith(problem)
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


def test_9_12_a_pipe_in_the_place_of_a_content_is_none_and_not_waited_for(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "store" / "manifests").mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "store" / "manifests" / "a")
    with pytest.raises(FileNotFoundError):
        next(store.storage.read_object("manifests/a"))
