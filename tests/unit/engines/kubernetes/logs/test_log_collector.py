"""Logs that are read anew after every lost connection: nothing twice, nothing missed, and what
was rotated is said.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fyre.engines import segmented_log
from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.api_errors import MissingPermissionError, ObjectNotFound
from fyre.engines.kubernetes.logs.container_log import ContainerLog
from fyre.engines.kubernetes.logs.end_mark import EndMarkFilter
from fyre.engines.kubernetes.logs.log_collector import LogCollector
from fyre.engines.kubernetes.logs.log_resume import (
    HEAD_BYTES,
    LOST_MARKER,
    TAIL_BYTES,
    find_missing,
    skip_known,
)
from fyre.engines.kubernetes.pod_secrets import SecretLostError
from fyre.engines.log_store import LogStore
from fyre.errors import TransientError
from tests.support.waiting import until

LINES = st.lists(st.binary(max_size=12), max_size=12)
# Pieces may be empty: what could be a secret's beginning is held back.


def joined(pieces: list[bytes], head: bytes, known: int) -> bytes:
    return b"".join(skip_known(iter(pieces), head, known))


@example(pieces=[b"", b"ab"], known=1, head=1)
@given(pieces=LINES, known=st.integers(0, 200), head=st.integers(0, 60))
def test_what_is_known_and_what_is_new_make_the_whole(
    pieces: list[bytes], known: int, head: int
) -> None:
    whole = b"".join(pieces)
    known = min(known, len(whole))
    head = min(head, known)
    assert whole[:known] + joined(pieces, whole[:head], known) == whole


@given(pieces=LINES, cuts=st.lists(st.integers(0, 150), max_size=5), head=st.integers(0, 20))
@example(pieces=[b"ab", b"cd"], cuts=[1, 0, 4], head=3)
def test_however_often_it_breaks_off(pieces: list[bytes], cuts: list[int], head: int) -> None:
    whole = b"".join(pieces)
    kept = b""
    for cut in [
        *cuts,
        len(whole),
    ]:  # each connection gets so far, from the beginning; and the last one to the end
        so_far = [whole[:cut][at : at + 3] for at in range(0, cut, 3)]
        kept += joined(so_far, kept[:head], len(kept))
    assert kept == whole


@given(before=st.binary(min_size=1, max_size=40), pieces=LINES, head=st.integers(1, 40))
def test_a_rotated_log_is_new_and_said_to_be_incomplete(
    before: bytes, pieces: list[bytes], head: int
) -> None:
    whole = b"".join(pieces)
    known = before[:head]
    assume(not whole.startswith(known) and not known.startswith(whole))
    assert joined(pieces, known, len(before)) == LOST_MARKER + whole


def test_a_log_that_is_gone_says_nothing() -> None:
    assert joined([], b"known", 5) == b""


class Cluster:
    """Where a container's output is read from: one answer for each connection, each of them
    broken off but the last.
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def stream_container_log(
        self, namespace: str, pod: str, container: str, *, follow: bool
    ) -> list[bytes]:
        answer = self.answers.pop(0)
        return [answer[at : at + 7] for at in range(0, len(answer), 7)]


def read(
    tmp_path: Path, cluster: Cluster, *, secrets: list[bytes], cap: int = 1 << 20
) -> tuple[LogCollector, bytes]:
    """A log that was followed over all those connections."""
    logs = LogCollector(cluster, tmp_path / "live", LogStore(str(tmp_path / "kept")), cap)  # type: ignore[arg-type] # all it asks
    source = ContainerLog("ns", "pod", "run", "1-uid", lambda: not cluster.answers)
    logs.start_following("key", source, lambda: secrets)
    assert logs.wait_until_read("key", 30)
    return logs, b"".join(logs.read_log("key", 1, None))


def test_a_followed_log_is_whole_after_lost_connections(tmp_path: Path) -> None:
    whole = b"".join(b"%04d epoch\n" % n for n in range(300))
    _, text = read(tmp_path, Cluster(whole[:5], whole[:3000], whole), secrets=[])
    assert len(whole) > 2 * HEAD_BYTES
    assert text == whole


