"""Commands that no webhook reported: the comments that are listed, and the requests that costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fyre.controller import comment_poller
from fyre.controller.comment_poller import CommentPoller
from fyre.controller.comments import replies
from fyre.github.client import GitHubClient
from fyre.github.errors import DeniedError
from fyre.github.webhook import CommentEvent
from fyre.local_forge.api import commit_comment_api, issue_comment_api, routes
from fyre.local_forge.api.rest import ApiError, ApiRequest, ApiResponse
from fyre.runs.run import Repository
from tests.conftest import git
from tests.support.local_forge import NAME, Served, served

WHERE = f"/repos/{NAME}"
_LISTS = {
    "/comments": commit_comment_api.list_repo_comments,
    "/issues/comments": issue_comment_api.list_issue_comments,
}


class Counting(GitHubClient):
    """Counts what GitHub would."""

    counted = 0

    def get_json_if_changed(
        self, description: str, repository: Repository, path: str, etag: str
    ) -> Any:
        answer = super().get_json_if_changed(description, repository, path, etag)
        self.counted += answer is not None
        return answer


@dataclass
class World:
    """A forge that nobody delivers for, and who listens to it."""

    forge: Served
    sha: str
    ear: CommentPoller
    hub: Counting
    repository: Repository

    def say(self, body: str, where: str = "", token: str = "user:ada") -> int:
        path = where or f"/commits/{self.sha}/comments"
        return int(self.forge.post(WHERE + path, {"body": body}, token=token).json()["id"])

    def hear(self, since: float | None = None) -> list[CommentEvent]:
        """What is told, and dealt with from then on."""
        told = self.ear.poll_commands(
            self.repository, time.time() - 3600 if since is None else since
        )
        for said in told:
            self.ear.mark_handled(said)
        return told

    def cost(self) -> int:
        """Requests that one more look costs; nothing is told."""
        before = self.hub.counted
        assert self.hear() == []
        return self.hub.counted - before


@pytest.fixture
def world(tmp_path: Path, repo: Path) -> Iterator[World]:
    with served(tmp_path / "forge") as forge:
        git("push", "-q", forge.git(), "main", "main:topic", cwd=repo)
        forge.post(f"{WHERE}/pulls", {"title": "Faster", "head": "topic", "base": "main"})
        hub = Counting(f"{forge.base}/api", lambda: forge.forge.service_token)
        sha = git("rev-parse", "main", cwd=repo)
        yield World(forge, sha, CommentPoller(hub), hub, hub.get_repository(NAME))


PULL = "/issues/1/comments"


def test_commands_of_both_kinds_are_told_in_their_order_and_talk_is_not(world: World) -> None:
    world.say("fine")
    first = world.say("/fyre rerun")
    second = world.say("/fyre status", PULL)
    third = world.say("/fyre dance 🎉")
    world.say("> /fyre cancel", PULL)
    world.say("/fyre cancel", token="user:helper[bot]")
    told = world.hear()
    assert [(one.comment_id, one.pull_number, one.sha) for one in told] == [
        (first, 0, world.sha),
        (second, 1, ""),
        (third, 0, world.sha),
    ]
    assert {(one.actor, one.is_bot) for one in told} == {("ada", False)}
    assert world.cost() <= 1  # the moment that is asked from has moved
    assert [world.cost() for _ in range(4)] == [0] * 4
    again = world.say("/fyre cancel", PULL)
    assert [one.comment_id for one in world.hear()] == [again]


def test_what_we_have_answered_is_not_told_and_what_others_claim_to_have_is(world: World) -> None:
    kinds = ("", PULL)
    for where in kinds:
        world.say("/fyre rerun", where)
    mine = world.forge.forge.service_token
    for where, one in zip(kinds, world.hear(), strict=True):
        world.say(replies.render_reply(one, "launched"), where, token=mine)
    claimed = world.say("/fyre cancel")
    one = CommentEvent(world.repository, world.sha, "ada", "", claimed)
    world.say(replies.render_reply(one, "done"), token="user:eve")
    fresh = World(
        world.forge, world.sha, CommentPoller(world.hub), world.hub, world.repository
    )  # as after a restart
    assert [said.comment_id for said in fresh.hear()] == [claimed]


def test_every_page_is_found_whatever_was_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comment_poller, "COMMENTS_PER_PAGE", 3)
    gone: set[int] = set()
    real = commit_comment_api.list_repo_comments

    def listed(call: ApiRequest) -> ApiResponse:
        """As GitHub does where comments were deleted: the others move up."""
        whole = ApiRequest(**{**call.__dict__, "query_params": {"per_page": "100"}})
        return call.paginate(
            [one for one in real(whole).data if one["id"] not in gone], lambda one: one
        )

    monkeypatch.setitem(routes._HANDLERS, ("GET", "/repos/{owner}/{repo}/comments"), listed)
    with served(world.forge.forge.root.parent / "forge") as forge:
        hub = Counting(f"{forge.base}/api", lambda: forge.forge.service_token)
        world = World(forge, world.sha, CommentPoller(hub), hub, hub.get_repository(NAME))
        ids = [world.say("/fyre rerun") for _ in range(8)]
        assert [
            one.comment_id for one in world.hear()
        ] == ids  # three pages, from the last one back
        assert [world.cost() for _ in range(2)][-1] == 0
        ids += [world.say("/fyre rerun") for _ in range(5)]
        assert [one.comment_id for one in world.hear()] == ids[8:]  # over two more pages
        gone |= set(ids[:5])
        world.hear()
        late = world.say("/fyre cancel")
        assert [one.comment_id for one in world.hear()] == [late]
        gone |= set(ids)
        later = [world.say("/fyre cancel") for _ in range(2)]
        assert [one.comment_id for one in world.hear()] == later
        assert world.cost() == 0


def test_a_full_page_that_stays_the_same_hides_no_page_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comment_poller, "COMMENTS_PER_PAGE", 3)
    ids = [world.say("/fyre rerun", PULL) for _ in range(3)]
    assert [one.comment_id for one in world.hear()] == ids
    assert (
        world.hear() == []
    )  # from here on the moment that is asked from stays, and the page is full
    for _ in range(2):
        late = world.say("/fyre cancel", PULL)
        assert [one.comment_id for one in world.hear()] == [late]


def test_old_ones_and_edited_ones_are_not_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say("/fyre rerun")
    world.say("/fyre rerun", PULL)
    assert world.hear(since=time.time() + 5) == []
    for path, real in _LISTS.items():

        def edited(call: ApiRequest, real: Any = real) -> ApiResponse:
            found = real(call)
            return ApiResponse(
                [one | {"updated_at": "2999-01-01T00:00:00Z"} for one in found.data],
                headers=found.headers,
            )

        monkeypatch.setitem(routes._HANDLERS, ("GET", "/repos/{owner}/{repo}" + path), edited)
    with served(world.forge.forge.root) as forge:
        hub = GitHubClient(f"{forge.base}/api", lambda: forge.forge.service_token)
        assert CommentPoller(hub).poll_commands(hub.get_repository(NAME), 0) == []


def test_what_may_not_be_read_holds_no_commands_and_the_other_kind_is_heard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(call: ApiRequest) -> ApiResponse:
        del call
        raise ApiError(403, "Resource not accessible by personal access token")

    monkeypatch.setitem(routes._HANDLERS, ("GET", "/repos/{owner}/{repo}/issues/comments"), denied)
    with served(world.forge.forge.root) as forge:
        hub = GitHubClient(f"{forge.base}/api", lambda: forge.forge.service_token)
        path = f"{WHERE}/commits/{world.sha}/comments"
        asked = forge.post(path, {"body": "/fyre rerun"}).json()["id"]
        assert [
            one.comment_id for one in CommentPoller(hub).poll_commands(hub.get_repository(NAME), 0)
        ] == [asked]


def test_who_we_are_is_asked_before_anything_counts_as_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = routes._HANDLERS["GET", "/user"]
    refusals = ["Resource not accessible by personal access token"]

    def once(call: ApiRequest) -> ApiResponse:
        if refusals:
            raise ApiError(403, refusals.pop())
        return answer(call)

    monkeypatch.setitem(routes._HANDLERS, ("GET", "/user"), once)
    with served(world.forge.forge.root) as forge:
        hub = GitHubClient(f"{forge.base}/api", lambda: forge.forge.service_token)
        asked = forge.post(f"{WHERE}/commits/{world.sha}/comments", {"body": "/fyre rerun"}).json()[
            "id"
        ]
        ear = CommentPoller(hub)
        with pytest.raises(DeniedError):
            ear.poll_commands(hub.get_repository(NAME), 0)
        assert [one.comment_id for one in ear.poll_commands(hub.get_repository(NAME), 0)] == [asked]
