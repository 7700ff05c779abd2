"""A delivery: its signature first, then its meaning; nothing of a forged one is looked at."""

import contextlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.github import webhook
from fyre.github.webhook import (
    CommentEvent,
    IgnoredEvent,
    PayloadError,
    PullRequestEvent,
    PushEvent,
    SignatureError,
)

SECRET = b"It's a Secret to Everybody"
SHA, BEFORE, ZERO = "a" * 40, "b" * 40, "0" * 40
PUSH = {
    "ref": "refs/heads/main",
    "before": BEFORE,
    "after": SHA,
    "deleted": False,
    "created": False,
    "commits": [{"id": SHA}],
    "head_commit": {"id": SHA},
    "repository": {"id": 7, "full_name": "ada/lab", "default_branch": "main"},
    "sender": {"login": "ada"},
}
COMMENT = {
    "action": "created",
    "comment": {
        "id": 9,
        "commit_id": SHA,
        "body": "/fyre rerun",
        "created_at": "2026-01-02T03:04:05Z",
    },
    "repository": PUSH["repository"],
    "sender": {"login": "ada"},
}


def parse(event: str, data: Any) -> webhook.Event:
    return webhook.parse_event(
        "http://forge/api", {"x-github-event": event}, json.dumps(data).encode()
    )


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret, body, "sha256").hexdigest()}


def test_the_example_of_githubs_documentation_verifies() -> None:
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    webhook.verify_signature([SECRET], {"x-hub-signature-256": expected}, b"Hello, World!")


def test_either_of_two_secrets_will_do_while_one_replaces_the_other() -> None:
    webhook.verify_signature([b"new", SECRET], signed(b"x"), b"x")


@pytest.mark.parametrize(
    ("headers", "secrets", "why"),
    [
        ({}, [SECRET], "missing"),
        (
            {"x-hub-signature": "sha1=" + hmac.new(SECRET, b"x", "sha1").hexdigest()},
            [SECRET],
            "missing",
        ),
        (signed(b"x", b"wrong"), [SECRET], "does not match"),
        (signed(b"y"), [SECRET], "does not match"),
        (
            {"x-hub-signature-256": signed(b"x")["x-hub-signature-256"].removeprefix("sha256=")},
            [SECRET],
            "not match",
        ),
        ({"x-hub-signature-256": "sha256=é"}, [SECRET], "does not match"),
        (signed(b"x", b""), [], "no webhook secret"),
        (signed(b"x", b""), [b""], "no webhook secret"),
    ],
)
def test_a_forged_delivery_is_refused(
    headers: dict[str, str], secrets: list[bytes], why: str
) -> None:
    with pytest.raises(SignatureError, match=why):
        webhook.verify_signature(secrets, headers, b"x")


def test_a_push_lists_its_commits() -> None:
    push = parse("push", PUSH)
    assert isinstance(push, PushEvent)
    assert (push.repository.id, push.ref, push.shas, push.actor, push.is_truncated) == (
        7,
        PUSH["ref"],
        (SHA,),
        "ada",
        False,
    )


def test_a_push_of_2048_commits_may_have_been_cut() -> None:
    push = parse("push", PUSH | {"commits": [{"id": SHA}] * 2048})
    assert isinstance(push, PushEvent)
    assert push.is_truncated


def test_a_push_that_names_nobody_has_no_actor() -> None:
    push = parse("push", {key: value for key, value in PUSH.items() if key != "sender"})
    assert isinstance(push, PushEvent)
    assert push.actor == ""


def test_a_force_push_that_drops_commits_launches_nothing_of_its_head_commit() -> None:
    push = parse("push", PUSH | {"commits": [], "forced": True})
    assert isinstance(push, PushEvent)
    assert push.shas == ()


@pytest.mark.parametrize(
    "change",
    [
        {"ref": "refs/tags/v1", "commits": []},
        {"deleted": True, "after": ZERO, "commits": [], "head_commit": None},
        {"ref": "refs/heads/gh-readonly-queue/main/pr-1"},
    ],
)
def test_tags_deletions_and_merge_queues_start_nothing(change: dict[str, Any]) -> None:
    assert isinstance(parse("push", PUSH | change), IgnoredEvent)


@pytest.mark.parametrize("event", ["ping", "", "pull_request", "push " * 100])
def test_other_events_start_nothing_and_are_not_parsed(event: str) -> None:
    assert isinstance(
        webhook.parse_event("", {"x-github-event": event}, b"{not json"), IgnoredEvent
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"ref": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(PUSH)[:-40].encode(),
        json.dumps(PUSH | {"repository": {"id": float("inf"), "full_name": "a/b"}}).encode(),
        json.dumps(PUSH | {"commits": [{"id": "$(reboot)"}]}).encode(),
        json.dumps(PUSH | {"repository": None}).encode(),
    ],
)
def test_a_signed_body_of_the_wrong_shape_is_malformed_and_nothing_worse(body: bytes) -> None:
    with pytest.raises(PayloadError):
        webhook.parse_event("", {"x-github-event": "push"}, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.sampled_from(sorted(PUSH)), JSON)