def test_a_secret_is_struck_out_before_it_reaches_the_disk(tmp_path: Path) -> None:
    text = b"the token is sesame-open, sesame-open\n"
    _, said = read(tmp_path, Cluster(text[:30], text), secrets=[b"sesame-open"])
    assert said == text.replace(b"sesame-open", b"*" * 11)
    assert b"sesame" not in b"".join(path.read_bytes() for path in tmp_path.rglob("log.*"))


def test_a_long_log_keeps_its_head_and_its_tail(tmp_path: Path) -> None:
    whole = b"".join(b"%09d\n" % n for n in range(1000))
    _, text = read(tmp_path, Cluster(whole), secrets=[], cap=1000)
    assert text.startswith(whole[:250])
    assert text.endswith(whole[-250:])
    assert b"bytes are left out here" in text


def test_what_is_kept_is_what_is_read(tmp_path: Path) -> None:
    logs, text = read(tmp_path, Cluster(b"from the pod\n"), secrets=[])
    logs.archive_log("key", iter([text]))
    (tmp_path / "live" / "key" / "1-uid.run" / "log.0").write_bytes(b"other")
    assert b"".join(logs.read_log("key", 1, None)) == text
    logs.remove_archived_files(-1.0)
    assert list((tmp_path / "live").iterdir()) == []
    assert b"".join(logs.read_log("key", 1, None)) == text
    logs.prune_archive(2e10)
    assert b"".join(logs.read_log("key", 1, None)) == b""


def test_a_kept_log_is_whole_for_who_was_reading_it(tmp_path: Path) -> None:
    """Of a run that took long: what it was made of goes a while after the log was kept, not
    after the run began.
    """
    logs, text = read(tmp_path, Cluster(b"%09d\n" * 100), secrets=[], cap=400)
    os.utime(tmp_path / "live" / "key", (1e9, 1e9))
    reader = logs.read_log("key", 1, None)
    first = next(reader)
    logs.archive_log("key", iter([text]))
    logs.remove_archived_files(60.0)
    assert first + b"".join(reader) == text
    logs.remove_archived_files(-1.0, {"key"})  # a key that is run once more
    assert (tmp_path / "live" / "key").exists()


def test_a_store_that_is_away_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(Exception):  # noqa: N818 - as botocore and others have them, which are no OSError
        pass

    def away(*_: object) -> bool:
        raise Away("no route\nto the store")

    logs = LogCollector(
        Cluster(b"said\n"), tmp_path / "live", store := LogStore(str(tmp_path / "kept")), 100
    )  # type: ignore[arg-type] # as above
    with monkeypatch.context() as context:
        context.setattr(store, "has_log", away)
        context.setattr(store, "put_log", away)
        logs.start_following("key", ContainerLog("ns", "pod", "run", "1-uid", lambda: True), list)
        assert logs.wait_until_read("key", 30)
        with pytest.raises(TransientError, match="no route to the store"):
            logs.archive_log("key", iter([b"said\n"]))
        logs.remove_archived_files(-1.0)
    assert b"".join(logs.read_log("key", 1, None)) == b"said\n"


def test_a_disk_that_is_full_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter(
        [True, False, True, False]
    )  # of the pieces: the second is lost at first, the fourth a little later

    class Writer(segmented_log.SegmentedLogWriter):
        def write(self, data: bytes) -> None:
            if next(room, True):
                super().write(data)
            else:
                self.bytes_lost += len(data)

    monkeypatch.setattr(segmented_log, "SegmentedLogWriter", Writer)
    whole = b"".join(b"%04d epoch\n" % number for number in range(8))
    _, text = read(tmp_path, Cluster(*[whole] * 5), secrets=[])
    assert text == whole


def test_a_disk_that_has_no_room_for_a_folder_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "key").touch()  # in the way, as a quota of files would be
    logs = LogCollector(
        Cluster(b"said\n", b"said\n"), tmp_path / "live", LogStore(str(tmp_path / "kept")), 100
    )  # type: ignore[arg-type] # as above
    logs.start_following("key", ContainerLog("ns", "pod", "run", "1-uid", lambda: True), list)
    (tmp_path / "live" / "key").unlink()
    assert logs.wait_until_read("key", 30)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == b"said\n"


