"""Upgrade ``fyre up`` from 0.1 to today's Fyre and back on a cluster, with runs in every state.

None is lost, none is started twice, and each end is posted once.
"""

from __future__ import annotations

import json
import signal
import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fyre.engines.kubernetes import rbac
from tests.cluster import access
from tests.cluster.cluster_story import ClusterStory, LaterNode, later_node, own
from tests.cluster.conftest import RELAY_HOST
from tests.cluster.starts import StartCounter
from tests.conftest import git
from tests.support.old_version import ROOT, unpack_old_version
from tests.support.upgrade_story import (
    NAME,
    find_tracebacks,
    server_logs,
    serving,
)

__all__ = ["later_node", "own"]  # fixtures

pytestmark = pytest.mark.cluster


@dataclass
class Pushed:
    """The runs that one version was given."""

    good: str
    bad: str
    running: list[str]  # the first ends while the next version serves, the second after that
    unscheduled: str
    suspended: str
    ends_unseen: str  # while nobody serves
    just_pushed: list[str]  # when the version ended

    @property
    def all_good(self) -> list[str]:
        """Return every run that comes to a good end."""
        waiting = [self.unscheduled, self.suspended]
        return [self.good, *self.running, *waiting, self.ends_unseen, *self.just_pushed]


def push_all(story: ClusterStory) -> Pushed:
    """Push runs that end, runs that go on, runs that wait, and runs of which nothing is known."""
    good, bad = story.push(), story.push("exit 3")
    running = [story.push("true", "Fyre-Retries: 1", gated=True) for _ in range(3)]
    unscheduled, suspended = (story.push_waiting(suspended=each) for each in (False, True))
    story.await_status(good, "fyre/run", begins="exit 0")
    story.await_status(bad, "fyre/run", begins="exit 3")
    for sha in running:
        story.await_state(sha, "running")
    for sha in (unscheduled, suspended):
        story.await_state(sha, "queued")
    just_pushed = [story.push() for _ in range(2)]
    return Pushed(good, bad, running[:2], unscheduled, suspended, running[2], just_pushed)


def check_all(story: ClusterStory, pushed: Pushed) -> None:
    """Check that the other version's runs are known, and decided on as it decided."""
    for sha in (pushed.ends_unseen, *pushed.just_pushed):
        story.await_status(sha, "fyre/run", begins="exit 0")
    assert (story.state(pushed.good), story.state(pushed.bad)) == ("succeeded", "failed")
    for sha in pushed.running:
        story.await_state(sha, "running")
    for sha in (pushed.unscheduled, pushed.suspended):
        story.await_state(sha, "queued")
    story.check_repeated(good=pushed.good, bad=pushed.bad, running=pushed.running[0])


def end_all(story: ClusterStory, pushed: Pushed) -> None:
    """End what goes on, start what waits, and wait for every status."""
    story.open_gate(pushed.running[1])
    story.resume(pushed.suspended)
    for sha in pushed.all_good:
        story.await_status(sha, "fyre/run", begins="exit 0", seconds=180)


@pytest.fixture
def story(own: str, admin: access.Admin, repo: Path) -> ClusterStory:
    return ClusterStory(repo, admin=admin, namespace=own)


@pytest.fixture
def options(
    own: str, later_node: LaterNode, relay: str, story: ClusterStory, tmp_path: Path
) -> list[str]:
    """The options of ``fyre up``: exactly the rights of its Role, and the two profiles."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps({"namespace": own, "profiles": later_node.profiles()}))
    role = rbac.build_role(own, secret_names=(), exec_mode=not relay)
    config = story.admin.kubeconfig(own, tmp_path, role["rules"])
    words = ["--engine=kubernetes", f"--policy={policy}", f"--kubeconfig={config}"]
    words += [f"--checkout-image={access.IMAGE}"]
    return [*words, f"--relay={RELAY_HOST}:{find_port(RELAY_HOST)}"] if relay else words


@pytest.mark.timeout(900)  # four servers, one after the other
@pytest.mark.parametrize(
    ("relay", "how_it_ends"),
    [("exec", signal.SIGINT), ("relay", signal.SIGKILL)],
    ids=["exec-stopped", "relay-killed"],
    indirect=["relay"],
)
def test_there_and_back(
    how_it_ends: signal.Signals,
    options: list[str],
    later_node: LaterNode,
    story: ClusterStory,
    tmp_path: Path,
) -> None:
    old, root = unpack_old_version(tmp_path / "old"), tmp_path / "state"
    starts = StartCounter(story.admin, story.namespace)
    port = find_port()

    def serve(code: Path) -> AbstractContextManager[str]:
        return serving(code, root, how_it_ends, *options, port=port)

    with serve(old) as story.url:
        git("push", "-q", f"{story.url}/{NAME}.git", "main", cwd=story.path)
        first = push_all(story)
    story.open_gate(first.ends_unseen)
    with serve(ROOT) as story.url:
        check_all(story, first)
        story.open_gate(first.running[0])
        story.resume(first.suspended)  # no node takes it yet
        second = push_all(story)
    story.open_gate(second.ends_unseen)
    with serve(old) as story.url:
        assert story.state(first.running[1]) == "running"  # through both versions
        check_all(story, second)
        story.open_gate(second.running[0])
        with later_node.present():
            end_all(story, first)
        last = [story.push() for _ in range(2)]
    with serve(ROOT) as story.url:
        story.await_state(second.suspended, "queued")
        story.await_state(second.running[1], "running")
        with later_node.present():
            end_all(story, second)
        for sha in last:
            story.await_status(sha, "fyre/run", begins="exit 0")
        states = {sha: story.final_states(sha) for sha in story.messages}
        logs = {sha: story.read_log(sha) for sha in story.messages}

    bad = [first.bad, second.bad]
    assert {*story.messages} == {*bad, *first.all_good, *second.all_good, *last}
    assert states == {sha: ["failure" if sha in bad else "success"] for sha in story.messages}
    assert logs == {
        sha: f"started {sha}\n" + "ended\n" * (sha not in bad) for sha in story.messages
    }
    starts.check_once([*story.messages])
    assert len(server_logs(root)) == 4
    assert find_tracebacks(root) == []


def find_port(host: str = "127.0.0.1") -> int:
    """Return a free port, the same for every version: links and pods' addresses go on."""
    with socket.create_server((host, 0)) as free:
        return int(free.getsockname()[1])
