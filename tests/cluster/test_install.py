"""Fyre as the chart installs it, from the Dockerfile's image: a push becomes a Job and a status."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import requests

from tests.cluster import access
from tests.cluster.fixtures import Helm
from tests.cluster.installation import disk, github, image
from tests.integration.apps.test_serve import GitHub
from tests.support.waiting import until

__all__ = ["disk", "github", "image"]  # fixtures

pytestmark = pytest.mark.cluster

URL = "https://fyre.example.org"


def ended(github: GitHub, sha: str) -> dict[str, Any]:
    """Its last status; a receiver that has just come may have to lead first, and to sweep."""
    return until(
        lambda: next((one for one in github.statuses(sha) if one["state"] != "pending"), None), 120
    )


def takes_no_webhook(service: str) -> bool:
    try:
        return requests.post(f"{service}/webhook", b"{}", timeout=20).status_code == 404
    except requests.ConnectionError:  # while the lead changes hands
        return False


@pytest.mark.timeout(900)  # the image is built in it
def test_installed_it_runs_what_is_pushed_with_and_without_webhooks(
    admin: access.Admin, helm: Helm, image: str, disk: str, github: GitHub
) -> None:
    forge, (repository, _, tag) = github.forge, image.rpartition(":")
    relay = f"10.96.0.{64 + os.getpid() % 128}"  # chosen here: a cluster of ours has no DNS
    with admin.namespace() as home, admin.namespace() as runs:
        config = {"url": URL, "forge": forge.base, "api": forge.api, "checkoutImage": access.IMAGE}
        values = {
            "image": {"repository": repository, "tag": tag},
            "config": config,
            "policy": json.dumps(
                {"namespace": runs, "profiles": {"default": {"image": access.IMAGE}}}
            ),
            "state": {"storageClass": disk, "size": "1Gi"},
            "relay": {"url": f"http://{relay}:8021", "clusterIP": relay},
        }
        secret = {
            "token": forge.forge.service_token,
            "webhook": forge.forge.webhook_secret,
            "key": "k" * 32,
        }
        admin.core.create_namespaced_secret(
            home, {"metadata": {"name": "fyre"}, "stringData": secret}
        )
        helm("install", "fyre", f"--namespace={home}", "--wait", "--timeout=3m", values=values)
        service = "http://" + admin.core.read_namespaced_service("fyre", home).spec.cluster_ip

        forge.forge.start(f"{service}/webhook")
        sha = github.push("git rev-parse HEAD")
        status = ended(github, sha)
        assert status["state"] == "success", status
        page = service + status["target_url"].removeprefix(URL)
        assert requests.get(f"{page}/log").text == f"{sha}\n"
        (job,) = admin.batch.list_namespaced_job(runs, label_selector=f"fyre.dev/sha={sha}").items
        told = {one.name: one.value for one in job.spec.template.spec.init_containers[0].env}
        assert told["FYRE_URL"].startswith(f"http://{relay}:8021/git/")
        assert (
            requests.post(
                f"{service}/webhook", b"{}", headers={"X-GitHub-Event": "push"}
            ).status_code
            == 401
        )

        forge.forge.outbox.stop()
        without = {
            "config": {
                **config,
                "poll": True,
                "sweepEvery": "10s",
                "logStore": "/logs/kubernetes/logs",
            },
            "replicas": 2,
            "state": {"persistent": False},
            "volumes": [
                {"name": "logs", "persistentVolumeClaim": {"claimName": "fyre"}}
            ],  # kept, logs and all
            "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
        }
        helm(
            "upgrade",
            "fyre",
            f"--namespace={home}",
            "--wait",
            "--timeout=3m",
            values={**values, **without},
        )
        until(lambda: takes_no_webhook(service), 120)
        later = github.push("git rev-parse HEAD")
        assert ended(github, later)["state"] == "success"
        assert (
            len(admin.batch.list_namespaced_job(runs, label_selector=f"fyre.dev/sha={later}").items)
            == 1
        )
        assert [one["state"] for one in github.statuses(sha)] in (
            ["pending", "success"],
            ["success"],
        )
        assert {requests.get(f"{page}/log").text for _ in range(8)} == {
            f"{sha}\n"
        }  # by whichever of the two
