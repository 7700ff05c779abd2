"""GitHub's git, or its statuses, lag behind its webhooks: nothing is lost, and nothing is false."""

from __future__ import annotations

import pytest

from fyre.backoff import Backoff
from fyre.controller.events import SweepEvent
from tests.conftest import git
from tests.support.ci_marks import LONG_CASE
from tests.support.gated_forge import GatedWorld, world
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

__all__ = ["world"]  # a fixture

LAG = {"/ada/lab.git/": "/ada/before.git/"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("controller.retry_queue.RETRY", "reporter.write_failures.UNKNOWN_COMMIT"):
        monkeypatch.setattr(f"fyre.{name}_BACKOFF", Backoff(0.05, 0.1))


def test_9_11_a_push_waits_for_a_git_that_lags_and_is_given_up_when_its_branch_moves_on(
    world: GatedWorld,
) -> None:
    lab, controller, gate = world.clone("lab"), world.serve.controller, world.gate
    git("push", "-q", world.forge.git("ada/before"), "main", cwd=lab)
    controller.replication_delay = 0.001
    gate.stale = dict(LAG)
    first, second = world.run(lab, "true"), world.run(lab, "exit 3")
    until(lambda: controller.queue_length() >= 2 and gate.fetches > 10)
    swept_at = controller.last_sweep_at
    controller.enqueue_event(SweepEvent())
    until(lambda: controller.last_sweep_at > swept_at)
    assert world.launched() == []
    gate.stale.clear()
    assert world.outcome(lab, first).startswith("exit 0")
    assert world.outcome(lab, second).startswith("exit 3")
    until(lambda: not controller.queue_length())
    assert sorted(world.launched()) == sorted([first, second])
    git("push", "-q", "--force", world.forge.git("ada/before"), "main", cwd=lab)
    gate.stale, gate.fetches = dict(LAG), 0
    gone = world.run(lab, "true")
    until(lambda: gate.fetches > 5)
    git("reset", "-q", "--hard", "HEAD~1", cwd=lab)
    git("commit", "-q", "--allow-empty", "-m", "Other\n\nFyre-Run: true", cwd=lab)
    git("push", "-q", "--force", "origin", "main", cwd=lab)
    other = git("rev-parse", "HEAD", cwd=lab)
    assert world.statuses(lab, gone) == []
    gate.stale.clear()
    assert world.outcome(lab, other).startswith("exit 0")
    assert "no longer has it" in world.outcome(lab, gone)
    until(lambda: not controller.queue_length())
    assert gone not in world.launched()


def test_9_10_a_status_that_github_does_not_take_yet_is_posted_when_it_does(
    world: GatedWorld,
) -> None:
    lab, gate = world.clone("lab"), world.gate
    git("commit", "-q", "--allow-empty", "-m", "Work\n\nFyre-Run: true", cwd=lab)
    late = git("rev-parse", "HEAD", cwd=lab)
    git("commit", "-q", "--allow-empty", "-m", "Bad\n\nFyre-Run: true\nFyre-Timeout: x", cwd=lab)
    refused = git("rev-parse", "HEAD", cwd=lab)
    gate.unknown = [late, refused]
    git("push", "-q", "origin", "main", cwd=lab)
    until(lambda: gate.refused > 5)
    assert world.outcome(lab, world.run(lab, "true")).startswith("exit 0")  # it does not wait
    world.forge.post(f"/repos/ada/lab/commits/{late}/comments", {"body": "/fyre status"})
    world.stop()
    world.start()
    refusals = gate.refused
    until(lambda: gate.refused > refusals + 3)
    assert world.statuses(lab, late) == world.statuses(lab, refused) == []
    gate.unknown = []
    assert world.outcome(lab, late).startswith("exit 0")
    assert world.outcome(lab, refused).startswith("not launched: line 4: Fyre-Timeout")
    until(lambda: "answer to commit comment" in world.comments(lab, late))
    assert world.launched().count(late) == 1
