"""Push runs to a cluster by which an upgrade can be told: each waits for what the test does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.api_client import KubernetesClient
from tests.cluster import access
from tests.support.upgrade_story import UpgradeStory, until

GATE = "/tmp/go"
NODE_PROFILE = "later"
"""The profile whose node is not there before the test says so."""


@dataclass
class ClusterStory(UpgradeStory):
    """Runs on a cluster: each prints a line when it starts, and may wait for a file in its pod."""

    admin: access.Admin = field(kw_only=True)
    namespace: str = field(kw_only=True)

    def push(self, command: str = "true", *trailers: str, gated: bool = False) -> str:
        """Push a commit whose run prints a line, and waits until ``open_gate`` if it is gated."""
        wait = f"while [ ! -e {GATE} ]; do sleep 0.1; done; " if gated else ""
        script = f"Fyre-Run: echo started $FYRE_SHA; {wait}{command}; echo ended"
        return self.push_run(script, *trailers)

    def push_waiting(self, *, suspended: bool) -> str:
        """Push a run that no node takes; its Job is suspended, as by a queue, if asked for."""
        sha = self.push("true", f"Fyre-Profile: {NODE_PROFILE}")
        self.await_status(sha, "fyre/run")
        job = until(partial(self.find_job, sha), f"a Job of {sha}")
        if suspended:
            self._suspend(job, suspend=True)
        return sha

    def resume(self, sha: str) -> None:
        """Let the Job of a run start, as a queue does."""
        self._suspend(self.find_job(sha), suspend=False)

    def open_gate(self, sha: str) -> None:
        """Let the command of a gated run go on, and wait until its Job has ended."""
        selector = f"fyre.dev/sha={sha}"
        (pod,) = self.admin.core.list_namespaced_pod(self.namespace, label_selector=selector).items
        cluster = KubernetesClient(access.KUBECONFIG)
        cluster.exec_in_container(
            self.namespace,
            pod.metadata.name,
            job_labels.COMMAND_CONTAINER,
            ["touch", GATE],
            iter(()),
        )
        cluster.close()
        until(lambda: self.find_job(sha).status.succeeded, f"the Job of {sha} has ended")

    def find_job(self, sha: str) -> Any:
        """Return the only Job of a commit; None if there is none."""
        selector = f"fyre.dev/sha={sha}"
        jobs = self.admin.batch.list_namespaced_job(self.namespace, label_selector=selector).items
        assert len(jobs) <= 1, f"{sha} has {len(jobs)} Jobs"
        return jobs[0] if jobs else None

    def is_running(self, sha: str) -> bool:
        """Return True if the command of a commit has been started and has not ended."""
        job = self.find_job(sha)
        return job is not None and bool(job.status.ready)

    def read_log(self, sha: str) -> str:
        """Return the log behind the newest status of a commit."""
        return requests.get(self.statuses(sha)[0]["target_url"] + "/log").text

    def run_path(self, sha: str) -> str:
        """Return the path of the page behind the newest status of a commit."""
        return urlsplit(self.statuses(sha)[0]["target_url"]).path

    def _suspend(self, job: Any, *, suspend: bool) -> None:
        patch = {"spec": {"suspend": suspend}}
        self.admin.batch.patch_namespaced_job(job.metadata.name, self.namespace, patch)


@dataclass
class LaterNode:
    """The node of a profile: the cluster's own, while it has a label that nobody else uses."""

    admin: access.Admin
    label: str

    def profiles(self) -> dict[str, dict[str, Any]]:
        """Return the profiles of a policy: the usual one, and the one that waits for the node."""
        profile = {"image": access.IMAGE, "terminationGracePeriodSeconds": 2}
        return {
            "default": profile,
            NODE_PROFILE: profile | {"nodeSelector": {self.label: "yes"}},
        }

    @contextmanager
    def present(self) -> Iterator[None]:
        """Let the node take the profile's pods until the block ends."""
        (node, *_) = self.admin.core.list_node().items
        self._set_label(node.metadata.name, "yes")
        try:
            yield
        finally:
            self._set_label(node.metadata.name, None)

    def _set_label(self, node: str, value: str | None) -> None:
        self.admin.core.patch_node(node, {"metadata": {"labels": {self.label: value}}})


@pytest.fixture
def later_node(admin: access.Admin) -> LaterNode:
    return LaterNode(admin, f"fyre.test/{uuid.uuid4().hex[:12]}")


@pytest.fixture
def own(admin: access.Admin) -> Iterator[str]:
    """A namespace of the test's own."""
    with admin.namespace() as name:
        yield name
