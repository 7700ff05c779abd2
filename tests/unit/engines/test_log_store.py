"""Kept logs: put, read again, replaced, dropped when they are old; in a folder and where fsspec
has no folders.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from fyre.engines.log_store import LogStore
from fyre.errors import UserError

_numbers = itertools.count()


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LogStore:
    return LogStore(
        str(tmp_path / "a" / "logs")
        if request.param == "folder"
        else f"memory://logs-{next(_numbers)}"
    )


def log(store: LogStore, key: str) -> bytes:
    pieces = store.get_log(key)
    assert pieces is not None
    return b"".join(pieces)


def breaking_off() -> Iterator[bytes]:
    yield b"half of it"
    raise OSError("the disk is full")


def test_what_is_put_is_got(store: LogStore) -> None:
    assert not store.has_log("k")
    assert store.get_log("k") is None
    store.put_log("k", iter([b"one\n", b"", b"two\n" * 200_000]))
    assert store.has_log("k")
    assert log(store, "k") == b"one\n" + b"two\n" * 200_000
    assert not store.has_log("other")


def test_an_empty_log_is_kept_too(store: LogStore) -> None:
    store.put_log("k", iter(()))
    assert store.has_log("k")
    assert log(store, "k") == b""


def test_a_later_one_replaces_the_earlier(store: LogStore) -> None:
    store.put_log("k", [b"first, and longer"])
    store.put_log("k", [b"second"])
    assert log(store, "k") == b"second"


def test_a_put_that_fails_leaves_the_old_one(store: LogStore) -> None:
    store.put_log("k", [b"old"])
    with pytest.raises(OSError, match="full"):
        store.put_log("k", breaking_off())
    assert log(store, "k") == b"old"
    store.put_log("k", [b"new"])
    assert log(store, "k") == b"new"


def test_a_first_put_that_fails_keeps_nothing(store: LogStore) -> None:
    with pytest.raises(OSError, match="full"):
        store.put_log("k", breaking_off())
    assert not store.has_log("k")
    assert store.get_log("k") is None


def test_old_logs_are_dropped_and_what_was_never_finished_too(tmp_path: Path) -> None:
    store = LogStore(str(tmp_path))
    store.put_log("old", [b"old"])
    store.put_log("young", [b"young"])
    with pytest.raises(OSError, match="full"):
        store.put_log("broken", breaking_off())
    for path in tmp_path.iterdir():
        when = 2000 if path.name.startswith("young") else 1000
        os.utime(path, (when, when))
    store.prune_logs(2000)
    assert [path.name for path in tmp_path.iterdir()] == ["young.zst"]


def test_where_all_is_young_nothing_is_dropped(store: LogStore) -> None:
    store.put_log("k", [b"young"])
    store.prune_logs(1000)
    assert store.has_log("k")


def test_the_file_is_one_that_zstd_reads(tmp_path: Path) -> None:
    LogStore(str(tmp_path)).put_log("k", [b"hello\n" * 1000])
    packed = (tmp_path / "k.zst").read_bytes()
    assert len(packed) < 200
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == b"hello\n" * 1000


@pytest.mark.parametrize("url", ["nowhere://key:secret@bucket", "s3://key:secret@bucket/logs"])
def test_a_storage_that_is_not_to_be_had_is_a_mistake_that_can_be_mended(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    with pytest.raises(UserError) as refused:
        LogStore(url)
    assert url.partition("://")[0] in refused.value.message
    assert "secret" not in refused.value.message + refused.value.hint
