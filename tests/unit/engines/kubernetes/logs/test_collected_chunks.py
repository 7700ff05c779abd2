"""A log's chunks, collected by a thread: none is lost, and the thread always ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fyre.engines.kubernetes.logs import collected_chunks
from fyre.engines.kubernetes.logs.collected_chunks import MAX_BYTES, collect_chunks
from fyre.errors import TransientError
from tests.support.waiting import until


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "log-chunks"]


def test_9_6_many_lines_are_few_chunks_and_none_is_lost() -> None:
    lines = [b"%d epoch\n" % number for number in range(20_000)]
    chunks = list(collect_chunks(lines))
    assert b"".join(chunks) == b"".join(lines)
    assert max(map(len, chunks)) < MAX_BYTES + 20
    assert len(chunks) < len(lines) / 100
    assert list(collect_chunks([])) == []
    assert list(collect_chunks([b""])) == [b""], "an answer without a body is one"


def test_9_6_what_came_before_an_error_is_taken_before_it_is_raised() -> None:
    def breaking_off() -> Iterator[bytes]:
        yield from (b"one\n", b"two\n")
        raise TransientError("the log broke off")

    taken: list[bytes] = []
    with pytest.raises(TransientError, match="broke off"):
        taken.extend(collect_chunks(breaking_off()))
    assert b"".join(taken) == b"one\ntwo\n"


def test_9_6_a_chunk_is_taken_before_the_next_one_comes() -> None:
    more = threading.Event()

    def slow() -> Iterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            assert more.wait(30)
            more.clear()

    chunks = collect_chunks(slow())
    for number in range(3):
        assert next(chunks) == b"%d" % number
        more.set()
    assert next(chunks, None) is None


def test_9_6_no_more_is_read_than_what_is_taken_and_the_thread_ends() -> None:
    read: list[int] = []
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                read.append(1)
                yield b"x" * 1000
        finally:
            closed.set()

    chunks = collect_chunks(endless())
    next(chunks)
    until(lambda: len(read) > MAX_BYTES // 1000, 30)
    chunks.close()
    assert closed.wait(30)
    assert len(read) <= 2 * MAX_BYTES // 1000 + 2
    until(lambda: not reading_threads(), 30)


def test_9_6_who_waits_for_a_chunk_in_vain_is_interrupted() -> None:
    class Silent(Iterator[bytes]):
        def __init__(self) -> None:
            self.is_first, self.interrupted = True, threading.Event()

        def __next__(self) -> bytes:
            if not self.is_first:
                assert self.interrupted.wait(30)
                raise TransientError("interrupted")
            self.is_first = False
            return b"first"

        def interrupt(self) -> None:
            self.interrupted.set()

    assert isinstance(Silent(), collected_chunks.Interruptible)
    chunks = collect_chunks(Silent())
    assert next(chunks) == b"first"
    chunks.close()
    until(lambda: not reading_threads(), 30)
