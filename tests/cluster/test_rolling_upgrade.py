"""0.1 and today's ``fyre serve`` on one Lease and one namespace at once: the lead goes to and fro.

Webhooks come meanwhile, each once. No run is lost, none is started twice, each end is posted once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client

from fyre.engines.kubernetes.leader_election import LEASE_DURATION
from tests.cluster import access, images
from tests.cluster.cluster_story import ClusterStory, LaterNode, later_node
from tests.cluster.fixtures import CHART, Helm
from tests.cluster.installation import disk, github, image, load_server_image
from tests.cluster.replicas import Replica, Start, forge, start
from tests.cluster.starts import StartCounter
from tests.integration.apps.test_serve import GitHub
from tests.support.deliver_once import DeliverOnce, delivering_once
from tests.support.local_forge import Served
from tests.support.old_version import ROOT, unpack_old_version
from tests.support.upgrade_story import until

__all__ = ["disk", "forge", "github", "image", "later_node", "start"]  # fixtures

pytestmark = pytest.mark.cluster


@dataclass
class Pushed:
    """The runs that one leader was given, and those of the time when the lead changed hands."""

    good: str
    bad: str
    running: str
    waiting: str
    meanwhile: list[str] = field(default_factory=list)


def push_all(story: ClusterStory) -> Pushed:
    """Push runs that end, one that goes on and one that waits."""
    pushed = Pushed(
        story.push("true", "Fyre-Retries: 1"),
        story.push("exit 3"),
        story.push("true", "Fyre-Retries: 1", gated=True),
        story.push_waiting(suspended=True),
    )
    story.await_status(pushed.good, "fyre/run", begins="exit 0")
    story.await_status(pushed.bad, "fyre/run", begins="exit 3")
    until(lambda: story.is_running(pushed.running), f"{pushed.running} runs")
    return pushed


def check_all(story: ClusterStory, pushed: Pushed) -> None:
    """Check that the new leader finds what was pushed meanwhile, and knows all of the old one."""
    for sha in pushed.meanwhile:  # a checkout gives a replica that is gone two minutes
        story.await_status(sha, "fyre/run", begins="exit 0", seconds=240)
    story.check_repeated(good=pushed.good, bad=pushed.bad, running=pushed.running)


def end_all(story: ClusterStory, later_node: LaterNode, pushed: list[Pushed]) -> None:
    """End what goes on, start what waits, and check that each status is the right one, once."""
    bad = [each.bad for each in pushed]
    with later_node.present():
        for each in pushed:
            story.open_gate(each.running)
            story.resume(each.waiting)
        for sha in {*story.messages} - {*bad}:
            story.await_status(sha, "fyre/run", begins="exit 0", seconds=180)
    states = {sha: story.final_states(sha) for sha in story.messages}
    assert states == {sha: ["failure" if sha in bad else "success"] for sha in story.messages}


def check_logs(
    story: ClusterStory, starts: StartCounter, bad: list[str], read_page: Callable[[str], str]
) -> None:
    """Check that each command was started once, by its log and by its pods."""
    pages = {sha: read_page(story.run_path(sha) + "/log") for sha in story.messages}
    # 0.1 does not know the end mark of a run that a later version has launched.
    logs = {sha: re.sub(r"\x1b\]fyre-end;\w+\x1b\\\n", "", page) for sha, page in pages.items()}
    assert logs == {
        sha: f"started {sha}\n" + "ended\n" * (sha not in bad) for sha in story.messages
    }
    starts.check_once([*story.messages])


@dataclass
class HandOver:
    """Replicas of either version, and webhooks that go to those that do not lead."""

    start: Start
    story: ClusterStory
    policy: Path
    door: DeliverOnce

    def stand_by(self, name: str, code: Path) -> Replica:
        """Start a replica of that code beside the leader; webhooks go to it from now on."""
        replica = self.launch(name, code)
        until(lambda: replica.says("/healthz") == "# standby\n", f"{name} stands by")
        self.door.receiver = replica.url
        return replica

    def launch(self, name: str, code: Path) -> Replica:
        return self.start(name, PYTHONPATH=str(code), FYRE_POLICY=str(self.policy))

    def take_over(self, follower: Replica, leader: Replica, how_it_ends: signal.Signals) -> Pushed:
        """End the leader while runs are pushed; check that the follower knows all that it did."""
        pushed = push_all(self.story)
        pushed.meanwhile.append(self.story.push())
        leader.process.send_signal(how_it_ends)
        pushed.meanwhile.append(self.story.push("true", "Fyre-Retries: 1"))
        leader.process.wait(30)
        pushed.meanwhile.append(self.story.push())
        until(lambda: follower.leads, "the follower leads", LEASE_DURATION + 60)
        check_all(self.story, pushed)
        return pushed


@pytest.fixture
def story(admin: access.Admin, namespace: str, forge: Served, repo: Path) -> ClusterStory:
    return ClusterStory(repo, admin=admin, namespace=namespace, url=forge.base)


@pytest.fixture
def policy(namespace: str, later_node: LaterNode, tmp_path: Path) -> Path:
    path = tmp_path / "policy-with-later-node.yaml"
    path.write_text(json.dumps({"namespace": namespace, "profiles": later_node.profiles()}))
    return path


@pytest.fixture
def hand_over(start: Start, story: ClusterStory, policy: Path, forge: Served) -> Iterator[HandOver]:
    with delivering_once() as door:
        forge.forge.start(door.url)
        yield HandOver(start, story, policy, door)


@pytest.mark.timeout(900)  # four servers, one after the other
@pytest.mark.parametrize("relay", ["exec"], indirect=True)
def test_two_versions_hand_the_lead_over(
    hand_over: HandOver, later_node: LaterNode, tmp_path: Path
) -> None:
    story, old = hand_over.story, unpack_old_version(tmp_path / "old")
    starts = StartCounter(story.admin, story.namespace)
    first = hand_over.launch("first", old)
    until(lambda: first.leads, "0.1 leads")
    upgraded = hand_over.stand_by("upgraded", ROOT)
    pushed = [hand_over.take_over(upgraded, first, signal.SIGTERM)]
    rolled_back = hand_over.stand_by("rolled-back", old)
    pushed.append(hand_over.take_over(rolled_back, upgraded, signal.SIGKILL))
    last = hand_over.stand_by("last", ROOT)
    pushed.append(hand_over.take_over(last, rolled_back, signal.SIGTERM))

    end_all(story, later_node, pushed)
    check_logs(story, starts, [each.bad for each in pushed], last.says)
    said = "".join(one.log.read_text() for one in (first, upgraded, rolled_back, last))
    assert "Traceback" not in said


@dataclass
class Release:
    """A release of the chart with two replicas, whose webhooks come once each."""

    helm: Helm
    home: str
    story: ClusterStory
    values: dict[str, Any]
    door: DeliverOnce
    pushed: list[Pushed] = field(default_factory=list)

    def deploy(self, verb: str, *words: str, image: str = "", chart: Path = CHART) -> None:
        """Run Helm; a rollback takes the image and the chart that it knows."""
        repository, _, tag = image.rpartition(":")
        values = self.values | {"image": {"repository": repository, "tag": tag}}
        waiting = (f"--namespace={self.home}", "--wait", "--timeout=4m")
        self.helm(verb, "fyre", *words, *waiting, values=values if image else None, chart=chart)

    @property
    def image(self) -> str:
        """The image of every replica that there is to be."""
        apps = client.AppsV1Api(self.story.admin.api)
        deployment = apps.read_namespaced_deployment("fyre", self.home)
        return str(deployment.spec.template.spec.containers[0].image)

    def replace(self, verb: str, *words: str, image: str = "") -> None:
        """Replace every replica while runs are pushed; check that nothing is lost by that."""
        pushed = push_all(self.story)
        with ThreadPoolExecutor() as pool:
            done = pool.submit(self.deploy, verb, *words, image=image)
            while not done.done():
                pushed.meanwhile.append(self.story.push())
                while not (done.done() or self.story.final_states(pushed.meanwhile[-1])):
                    time.sleep(0.1)
            done.result()
        check_all(self.story, pushed)
        self.pushed.append(pushed)


@pytest.fixture
def release(
    admin: access.Admin, helm: Helm, disk: str, github: GitHub, later_node: LaterNode
) -> Iterator[Release]:
    """What the chart needs is there; nothing is installed yet."""
    forge = github.forge
    with admin.namespace() as home, admin.namespace() as runs:
        relay = f"10.96.0.{192 + os.getpid() % 60}"  # chosen here: a cluster of ours has no DNS
        values = {
            "config": {
                "url": "https://fyre.example.org",
                "forge": forge.base,
                "api": forge.api,
                "checkoutImage": access.IMAGE,
                "logStore": "/logs",
                "sweepEvery": "10s",  # for a webhook that a replica which ends did not take
            },
            "policy": json.dumps({"namespace": runs, "profiles": later_node.profiles()}),
            "replicas": 2,
            "state": {"persistent": False},
            "relay": {"url": f"http://{relay}:8021", "clusterIP": relay},
            "volumes": [{"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}],
            "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
        }
        claim = {
            "storageClassName": disk,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        }
        admin.core.create_namespaced_persistent_volume_claim(
            home, {"metadata": {"name": "logs"}, "spec": claim}
        )
        secret = {
            "token": forge.forge.service_token,
            "webhook": forge.forge.webhook_secret,
            "key": "k" * 32,
        }
        admin.core.create_namespaced_secret(
            home, {"metadata": {"name": "fyre"}, "stringData": secret}
        )
        story = ClusterStory(github.repo, admin=admin, namespace=runs, url=forge.base)
        with delivering_once() as door:
            yield Release(helm, home, story, values, door)
            print("answers to webhooks:", Counter(door.answers))


@pytest.mark.timeout(900)  # images are built in it
def test_a_release_is_upgraded_and_rolled_back(
    release: Release, image: str, later_node: LaterNode, github: GitHub, tmp_path: Path
) -> None:
    story = release.story
    starts = StartCounter(story.admin, story.namespace)
    sources = unpack_old_version(tmp_path / "old", *images.BUILT_OF, "deploy/chart")
    old_image = load_server_image(sources, "old")
    release.deploy("install", image=old_image, chart=sources / "deploy" / "chart")
    service = story.admin.core.read_namespaced_service("fyre", release.home).spec.cluster_ip
    release.door.receiver = f"http://{service}"
    github.forge.forge.start(release.door.url)
    assert release.image == old_image
    release.replace("upgrade", image=image)
    assert release.image == image
    release.replace("rollback", "1")
    assert release.image == old_image
    end_all(story, later_node, release.pushed)

    def read_page(path: str) -> str:
        return requests.get(f"http://{service}{path}").text

    check_logs(story, starts, [each.bad for each in release.pushed], read_page)
