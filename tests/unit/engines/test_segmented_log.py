"""The log of bounded size: what is kept, what is said to be left out, and a disk without room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fyre.engines import run_log, segment_reader, segmented_log


def read_log(path: Path | str, offset: int = 0) -> bytes:
    return b"".join(run_log.join_pieces(segment_reader.read_pieces(str(path), offset), offset))


def test_b17_a_log_is_read_from_every_offset(tmp_path: Path) -> None:
    writer = segmented_log.SegmentedLogWriter(str(tmp_path / "log"), 40)
    whole = b"".join(b"%02d" % number for number in range(19))
    for offset in range(len(whole)):
        writer.write(whole[offset : offset + 1])
        assert segment_reader.end_offset(str(tmp_path / "log")) == offset + 1
        assert read_log(tmp_path / "log", offset) == whole[offset : offset + 1]
    for offset in range(len(whole) + 2):
        assert read_log(tmp_path / "log", offset) == whole[offset:]


def test_9_12_a_segment_that_is_no_file_is_passed_over_and_not_waited_for(tmp_path: Path) -> None:
    first, second = tmp_path / "log.0", tmp_path / "log.1"
    second.write_bytes(b"on")
    for make in (Path.mkdir, lambda path: path.symlink_to(second), os.mkfifo):
        make(first)
        assert read_log(tmp_path / "log") == b"on"
        first.rename(tmp_path / f"before-{make.__name__}")
    os.mkfifo(first)
    second.unlink()
    assert (segment_reader.end_offset(str(tmp_path / "log")), read_log(tmp_path / "log")) == (
        0,
        b"",
    )
    segmented_log.SegmentedLogWriter(str(tmp_path / "log"), 40).write(b"abc")
    assert read_log(tmp_path / "log") == b"abc"


def test_b17_offsets_count_what_was_dropped(tmp_path: Path) -> None:
    writer = segmented_log.SegmentedLogWriter(str(tmp_path / "log"), 40)
    writer.write(b"".join(b"%010d" % number for number in range(9)) + b"end")
    pieces = list(segment_reader.read_pieces(str(tmp_path / "log"), 15))
    assert pieces == [
        run_log.LogPiece(15, b"00001"),
        run_log.LogPiece(80, b"%010d" % 8),
        run_log.LogPiece(90, b"end"),
    ]
    assert read_log(tmp_path / "log", 40).startswith(b"\n[fyre: 40 bytes are left out here]\n000")
    assert read_log(tmp_path / "log", 91) == b"nd"


def test_b17_what_is_written_while_a_segment_is_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment is read to its end; then it is completed, and the next one begun."""
    path = str(tmp_path / "log")
    writer = segmented_log.SegmentedLogWriter(path, 40)
    writer.write(b"01234")
    find, rest = segmented_log.next_segment_number, [b"56789ab"]

    def write_then_find(path: str, number: int) -> int | None:
        if number == 0 and rest:
            writer.write(rest.pop())
        return find(path, number)

    monkeypatch.setattr(segmented_log, "next_segment_number", write_then_find)
    assert read_log(path) == b"0123456789ab"


def test_a_full_disk_loses_the_log_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = segmented_log.SegmentedLogWriter(str(tmp_path / "log"), 1000)
    writer.write(b"kept")
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(writer, "_file", full)
    writer.write(b"lost")
    assert writer.bytes_lost == 4
    assert read_log(tmp_path / "log") == b"kept"
    writer.close()


def test_a_segment_dropped_while_it_is_opened_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "log")
    writer = segmented_log.SegmentedLogWriter(path, 40)
    writer.write(b"".join(b"%010d" % n for n in range(8)))
    find = segmented_log.next_segment_number

    def find_then_drop(path: str, number: int) -> int | None:
        found = find(path, number)
        if found == 6:  # the writer has gone on to the segment after the last, and drops this one
            Path(segmented_log.segment_path(path, 6)).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(segmented_log, "next_segment_number", find_then_drop)
    log = read_log(path)
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
    assert read_log(folder / "log") == b"a" * 10 + b"c"