@pytest.mark.parametrize(
    "ended", [True, False]
)  # False: a node that is gone, whose pods go with it, at some time
def test_a_log_that_nobody_gives_is_not_asked_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    """A kubelet whose certificate the API server does not take: each log is refused, for as long
    as that lasts.
    """

    class Refusing:
        def stream_container_log(self, *_: str, follow: bool) -> bytes:
            raise TransientError("the API server answered 500: remote error: tls: internal error")

    monkeypatch.setattr("fyre.engines.kubernetes.logs.container_log._GIVE_UP_AFTER", 0.1)
    logs = LogCollector(Refusing(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 100)  # type: ignore[arg-type] # as above
    logs.start_following(
        "key",
        ContainerLog("ns", "pod", "run", "1-uid", lambda: ended, has_run_ended=lambda: not ended),
        list,
    )
    assert logs.wait_until_read("key", 30)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == LOST_MARKER


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["half of", "broken", "gone"], b"half of" + LOST_MARKER),
        (["all of it", "gone"], b"all of it"),  # a pod that goes as soon as its command has ended
        (["gone"], LOST_MARKER),
    ],
)
def test_what_was_still_to_be_read_when_its_pod_went_is_said_to_be_lost(
    tmp_path: Path, answers: list[str], said: bytes
) -> None:
    class Going:
        def stream_container_log(self, *_: str, follow: bool) -> Iterator[bytes]:
            if (answer := answers.pop(0)) == "gone":
                raise ObjectNotFound('pods "p" not found')
            yield answer.encode()
            if answers[0] == "broken":
                answers.pop(0)
                raise TransientError("the log broke off")

    logs = LogCollector(Going(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 1 << 20)  # type: ignore[arg-type] # as above
    logs.start_following(
        "key", ContainerLog("ns", "pod", "run", "1-uid", lambda: not answers), list
    )
    assert logs.wait_until_read("key", 30)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == said


def test_tries_are_told_apart(tmp_path: Path) -> None:
    for name, text in (
        ("1-a.checkout", b"cloning\n"),
        ("2-b.run", b"first\n"),
        ("3-c.run", b"second\n"),
    ):
        (tmp_path / "live" / "key" / name).mkdir(parents=True)
        writer = segmented_log.SegmentedLogWriter(
            str(tmp_path / "live" / "key" / name / "log"), 100
        )
        writer.write(text)
        writer.close()
    logs = LogCollector(Cluster(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 100)  # type: ignore[arg-type] # unused
    assert (
        b"".join(logs.read_log("key", 3, None)) == b"cloning\nfirst\n[fyre: try 2 of 3]\nsecond\n"
    )


def test_half_a_log_says_that_it_is_one(tmp_path: Path) -> None:
    """What this receiver had read when another came to lead, which has kept the whole of it
    somewhere else.
    """
    logs, text = read(tmp_path, Cluster(b"all of it\n"), secrets=[])
    assert b"".join(logs.read_log("key", 1, lambda: False)) == text
    (tmp_path / "live" / "key" / "1-uid.run" / "done").unlink()
    assert b"".join(logs.read_log("key", 1, lambda: False)) == text + LOST_MARKER


def test_a_log_whose_secrets_can_not_be_known_is_not_shown(tmp_path: Path) -> None:
    def lost() -> list[bytes]:
        raise SecretLostError("it is gone")

    logs = LogCollector(Cluster(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 100)  # type: ignore[arg-type] # unused
    logs.start_following("key", ContainerLog("ns", "pod", "run", "1-uid", lambda: True), lost)
    assert logs.wait_until_read("key", 30)
    assert (
        b"".join(logs.read_log("key", 1, None)) == b"[fyre: this log can't be shown: it is gone]\n"
    )


@pytest.mark.parametrize("granted", [True, False], ids=["granted", "pod gone"])
def test_9_30c_a_log_that_may_not_be_read_is_read_once_it_may(
    granted: bool, tmp_path: Path
) -> None:
    """Whether it is the log that is refused, or a secret in it; as long as the pod is there."""
    allowed, gone = threading.Event(), threading.Event()

    def secrets() -> list[bytes]:
        if not allowed.is_set():
            raise MissingPermissionError("no right")
        return []

    told: list[str] = []
    store = LogStore(str(tmp_path / "kept"))
    logs = LogCollector(Cluster(b"all\n"), tmp_path / "live", store, 100, told.append)  # type: ignore[arg-type] # all it asks
    source = ContainerLog("ns", "pod", "run", "1-uid", lambda: True, is_gone=gone.is_set)
    logs.start_following("key", source, secrets)
    until(lambda: logs.find_refusal("key") == "no right")
    note = b"[fyre: this log can't be shown: no right]\n"
    # Nobody waits for it meanwhile.
    assert b"".join(logs.read_log("key", 1, lambda: False)) == note
    (allowed if granted else gone).set()
    assert logs.wait_until_read("key", 30)
    assert logs.find_refusal("key") == ""
    assert told == ["key", "key"]
    assert b"".join(logs.read_log("key", 1, None)) == (b"all\n" if granted else note)


@given(st.binary(min_size=1, max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_what_was_missed_is_what_follows(whole: bytes, known: int, rotated: int) -> None:
    known, rotated = min(known, len(whole)), min(rotated, len(whole))
    kept = whole[:known]
    assert find_missing(whole, kept[:5], known, kept[-8:]) == whole[known:]
    now = whole[rotated:]
    if (
        rotated + len(kept[-8:]) <= known  # else the end of what is known is not in the new file
        and kept[-8:]
        and now.count(kept[-8:]) == 1
        and not now.startswith(kept[:5])
    ):
        assert kept + find_missing(now, kept[:5], known, kept[-8:]) == whole


@pytest.mark.parametrize("known", [40, 1000, 4000, 4096, 5000])
def test_9_30_a_rotated_file_that_had_just_begun_is_read_on(known: int) -> None:
    old, new = (b"".join(b"%d %s\n" % (n, word) for n in range(999)) for word in (b"a", b"b"))
    kept = (old + new)[: len(old) + known]
    assert find_missing(new, kept[:HEAD_BYTES], len(kept), kept[-TAIL_BYTES:]) == new[known:]


def test_9_30_a_file_that_begins_as_the_one_before_is_not_taken_for_it() -> None:
    line, kept = b"same\n", b"same\n" * 3000
    current = line * 1000 + b"new\n"
    found = find_missing(current, kept[:HEAD_BYTES], len(kept), kept[-TAIL_BYTES:])
    assert found.endswith(b"new\n")  # its end was dropped without a word


def test_what_is_gone_is_said_to_be() -> None:
    assert find_missing(b"new", b"old", 3, b"old") == LOST_MARKER + b"new"


def test_a_newest_file_that_is_all_known_adds_nothing() -> None:
    assert find_missing(b"end", b"beginning", 20, b"of the end") == b""


def test_a_newest_file_that_is_empty_says_once_that_something_may_be_lost() -> None:
    assert find_missing(b"", b"beginning", 20, b"of the end") == LOST_MARKER
    assert find_missing(b"", b"beginning", 20, b"of the end" + LOST_MARKER) == b""


def test_a_log_rotated_at_its_end_is_read_to_its_end_once(tmp_path: Path) -> None:
    """The kubelet gives a file that begins otherwise, however often it is asked: that was an
    endless loop.
    """

    class Rotated:
        def stream_container_log(
            self, namespace: str, pod: str, container: str, *, follow: bool
        ) -> Iterator[bytes]:
            return iter([b"0123456789abcdef" * 70_000] if follow else [b"the newest file\n"])

    over = iter([False])  # ends while it is being followed
    source = ContainerLog("ns", "pod", "run", "1-uid", lambda: next(over, True), end_mark=b"none")
    logs = LogCollector(Rotated(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 2**22)  # type: ignore[arg-type] # as above
    logs.start_following("key", source, list)
    assert logs.wait_until_read("key", 60)
    assert b"".join(logs.read_log("key", 1, None)).split(LOST_MARKER)[1:] == [b"the newest file\n"]


MARK = b"\x1b]fyre-end;1\x1b\\\n"


@given(st.lists(st.sampled_from([*(MARK[at : at + 1] for at in range(4)), b"x", MARK])), st.data())
def test_9_24_an_end_mark_is_taken_out_wherever_a_chunk_ends(
    parts: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    filtered = EndMarkFilter(MARK)
    bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
    shown = b"".join(filtered.feed(text[start:end]) for start, end in bounds)
    assert shown + filtered.flush() == text.replace(MARK, b"")
    assert filtered.is_found == (MARK in text)


@pytest.mark.parametrize("is_marked", [True, False])
def test_9_24_the_end_of_a_log_that_comes_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_marked: bool
) -> None:
    """The container's end is reported, and the runtime has not written all of its output yet."""
    monkeypatch.setattr("fyre.engines.kubernetes.logs.container_log._STABLE_CHECK_INTERVAL", 0.01)
    whole = b"one\ntwo\nthree" + (MARK if is_marked else b"")
    answers = [whole[:4], whole[:4]] + [whole[:8]] * (3 if is_marked else 1) + [whole] * 2

    class Late:
        def stream_container_log(self, *_: str, follow: bool) -> list[bytes]:
            return [answers.pop(0)]

    source = ContainerLog(
        "ns", "pod", "run", "1-uid", lambda: True, end_mark=MARK, has_end_mark=lambda: is_marked
    )
    if not is_marked:  # nothing but two equal answers says so
        answers.remove(whole[:4])
    logs = LogCollector(Late(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 1 << 20)  # type: ignore[arg-type] # all it asks
    logs.start_following("key", source, list)
    assert logs.wait_until_read("key", 30)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == b"one\ntwo\nthree"


def test_9_24_an_end_mark_that_version_0_1_has_kept_is_not_shown(tmp_path: Path) -> None:
    mark = job_labels.log_end_mark("key")
    store = LogStore(str(tmp_path / "kept"))
    logs = LogCollector(Cluster(b"all\n" + mark), tmp_path / "live", store, 100)  # type: ignore[arg-type] # all it asks
    (tmp_path / "live" / "key" / "1-uid.run").mkdir(parents=True)
    (tmp_path / "live" / "key" / "1-uid.run" / "log.0").write_bytes(b"all\n" + mark)
    source = ContainerLog("ns", "pod", "run", "1-uid", lambda: True, end_mark=mark)
    logs._cluster.answers *= 2
    logs.start_following("key", source, list)
    assert logs.wait_until_read("key", 30)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == b"all\n" + mark
    logs.archive_log("key", logs.read_log("key", 1, None))
    logs.remove_archived_files(-1.0)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == b"all\n"


def test_9_24_an_end_that_never_comes_is_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.engines.kubernetes.logs.container_log._MARK_TIMEOUT", 0.05)

    class Short:
        def stream_container_log(self, *_: str, follow: bool) -> list[bytes]:
            return [b"one\n"]

    source = ContainerLog(
        "ns", "pod", "run", "1-uid", lambda: True, end_mark=MARK, has_end_mark=lambda: True
    )
    logs = LogCollector(Short(), tmp_path / "live", LogStore(str(tmp_path / "kept")), 1 << 20)  # type: ignore[arg-type] # all it asks
    logs.start_following("key", source, list)
    assert logs.wait_until_read("key", 30)
    assert b"".join(logs.read_log("key", 1, lambda: False)) == b"one\n" + LOST_MARKER


def test_the_last_bytes_of_a_capped_log(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    writer = segmented_log.SegmentedLogWriter(path, 40)
    assert segmented_log.read_tail(path, 8) == b""
    for number in range(7):
        writer.write(b"%05d" % number)
        whole = b"".join(b"%05d" % n for n in range(number + 1))
        assert segmented_log.read_tail(path, 8) == whole[-8:]
    writer.close()
