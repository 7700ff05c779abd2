"""Uploads of pods: what is kept, what is refused, and what a crash or a liar can't do."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.artifacts import upload_listing, upload_token
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.upload_listing import UploadListing
from fyre.artifacts.upload_staging import RefusedUploadError, UploadStaging, WrongOffsetError
from fyre.stored_form import UnreadableError

RUN, POD = "0123456789abcdef0123456789", "8a1b-pod"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listing(**contents: bytes) -> UploadListing:
    files = (
        {"path": path, "size": len(content), "sha256": sha(content), "mode": 0o644}
        for path, content in contents.items()
    )
    return upload_listing.from_lines(lines({}, *files))


def lines(*data: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in data)


@pytest.fixture
def staging(tmp_path: Path) -> UploadStaging:
    return UploadStaging(ArtifactStore(tmp_path / "store"), tmp_path / "uploads")


def test_10_a_listing_is_kept_when_all_that_it_names_came(staging: UploadStaging) -> None:
    wanted = listing(a=b"one", b=b"two")
    assert sorted(staging.put_listing(RUN, POD, wanted)) == sorted([sha(b"one"), sha(b"two")])
    assert staging.listed_pods(RUN) == []
    staging.add_contents(RUN, POD, [b"one", b"two"])
    assert staging.put_listing(RUN, POD, wanted) == []
    assert staging.listed_pods(RUN) == [POD]
    kept = staging.get_listing(RUN, POD)
    assert [one.path for one in kept.artifacts] == ["a", "b"]


def test_10_a_content_that_only_others_sent_is_missing(staging: UploadStaging) -> None:
    """Else a pod would learn which contents other repositories have, and could take them."""
    staging.add_contents(RUN, "other-pod", [b"secret"])
    assert staging.find_missing(RUN, POD, {sha(b"secret"): 6}) == {sha(b"secret"): 0}
    assert staging.put_listing(RUN, POD, listing(stolen=b"secret")) == [sha(b"secret")]


def test_10_a_content_in_pieces_goes_on_where_it_broke_off(
    staging: UploadStaging, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 40
    place: dict[str, Any] = {"size": len(content)}
    staging.add_piece(RUN, POD, sha(content), offset=0, piece=content[:5000], **place)
    later = UploadStaging(ArtifactStore(tmp_path / "store"), tmp_path / "uploads")  # a restart
    assert later.find_missing(RUN, POD, {sha(content): len(content)}) == {sha(content): 5000}
    with pytest.raises(WrongOffsetError) as error:
        later.add_piece(RUN, POD, sha(content), offset=0, piece=content[:5000], **place)
    assert error.value.offset == 5000
    later.add_piece(RUN, POD, sha(content), offset=5000, piece=content[5000:], **place)
    assert later.put_listing(RUN, POD, listing(a=content)) == []
    assert later.find_missing(RUN, POD, {sha(content): len(content)}) == {}


def test_10_a_content_of_another_hash_is_refused_and_nothing_of_it_stays(
    staging: UploadStaging, tmp_path: Path
) -> None:
    with pytest.raises(RefusedUploadError, match="another hash"):
        staging.add_piece(RUN, POD, sha(b"what was said"), size=4, offset=0, piece=b"else")
    assert not list(tmp_path.rglob("*.part"))
    assert staging.put_listing(RUN, POD, listing(a=b"what was said"))


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/passwd",
        ".git/hooks/post-checkout",
        "a/../../x",
        "",
        "a//b",
        "a\0b",
        ".",
        "x" * 5000,
    ],
)
def test_10_a_listing_with_a_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(UnreadableError):
        listing(**{path: b"x"})


FILE = {"path": "a", "size": 1, "sha256": "0" * 64, "mode": 0}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        lines(None),
        lines([]),
        lines({"artifacts": []}),
        lines({}, {"path": "a"}),
        lines({}, {**FILE, "sha256": "x"}),
        lines({"problems": 7}),
        lines({"metrics": 7}),
        lines({"version": 99}),
        lines({}, FILE, FILE),
        lines({}, FILE, {**FILE, "path": "a/b"}),
        lines({}, []),
        b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b"{}\n" + b"[],"[:1] * 100_000,
    ],
)
def test_10_a_listing_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        upload_listing.from_lines(body)


def test_10_a_content_that_came_whole_just_before_a_crash_is_not_sent_again(
    staging: UploadStaging, tmp_path: Path
) -> None:
    content = b"all of it"
    staging.add_piece(RUN, POD, sha(content), size=99, offset=0, piece=content)
    later = UploadStaging(ArtifactStore(tmp_path / "store"), tmp_path / "uploads")
    assert later.find_missing(RUN, POD, {sha(content): len(content)}) == {}
    assert later.put_listing(RUN, POD, listing(a=content)) == []
    later.add_piece(RUN, POD, sha(b"other"), size=99, offset=0, piece=b"wrong")
    again = UploadStaging(ArtifactStore(tmp_path / "store"), tmp_path / "uploads")
    assert again.find_missing(RUN, POD, {sha(b"other"): 5}) == {sha(b"other"): 0}


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "a\0", "\ud800", "x" * 5000, ""])
def test_10_only_hashes_are_asked_for(staging: UploadStaging, name: str) -> None:
    with pytest.raises(RefusedUploadError):
        staging.find_missing(RUN, POD, {name: 1})


def test_10_a_nearly_full_disk_takes_nothing(
    staging: UploadStaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    for send in (
        lambda: staging.add_contents(RUN, POD, [b"x"]),
        lambda: staging.add_piece(RUN, POD, sha(b"x"), size=1, offset=0, piece=b"x"),
    ):
        with pytest.raises(OSError, match="No space left"):
            send()


def test_10_what_did_not_come_whole_goes_with_the_end_of_its_run(
    staging: UploadStaging, tmp_path: Path
) -> None:
    staging.add_contents(RUN, POD, [b"x"])
    staging.put_listing(RUN, POD, listing(a=b"x"))
    staging.add_piece(RUN, POD, sha(b"yy"), size=2, offset=0, piece=b"y")
    staging.remove_parts(RUN)
    assert not list(tmp_path.rglob("*.part"))
    assert staging.listed_pods(RUN) == [POD]
    staging.remove_strangers({"another"})
    assert staging.listed_pods(RUN) == []


@pytest.mark.parametrize("name", ["..", "a/b", "", "x" * 65, "a\0"])
def test_10_no_name_leads_out_of_the_folder(staging: UploadStaging, name: str) -> None:
    for run, pod in ((name, POD), (RUN, name)):
        with pytest.raises(RefusedUploadError):
            staging.add_contents(run, pod, [b"x"])
    with pytest.raises(RefusedUploadError):
        staging.add_piece(RUN, POD, name, size=1, offset=0, piece=b"x")


def test_10_a_content_that_vanished_from_the_store_is_sent_again(
    staging: UploadStaging, tmp_path: Path
) -> None:
    staging.add_contents(RUN, POD, [b"x"])
    (blob,) = (path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file())
    blob.unlink()
    assert staging.put_listing(RUN, POD, listing(a=b"x")) == [sha(b"x")]
    assert staging.find_missing(RUN, POD, {sha(b"x"): 1}) == {sha(b"x"): 0}


def test_10_a_run_is_forgotten_as_a_whole(staging: UploadStaging, tmp_path: Path) -> None:
    staging.add_contents(RUN, POD, [b"x"])
    staging.put_listing(RUN, POD, listing(a=b"x"))
    staging.remove_run(RUN)
    assert staging.listed_pods(RUN) == []
    assert not list((tmp_path / "uploads").iterdir())


@given(st.text(max_size=80))
def test_10_no_text_is_a_token_of_a_run(text: str) -> None:
    assert not upload_token.is_upload_token(b"secret", RUN, text)
    token = upload_token.create_upload_token(b"secret", RUN)
    assert upload_token.is_upload_token(b"secret", RUN, token)
    assert not upload_token.is_upload_token(b"secret", RUN[::-1], token)
