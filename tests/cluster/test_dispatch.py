"""Workflow jobs that do not wait, on a real cluster: real processes, killed and repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.engines.kubernetes import job_labels, rbac
from fyre.engines.kubernetes.api_client import KubernetesClient
from tests.cluster import access
from tests.conftest import git
from tests.support.local_forge import Served, served
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

NAME = "ada/lab"
OPEN = "/tmp/open"  # in the pod: its command ends when this is there


@dataclass
class Jobs:
    """Somebody who pushes, and the jobs of a workflow."""

    forge: Served
    admin: access.Admin
    namespace: str
    folder: Path
    repo: Path
    numbers: int = 0

    def push(self, command: str) -> Path:
        """A push; the event's file."""
        before = git("rev-parse", "HEAD", cwd=self.repo)
        git("commit", "-q", "--allow-empty", "-m", f"Work\n\nFyre-Run: {command}", cwd=self.repo)
        git("push", "-q", "origin", "main", cwd=self.repo)
        told = requests.get(
            f"{self.forge.base}/api/repos/{NAME}", headers={"Authorization": "token user:ada"}
        ).json()
        event = {
            "ref": "refs/heads/main",
            "before": before,
            "after": self.sha,
            "deleted": False,
            "commits": [{"id": self.sha}],
            "sender": {"login": "ada"},
            "repository": {key: told[key] for key in ("id", "full_name", "default_branch")},
        }
        path = self.folder / "event.json"
        path.write_text(json.dumps(event))
        return path

    @property
    def sha(self) -> str:
        return git("rev-parse", "HEAD", cwd=self.repo)

    def step(self, event: Path, *options: str) -> subprocess.Popen[str]:
        """A job's step; each has a number, and a disk of its own."""
        self.numbers += 1
        temp = self.folder / f"job-{self.numbers}"
        temp.mkdir()
        env = {
            **os.environ,
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_API_URL": f"{self.forge.base}/api",
            "GITHUB_SERVER_URL": self.forge.base,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_RUN_ID": str(self.numbers),
            "GITHUB_TOKEN": "user:runner",
            "GITHUB_STEP_SUMMARY": str(temp / "summary"),
            "GITHUB_OUTPUT": str(temp / "output"),
            "RUNNER_TEMP": str(temp),
            "FYRE_LOGIN": "runner",
        }
        words = [
            "dispatch",
            "--engine",
            "kubernetes",
            "--policy",
            str(self.folder / "policy.yaml"),
            *options,
        ]
        return subprocess.Popen([sys.executable, "-m", "fyre", *words], env=env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def done(self, event: Path, *options: str) -> tuple[str, str, str]:
        """A step to its end: what it printed, its summary and its outputs."""
        out, err = self.step(event, *options).communicate(timeout=240)
        temp = self.folder / f"job-{self.numbers}"
        assert (temp / "summary").exists(), out + err
        return out, (temp / "summary").read_text(), (temp / "output").read_text()

    def reconcile(self) -> str:
        """A scheduled job; what it printed."""
        event = self.folder / "schedule.json"
        event.write_text('{"schedule": "*/5 * * * *"}')
        return self.done(event, "--reconcile")[0]

    def said(self, sha: str) -> list[tuple[str, str]]:
        """State and job of each status, oldest first."""
        url = f"{self.forge.base}/api/repos/{NAME}/commits/{sha}/statuses"
        found = requests.get(url, headers={"Authorization": "token user:ada"}).json()[::-1]
        return [(one["state"], one["target_url"].rpartition("/")[2]) for one in found]

    def job(self, sha: str) -> Any:
        (found,) = self.admin.batch.list_namespaced_job(
            self.namespace, label_selector=f"fyre.dev/sha={sha}"
        ).items
        return found

    def notes(self, sha: str) -> dict[str, str]:
        return self.job(sha).metadata.annotations

    def end(self, sha: str) -> None:
        """Have the command end, and wait for that."""
        selector = f"fyre.dev/sha={sha}"
        (pod,) = self.admin.core.list_namespaced_pod(self.namespace, label_selector=selector).items
        cluster = KubernetesClient(access.KUBECONFIG, None)
        cluster.exec_in_container(
            self.namespace,
            pod.metadata.name,
            job_labels.COMMAND_CONTAINER,
            ["touch", OPEN],
            iter(()),
        )
        cluster.close()
        until(lambda: self.job(sha).status.succeeded)


@pytest.fixture
def jobs(admin: access.Admin, namespace: str, repo: Path, tmp_path: Path) -> Iterator[Jobs]:
    role = rbac.build_role(namespace, secret_names=(), exec_mode=True)
    config = admin.kubeconfig(namespace, tmp_path, role["rules"])
    config.rename(tmp_path / "kubeconfig")
    policy = {"namespace": namespace, "profiles": {"default": {"image": access.IMAGE}}}
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    with served(tmp_path / "forge") as forge:
        git("remote", "add", "origin", f"{forge.base}/{NAME}.git", cwd=repo)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        yield Jobs(forge, admin, namespace, tmp_path, repo)


def test_who_does_not_wait_is_told_by_the_scheduled_job(jobs: Jobs) -> None:
    out, summary, outputs = jobs.done(
        jobs.push(f"echo begun; until [ -e {OPEN} ]; do sleep 0.1; done; echo over"), "--no-wait"
    )
    sha = jobs.sha
    assert "outcome=pending" in outputs, out
    assert "--reconcile" in summary
    assert jobs.said(sha) == [("pending", "1")]
    jobs.reconcile()
    assert jobs.said(sha) == [("pending", "1")]
    jobs.end(sha)

    killed = jobs.step(jobs.folder / "schedule.json", "--reconcile")
    until(lambda: job_labels.OUTCOME_ANNOTATION in jobs.notes(sha) or killed.poll() is not None)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    jobs.reconcile()
    said = jobs.said(sha)
    assert [word for word, _ in said] == ["pending", "success"]
    assert jobs.job(sha).spec.ttl_seconds_after_finished > 3600
    jobs.reconcile()
    assert jobs.said(sha) == said


def test_the_log_is_shown_by_who_reports(jobs: Jobs) -> None:
    store = jobs.folder / "logs"
    event = jobs.push(f"echo begun; until [ -e {OPEN} ]; do sleep 0.1; done; echo over")
    jobs.done(event, "--no-wait", "--log-store", str(store))
    jobs.end(jobs.sha)
    assert "begun\nover\n" in jobs.reconcile()
    assert jobs.said(jobs.sha) == [("pending", "1"), ("success", "2")]


def test_who_waits_reports_the_end_itself(jobs: Jobs) -> None:
    out, summary, outputs = jobs.done(jobs.push("echo hello; git rev-parse HEAD"))
    assert f"hello\n{jobs.sha}\n" in out
    assert "outcome=success" in outputs
    assert "--reconcile" not in summary
    assert [word for word, _ in jobs.said(jobs.sha)][-1] == "success"
    assert jobs.job(jobs.sha).spec.ttl_seconds_after_finished > 3600
    jobs.reconcile()  # which is none of its business
    assert [number for _, number in jobs.said(jobs.sha)] == ["1"] * len(jobs.said(jobs.sha))
