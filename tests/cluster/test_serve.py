"""``fyre serve`` with a cluster: push to a forge, webhook, Job under exactly its Role, status."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import requests

from fyre.apps import config as configs
from fyre.apps.serve import FyreServe
from fyre.engines.kubernetes import rbac
from tests.cluster import access
from tests.conftest import git
from tests.integration.apps.test_serve import NAME, GitHub
from tests.support.local_forge import served
from tests.support.waiting import until

pytestmark = pytest.mark.cluster


def test_a_push_becomes_a_job_and_a_status(
    admin: access.Admin, namespace: str, relay: str, repo: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        json.dumps({"namespace": namespace, "profiles": {"default": {"image": access.IMAGE}}})
    )
    role = rbac.build_role(namespace, secret_names=(), exec_mode=not relay)
    with served(tmp_path / "forge") as forge:
        git("remote", "add", "origin", f"{forge.base}/{NAME}.git", cwd=repo)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        said = {
            "FYRE_TOKEN": forge.forge.service_token,
            "FYRE_WEBHOOK_SECRET": forge.forge.webhook_secret,
        }
        options = {
            "listen": "127.0.0.1:0",
            "url": "https://fyre.example.org",
            "state": str(tmp_path / "state"),
            "forge": forge.base,
            "api": f"{forge.base}/api",
            "engine": "kubernetes",
            "policy": str(policy),
            "kubeconfig": str(admin.kubeconfig(namespace, tmp_path, role["rules"])),
            "checkoutImage": access.IMAGE,
            **({"relay": relay} if relay else {}),
        }
        server = FyreServe(configs.load_config(None, said, options))
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            until(lambda: requests.get(server.listen_url + "/readyz").status_code == 200)
            assert requests.get(server.listen_url + "/readyz").json()["cluster"] == "ok"
            forge.forge.start(f"{server.listen_url}/webhook")
            github = GitHub(forge, repo)
            sha = github.push("git rev-parse HEAD")
            assert github.final(sha)["state"] == "success"
            jobs = admin.batch.list_namespaced_job(namespace, label_selector=f"fyre.dev/sha={sha}")
            assert len(jobs.items) == 1
            until(lambda: not list(server.mirrors.list_pins()))
        finally:
            server.stop()
            thread.join(60)
            assert not thread.is_alive()
