"""An answer that never ends holds nobody for longer than a request may take in total."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fyre import http_deadline, http_session
from fyre.errors import TransientError
from fyre.git import lfs
from fyre.git.lfs import LfsObject, LfsObjectStore
from fyre.github import pygithub_session
from fyre.github.client import GitHubClient
from fyre.local_forge.webhooks import webhook_sender
from fyre.local_forge.webhooks.webhook_sender import WebhookSender
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository
from tests.support.trickling import ANSWERS, Trickling, trickling

SECONDS = 0.1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trickling]:
    monkeypatch.setattr(pygithub_session, "REQUEST_SECONDS", SECONDS)
    monkeypatch.setattr(http_deadline, "REQUEST_SECONDS", SECONDS)
    with trickling() as server:
        yield server


@pytest.mark.parametrize("answer", ANSWERS)
def test_9_12_a_request_ends_whatever_trickles(slow: Trickling, answer: str) -> None:
    slow.answer = answer
    with http_session.open_session(SECONDS) as session:
        for _ in range(2):  # the second one has a time of its own
            with pytest.raises(requests.ReadTimeout) as caught:
                session.get(slow.url, timeout=30)
    assert http_session.describe_failure(caught.value) == f"{slow.url} does not answer in time"


def test_9_12_a_streamed_body_ends_with_the_time_around_it(slow: Trickling) -> None:
    with http_session.open_session() as session, http_deadline.bound_requests(SECONDS) as deadline:
        answer = session.get(slow.url, stream=True, timeout=30)
        with pytest.raises(requests.RequestException):
            _ = answer.content
    assert deadline.is_over


@pytest.mark.parametrize("answer", ANSWERS)
def test_9_12_a_status_that_the_forge_answers_for_ever_is_posted_later(
    slow: Trickling, answer: str
) -> None:
    slow.answer = answer
    repository = Repository(slow.url, 1, "ada/lab")
    forge = GitHubClient(slow.url, lambda: "token")
    with pytest.raises(TransientError, match="does not answer in time"):
        forge.create_status(repository, "a" * 40, CommitStatus("fyre/run", "success", "exit 0"))
    assert [line.split()[0] for line in slow.requests].count(b"POST") == 1


def test_9_12_a_sweep_goes_on_after_a_repository_that_answers_for_ever(slow: Trickling) -> None:
    forge = GitHubClient(slow.url, lambda: "token")
    with pytest.raises(TransientError, match="does not answer in time"):
        forge.list_ref_updates(Repository(slow.url, 1, "ada/lab"), 0)


def test_9_12_git_lfs_answers_end_in_time(
    slow: Trickling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "DOWNLOAD_SECONDS", SECONDS)
    wanted = LfsObject("a" * 64, 1)
    proxy = LfsObjectStore(lambda _: (f"{slow.url}/ada/lab", ""))
    with pytest.raises(TransientError):
        proxy._request_links(1, [wanted])
    proxy._download_links[1, wanted.oid] = {"href": slow.url}
    with pytest.raises(TransientError):
        proxy._fetch_object(1, tmp_path / "object", wanted)
    assert len(slow.requests) == 2


@pytest.mark.parametrize("answer", ANSWERS)
def test_9_12_a_delivery_ends_in_time_and_is_not_made_twice(
    slow: Trickling, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    slow.answer = answer
    monkeypatch.setattr(webhook_sender, "DELIVERY_TIMEOUT", SECONDS)
    result = WebhookSender(slow.url).send_delivery({}, b"{}")
    assert (result.status_code, result.reason) == (0, "no whole response within 0.1 s")
    assert len(slow.requests) == 1
