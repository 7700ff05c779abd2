"""The log of bounded size: what is kept, what is said to be left out, and a disk without room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fyre.engines import segmented_log


def test_a_silent_log_yields_nothing_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmented_log, "_HEARTBEAT_INTERVAL", 0.1)
    writer = segmented_log.SegmentedLogWriter(str(tmp_path / "log"), 1000)
    writer.write(b"one")
    pieces = segmented_log.read_segments(str(tmp_path / "log"), lambda: True)
    assert [next(pieces), next(pieces), next(pieces)] == [b"one", b"", b""]
    writer.write(b"two")
    assert next(piece for piece in pieces if piece) == b"two"
    pieces.close()
    writer.close()


def test_a_full_disk_loses_the_log_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = segmented_log.SegmentedLogWriter(str(tmp_path / "log"), 1000)
    writer.write(b"kept")
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(writer, "_file", full)
    writer.write(b"lost")
    assert writer.bytes_lost == 4
    assert b"".join(segmented_log.read_segments(str(tmp_path / "log"))) == b"kept"
    writer.close()


def test_a_segment_dropped_while_it_is_opened_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "log")
    writer = segmented_log.SegmentedLogWriter(path, 40)
    writer.write(b"".join(b"%010d" % n for n in range(8)))
    find = segmented_log._next_segment_number

    def find_then_drop(path: str, number: int) -> int | None:
        found = find(path, number)
        if found == 6:  # the writer has gone on to the segment after the last, and drops this one
            Path(segmented_log.segment_path(path, 6)).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(segmented_log, "_next_segment_number", find_then_drop)
    log = b"".join(segmented_log.read_segments(path))
    writer.close()
    assert log == b"%010d%010d\n[fyre: 50 bytes are left out here]\n%010d" % (0, 1, 7)


def test_a_disk_without_room_for_a_segment_costs_bytes_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = segmented_log.SegmentedLogWriter(str(folder / "log"), 40)
    folder.rename(tmp_path / "away")
    writer.write(b"a" * 10 + b"b" * 5)
    assert writer.bytes_lost == 5
    (tmp_path / "away").rename(folder)
    writer.write(b"c")
    writer.close()
    assert b"".join(segmented_log.read_segments(str(folder / "log"))) == b"a" * 10 + b"c"