def test_any_field_may_be_anything(field: str, value: Any) -> None:
    with contextlib.suppress(PayloadError):
        parse("push", PUSH | {field: value})


def test_a_new_comment_is_heard_an_edited_one_is_not() -> None:
    said = parse("commit_comment", COMMENT)
    assert isinstance(said, CommentEvent)
    assert (said.sha, said.actor, said.comment_id, said.body) == (SHA, "ada", 9, "/fyre rerun")
    assert (said.created_at, said.pull_number, said.is_bot) == (1767323045.0, 0, False)
    for action in ("edited", "deleted"):
        assert isinstance(parse("commit_comment", COMMENT | {"action": action}), IgnoredEvent)


def test_a_pull_requests_comment_is_heard_an_issues_is_not() -> None:
    issue = {"number": 7, "pull_request": {"url": "https://x/pulls/7"}}
    told = COMMENT | {"issue": issue, "sender": {"login": "helper[bot]", "type": "Bot"}}
    said = parse("issue_comment", told)
    assert isinstance(said, CommentEvent)
    assert (said.sha, said.pull_number, said.actor, said.is_bot) == ("", 7, "helper[bot]", True)
    for action in ("edited", "deleted"):
        assert isinstance(parse("issue_comment", told | {"action": action}), IgnoredEvent)
    assert isinstance(parse("issue_comment", told | {"issue": {"number": 7}}), IgnoredEvent)


PULL = {
    "number": 7,
    "state": "open",
    "title": "Work",
    "body": None,
    "head": {"sha": SHA, "ref": "topic", "repo": {"id": 8}},
    "base": {"ref": "main", "repo": {"id": 7, "allow_squash_merge": False}},
    "updated_at": "2026-01-02T03:04:05Z",
}


def test_9_20_an_open_pull_request_that_changed_is_heard() -> None:
    told = {"action": "opened", "pull_request": PULL, "repository": PUSH["repository"]}
    said = parse("pull_request", told)
    assert isinstance(said, PullRequestEvent)
    assert (said.number, said.head_sha, said.base, said.body) == (7, SHA, "main", "")
    assert (said.is_fork, said.takes_squash, said.has_new_head) == (True, False, True)
    head = PULL["head"]
    for own in ({**head, "repo": {"id": 7}}, {**head, "repo": None}):
        said = parse(
            "pull_request", told | {"action": "edited", "pull_request": PULL | {"head": own}}
        )
        assert isinstance(said, PullRequestEvent)
        assert (said.is_fork, said.has_new_head) == (own["repo"] is None, False)
    queue = {**head, "ref": "gh-readonly-queue/main/pr-7"}
    for change in ({"state": "closed"}, {"head": queue}, {"head": None}, {"number": "x"}):
        assert isinstance(
            parse("pull_request", told | {"pull_request": PULL | change}), IgnoredEvent
        )
    assert isinstance(parse("pull_request", told | {"action": "labeled"}), IgnoredEvent)


@given(st.sampled_from(["action", "issue", "comment", "repository", "sender"]), JSON)
def test_any_field_of_a_comment_may_be_anything(field: str, value: Any) -> None:
    for event in ("commit_comment", "issue_comment"):
        with contextlib.suppress(PayloadError):
            parse(event, COMMENT | {"issue": {"number": 7, "pull_request": {}}} | {field: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": None}, {"sender": {}}, {"sender": {"login": None}}, {"sender": []},
        {"sender": "ada"},
        {"comment": COMMENT["comment"] | {"user": None}},
        {"comment": COMMENT["comment"] | {"user": {}}},
        {"comment": COMMENT["comment"] | {"body": None}},
    ],
)  # fmt: skip
def test_9_a5_a_payload_without_a_user_or_text_is_ignored(changes: dict[str, Any]) -> None:
    issue = {"number": 7, "pull_request": {"url": "https://x/pulls/7"}, "user": None}
    for event in ("commit_comment", "issue_comment"):
        assert isinstance(parse(event, COMMENT | {"issue": issue} | changes), IgnoredEvent)
    without_sender = {key: value for key, value in COMMENT.items() if key != "sender"}
    assert isinstance(parse("commit_comment", without_sender), IgnoredEvent)


def test_9_a5_a_click_without_a_user_is_ignored() -> None:
    check = {"id": 9, "name": "fyre/run", "head_sha": SHA}
    click = {"action": "rerequested", "check_run": check, "repository": PUSH["repository"]}
    assert isinstance(parse("check_run", click | {"sender": None}), IgnoredEvent)
