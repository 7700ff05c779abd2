"""An admin's commands on a real cluster.

The Role as printed is enough, missing rights are named, and leftovers are found.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from fyre.apps.kubernetes_runtime import check_cluster_rights
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.errors import UserError
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from tests.cluster import access

pytestmark = pytest.mark.cluster

POLICY = (
    "namespace: {}\nprofiles:\n"
    "  default: {{image: busybox, secrets: [token], allowSecrets: [other]}}\n"
)


def fyre(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fyre", *words], capture_output=True, text=True, check=False
    )


def printed(*words: str) -> list[dict]:
    done = fyre("manifests", *words)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_the_role_as_printed_is_all_that_fyre_up_asks_for(
    admin: access.Admin, tmp_path: Path
) -> None:
    with admin.namespace() as space:
        config = admin.kubeconfig(space, tmp_path, [])
        file = tmp_path / "policy.yaml"
        file.write_text(POLICY.format(space))
        accounts = admin.core.list_namespaced_service_account(space).items
        (account,) = [one.metadata.name for one in accounts if one.metadata.name != "default"]
        profile = Profile(image="busybox", secrets=("token",), secrets_allowed=("other",))
        policy = Policy(namespace=space, profiles={"default": profile})
        api = KubernetesClient(str(config))
        with pytest.raises(UserError) as refused:
            check_cluster_rights(api, policy, exec_mode=True)
        for right in (
            "create jobs",
            "patch jobs",
            "watch pods",
            "get pods/log",
            "get secrets token",
            "create pods/exec",
        ):
            assert right in refused.value.message
        role, binding = printed(
            "--policy", str(file), "--exec", "--service-account", f"{space}/{account}"
        )
        admin.rbac.create_namespaced_role(space, role)
        admin.rbac.create_namespaced_role_binding(space, binding)
        check_cluster_rights(api, policy, exec_mode=True)
        with pytest.raises(UserError, match="get secrets third"):
            check_cluster_rights(
                api,
                Policy(namespace=space, profiles={"x": Profile(secrets=("third",))}),
                exec_mode=True,
            )
        api.close()


def test_what_is_left_is_found_and_can_be_deleted(admin: access.Admin) -> None:
    with admin.namespace() as space:
        for thing in printed("--namespace", space):
            kind = "role" if thing["kind"] == "Role" else "role_binding"
            getattr(admin.rbac, f"create_namespaced_{kind}")(space, thing)
        labels = {"app.kubernetes.io/managed-by": "fyre"}
        container = {"name": "run", "image": access.IMAGE, "command": ["true"]}
        pod = {"restartPolicy": "Never", "containers": [container]}
        for name, of in (("ours", labels), ("theirs", {})):
            job = {
                "metadata": {"name": name, "labels": of},
                "spec": {"suspend": True, "template": {"spec": pod}},
            }
            client.BatchV1Api(admin.api).create_namespaced_job(space, job)
        left = printed("--delete", "--namespace", space, "--kubeconfig", access.KUBECONFIG)
        assert [(one["kind"], one["metadata"]["name"]) for one in left] == [
            ("Job", "ours"),
            ("RoleBinding", "fyre"),
            ("Role", "fyre"),
        ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kubeconfig", "/nowhere"), "no cluster"),
        (("--policy", "/nowhere"), "the policy can't be read"),
        (("--relay", "here"), "is not HOST:PORT"),
        (("--relay", "192.0.2.1:80"), "can't listen on 192.0.2.1:80"),
    ],
)
def test_what_fyre_up_can_not_use_is_said_in_a_line(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    if not access.KUBECONFIG:
        pytest.skip(access.WHY_NOT)
    config = () if "--kubeconfig" in words else ("--kubeconfig", access.KUBECONFIG)
    done = fyre(
        "up", "--root", str(tmp_path), "--port", "0", "--engine", "kubernetes", *config, *words
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 2, done.stderr  # the error and its hint


def test_a_cluster_that_is_not_there_is_said_in_a_line(admin: access.Admin, tmp_path: Path) -> None:
    config = admin.write_kubeconfig(tmp_path / "config", {"token": "x"}, "https://127.0.0.1:9")
    done = fyre(
        "up",
        "--root",
        str(tmp_path),
        "--port",
        "0",
        "--engine",
        "kubernetes",
        "--kubeconfig",
        str(config),
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 2), done.stderr
    assert "can't be reached" in done.stderr


@pytest.mark.usefixtures("admin")
def test_up_refuses_a_namespace_that_the_cluster_does_not_have(tmp_path: Path) -> None:
    words = ["up", "--engine", "kubernetes", "--port", "0", "--root", str(tmp_path)]
    words += ["--kubeconfig", access.KUBECONFIG, "--namespace", "does-not-exist"]
    done = fyre(*words)
    assert done.returncode == 1
    assert done.stderr.endswith(
        " has no namespace does-not-exist\n"
        "hint: kubectl create namespace does-not-exist, or choose another: --namespace\n"
    )


def test_the_doctor_finds_what_is_wrong_with_a_cluster(admin: access.Admin, tmp_path: Path) -> None:
    def found(policy: str, *words: str) -> str:
        file = tmp_path / "policy.yaml"
        file.write_text(policy)
        given = ("--kubeconfig", access.KUBECONFIG, *words)
        return fyre("doctor", "--cluster", "--policy", str(file), *given).stdout

    with admin.namespace() as space:
        nobody = admin.kubeconfig(space, tmp_path, [])
        good = f"namespace: {space}\nprofiles:\n  default: {{image: {access.IMAGE}}}\n"
        assert f"ok    profile default is good for {space}" in found(good)
        assert f"fix   in namespace {space} we may not get jobs" in found(
            good, "--kubeconfig", str(nobody)
        )
        nowhere = found(good.replace(space, "nowhere"))  # new_user_6
        assert " has no namespace nowhere\n" in nowhere
        assert "grants every right" not in nowhere
        bad = good.replace("{image", "{nodeSelector: {'a b': c}, image")
        assert "fix   profile default: the cluster refused it" in found(bad)
        job = {"metadata": {"name": "left", "labels": {"app.kubernetes.io/managed-by": "fyre"}}}
        container = {"name": "run", "image": access.IMAGE, "command": ["true"]}
        job["spec"] = {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        }
        client.BatchV1Api(admin.api).create_namespaced_job(space, job)
        since = "2020-01-01T00:00:00Z"
        failed = {"lastTransitionTime": since, "reason": "x", "message": "x", "status": "True"}
        ended = {
            "startTime": since,
            "conditions": [{"type": kind, **failed} for kind in ("FailureTarget", "Failed")],
        }
        client.BatchV1Api(admin.api).patch_namespaced_job_status("left", space, {"status": ended})
        assert f"fix   1 ended Jobs in {space} were never reported, left first" in found(good)
