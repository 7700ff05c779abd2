"""Listings that have no end, or an entry that nobody can read."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from fyre.controller.comment_poller import CommentPoller
from fyre.errors import TransientError
from fyre.github import listings
from fyre.runs.run import Repository
from tests.integration.github.test_client import SHA, Broken, broken

__all__ = ["broken"]  # a fixture

PUSHED = {
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": SHA,
    "timestamp": "2026-01-01T00:00:00Z",
    "actor": {"login": "ada"},
}


def answer(broken: Broken, entries: Any, next_page: str = "") -> None:
    broken.body = json.dumps(entries).encode()
    broken.headers = {"Link": f'<{broken.url}{next_page}>; rel="next"'} if next_page else {}


def test_9_12_a_page_that_leads_to_itself_is_read_once(
    broken: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    answer(broken, [PUSHED], "/repos/ada/lab/activity?per_page=100")
    listed = broken.forge().list_ref_updates(broken.repository(), 0)
    assert [update.after for update in listed.updates] == [SHA]
    assert len(broken.seen) == 1
    assert "come to no end" in caplog.text


def test_9_12_pages_that_never_end_are_asked_for_up_to_a_bound(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "PAGES_MAX", 3)
    monkeypatch.setattr(
        "fyre.github.rest_client._next_page", lambda _: f"{broken.url}/{len(broken.seen)}"
    )
    answer(broken, [PUSHED])
    with pytest.raises(TransientError):  # half of an answer is none
        broken.forge().get_all_entries("entries", broken.repository(), "/first")
    assert len(broken.seen) == 3
    assert broken.forge().list_ref_updates(broken.repository(), 0).updates
    assert len(broken.seen) == 6


def test_9_12_statuses_that_come_again_and_again_come_to_an_end(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "REPEATED_MAX", 3)
    status = {"id": 1, "state": "success", "context": "fyre/run", "created_at": PUSHED["timestamp"]}
    answer(broken, [status], f"/repos/ada/lab/commits/{SHA}/statuses?page=1")
    with pytest.raises(TransientError):
        broken.forge().list_statuses(broken.repository(), SHA)
    assert len(broken.seen) == 5


def test_9_3_one_update_that_can_not_be_read_is_left_out_with_a_line(
    broken: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [{**PUSHED, "timestamp": None}, None, "x", {**PUSHED, "timestamp": "soon"}]
    answer(broken, [bad[0], PUSHED, *bad[1:]])
    listed = broken.forge().list_ref_updates(broken.repository(), 0)
    assert [update.after for update in listed.updates] == [SHA]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the activity of ada/lab: 4 entries left out" in caplog.text


@pytest.mark.parametrize("entries", [[{}], {}, [None]])
def test_9_3_an_answer_without_sense_is_still_asked_for_again(broken: Broken, entries: Any) -> None:
    answer(broken, entries)
    with pytest.raises(TransientError):
        broken.forge().list_ref_updates(broken.repository(), 0)


def test_9_3_one_repository_that_can_not_be_read_keeps_no_other(broken: Broken) -> None:
    named = {"id": 1, "full_name": "ada/lab", "default_branch": "main"}
    answer(broken, [{"id": 7}, named])
    assert [one.name for one in broken.forge().list_repositories()] == ["ada/lab"]


def test_9_3_one_comment_that_can_not_be_read_keeps_no_other(broken: Broken) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    said = {
        "id": 1,
        "body": "/fyre run",
        "created_at": now,
        "updated_at": now,
        "commit_id": SHA,
        "user": {"login": "ada"},
        "html_url": f"{broken.url}/ada/lab/commit/{SHA}#1",
    }
    answer(broken, [{**said, "created_at": None}, said, {**said, "html_url": None}])
    forge = broken.forge()
    forge._login = "fyre"
    repository = Repository(broken.url, 1, "ada/lab")
    assert [one.comment_id for one in CommentPoller(forge).poll_commands(repository, 0)] == [1]
