"""A repository that is slow holds up nobody else, and no stop: a whole ``fyre serve``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from fyre.controller.events import SweepEvent
from fyre.github import pygithub_session
from tests.support.ci_marks import LONG_CASE
from tests.support.gated_forge import GatedWorld, world
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

__all__ = ["world"]  # a fixture


def fetch_of(path: Path) -> Callable[[str], bool]:
    """Return what is true of a fetch of a repository."""
    return lambda url: url.startswith(f"/ada/{path.name}.git/") and "git-upload-pack" in url


def test_9_12_a_fetch_that_stalls_holds_up_neither_others_nor_a_cancel_nor_a_stop(
    world: GatedWorld,
) -> None:
    slow, other = world.clone("slow"), world.clone("other")
    sleeping = world.run(slow, "sleep 600")
    until(lambda: sleeping in world.launched())
    with world.gate.holding(fetch_of(slow)):
        first = world.run(slow, "true")
        until(lambda: world.gate.waiting)
        second = world.run(slow, "exit 3")
        assert world.outcome(other, world.run(other, "true")).startswith("exit 0")
        world.forge.post(f"/repos/ada/slow/commits/{sleeping}/comments", {"body": "/fyre cancel"})
        assert world.outcome(slow, sleeping).startswith("cancelled by ada")
        assert not {first, second} & set(world.launched())
        world.stop()  # as SIGTERM does, and the fetch still waits
    world.start()
    assert world.outcome(slow, first).startswith("exit 0")
    assert world.outcome(slow, second).startswith("exit 3")
    ours = [sha for sha in world.launched() if sha in (first, second)]
    assert ours == [first, second]  # in their order, and once each
    until(lambda: "cancelled: `run`." in world.comments(slow, sleeping))


def test_9_12_a_sweep_that_stalls_holds_up_no_push_and_no_comment(world: GatedWorld) -> None:
    slow, other = world.clone("slow"), world.clone("other")
    controller = world.serve.controller
    until(lambda: not controller.queue_length())
    with world.gate.holding(lambda url: "/ada/slow/activity" in url):
        controller.enqueue_event(SweepEvent())
        until(lambda: world.gate.waiting)
        sha = world.run(other, "sleep 600")
        until(lambda: sha in world.launched())
        world.forge.post(f"/repos/ada/other/commits/{sha}/comments", {"body": "/fyre cancel"})
        assert world.outcome(other, sha).startswith("cancelled by ada")
        in_it = world.run(slow, "true")  # a webhook tells of it, whatever the sweep waits for
        assert world.outcome(slow, in_it).startswith("exit 0")
    until(lambda: not controller.queue_length())


def test_9_12_a_status_that_is_answered_for_ever_holds_up_no_other_repository(
    world: GatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pygithub_session, "REQUEST_SECONDS", 0.3)
    bad, good = world.clone("bad"), world.clone("good")
    passed_on, trickled = world.gate.app, list[str]()

    async def trickle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" or "/repos/ada/bad/statuses" not in scope["path"]:
            await passed_on(scope, receive, send)
            return
        trickled.append(scope["path"])
        await send({"type": "http.response.start", "status": 201, "headers": []})
        while world.gate.app is trickle:
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.05)

    world.gate.app = trickle
    try:
        waits = world.run(bad, "true")
        until(lambda: trickled)
        assert world.outcome(good, world.run(good, "true")).startswith("exit 0")
    finally:
        world.gate.app = passed_on
    assert world.outcome(bad, waits).startswith("exit 0")
