"""The chart: what it makes of values, what a real API server says of that, and Fyre installed by it, from its image."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
import yaml
from kubernetes import utils

from fyre import config as configs
from fyre import policyfile
from fyre.embedded import api
from fyre.embedded.forge import Forge
from fyre.engines.kubernetes import rbac
from fyre.policy import namespaces
from tests import apps
from tests.cluster import access, build, images
from tests.cluster.conftest import RELAY_HOST
from tests.conftest import git
from tests.embedded.conftest import Served
from tests.test_serving import NAME, GitHub, until

pytestmark = pytest.mark.cluster

CHART = images.ROOT / "deploy" / "chart"
URL = "https://fyre.example.org"
EVERYTHING = {
    "image": {"repository": "ghcr.io/acme/fyre", "digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {"url": URL, "appId": 12345678, "sweepEvery": "1m", "logStore": "s3://logs/fyre", "logFormat": "text"},
    "replicas": 3,
    "state": {"persistent": False},
    "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"a": "b"}},
    "relay": {"port": 9021},
    "ingress": {"enabled": True, "className": "nginx", "annotations": {"a": "b"}, "tlsSecret": "tls"},
    "serviceAccount": {"name": "robot", "annotations": {"a": "b"}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "runs": {"enabled": True},
    },
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "ml"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "priorityClassName": "high",
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.org:3128"}],
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
}
OTHERS_OBJECTS = {
    "existingConfig": "ours",
    "existingPolicy": "ours",
    "runs": {"namespaces": ["one"], "secrets": ["b", "a"]},
    "state": {"existingClaim": "ours"},
    "serviceAccount": {"create": False, "name": "ours"},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
}
SETS = {"plain": {"config": {"url": URL}}, "everything": EVERYTHING, "others' objects": OTHERS_OBJECTS}

Helm = Callable[..., str]


@pytest.fixture(scope="session")
def program() -> Path:
    if not access.KUBECONFIG:
        pytest.skip(access.WHY_NOT)
    return build.binary()


@pytest.fixture
def helm(program: Path, tmp_path: Path) -> Helm:
    """Runs it with these values; what it says. Raises ``CalledProcessError``, whose ``stderr`` says why."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": access.KUBECONFIG}
    file = tmp_path / "values.yaml"

    def run(*words: str, values: dict[str, Any]) -> str:
        file.write_text(json.dumps(values))
        command = [program, "helm", *words, CHART, f"--values={file}"]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture
def rendered(helm: Helm) -> Callable[..., list[dict[str, Any]]]:
    def render(values: dict[str, Any], namespace: str = "home") -> list[dict[str, Any]]:
        return [
            one
            for one in yaml.safe_load_all(helm("template", "fyre", f"--namespace={namespace}", values=values))
            if one
        ]

    return render


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


@pytest.mark.parametrize("name", SETS)
def test_it_is_clean(helm: Helm, name: str) -> None:
    assert "[ERROR]" not in helm("lint", "--strict", values=SETS[name])  # which would end with another code


POLICIES = {
    "example": (images.ROOT / "deploy" / "policy.example.yaml").read_text(),
    "small": "profiles: {a: {secrets: [b, a], allowSecrets: ['x*']}, c: {}, d: {secrets: [a], namespace: other}}",
    "empty": "",
}


@pytest.mark.parametrize("name", POLICIES)
def test_its_roles_are_what_fyre_manifests_prints(rendered: Callable[..., Any], name: str) -> None:
    text = POLICIES[name]
    known = policyfile.read(text)
    objects = rendered({"config": {"url": URL}, "policy": text})
    wanted = rbac.manifests(
        namespaces(known), subject=rbac.account("home", "fyre"), secrets=rbac.secrets(known), exec_mode=False
    )
    found = of_kind(objects, "Role") + of_kind(objects, "RoleBinding")
    for one in (*wanted, *found):
        del one["metadata"]["labels"]  # Helm says that these are its own
    by_name = lambda one: (one["kind"], one["metadata"]["namespace"])  # noqa: E731 - twice
    assert sorted(found, key=by_name) == sorted(wanted, key=by_name)


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_the_receiver_takes_its_configuration(rendered: Callable[..., Any], tmp_path: Path, name: str) -> None:
    objects = rendered(SETS[name])
    maps = [one["data"] for one in of_kind(objects, "ConfigMap")]
    (text,), (policy,) = ([one[key] for one in maps if key in one] for key in ("fyre.yaml", "policy.yaml"))
    secrets = {"token": "t", "webhook": "w", "key": "k" * 32, "app.pem": apps.pem(apps.private_key())}
    for path, content in {
        "policy/policy.yaml": policy,
        **{f"secrets/{key}": one for key, one in secrets.items()},
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    (tmp_path / "fyre.yaml").write_text(text.replace("/etc/fyre", str(tmp_path)))
    (deployment,) = of_kind(objects, "Deployment")
    env = {one["name"]: one.get("value", "10.0.0.1") for one in container(deployment)["env"]}
    config = configs.load(tmp_path / "fyre.yaml", {key: env[key] for key in env if key != "FYRE_CONFIG"}, {})
    port = SETS[name].get("relay", {}).get("port", 8021)
    assert (config.get("url"), config.get("relayUrl")) == (URL, f"http://fyre-relay.home.svc:{port}")
    assert (config.app_key is None, config.get("lease")) == ((True, None) if name == "plain" else (False, "home/fyre"))


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("name", SETS)
def test_an_api_server_takes_every_object(
    admin: access.Admin, namespace: str, rendered: Callable[..., Any], name: str
) -> None:
    values = json.loads(json.dumps(SETS[name]))
    if name == "others' objects":
        values["runs"]["namespaces"] = [namespace]
    else:
        values["policy"] = f"namespace: {namespace}\nprofiles: {{default: {{image: x, secrets: [a]}}}}\n"
    objects = rendered(values, namespace)
    for one in objects:
        utils.create_from_dict(admin.api, one, dry_run="All", field_validation="Strict")
    (deployment,) = of_kind(objects, "Deployment")
    template = deployment["spec"]["template"]
    template["spec"].pop("priorityClassName", None)  # which a pod may not name before it is there
    template["spec"]["serviceAccountName"] = "default"
    pod = {"metadata": {"generateName": "fyre-", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    admin.core.create_namespaced_pod(
        namespace, pod, dry_run="All", field_validation="Strict"
    )  # Pod Security, restricted


def test_a_service_monitor_is_made_where_it_is_asked_for(rendered: Callable[..., Any]) -> None:
    values = {"config": {"url": URL}, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}
    (monitor,) = of_kind(rendered(values), "ServiceMonitor")
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "config.url: the address"),
        ({"config": {"url": URL}, "replica": 2}, "replica"),
        ({"config": {"url": URL, "token": "t"}}, "token"),
        ({"config": {"url": URL}, "replicas": 2}, "state.persistent"),
        ({"config": {"url": URL}, "policy": "a: [b"}, "policy: "),
        ({"config": {"url": URL}, "serviceAccount": {"create": False}}, "serviceAccount.name"),
    ],
)
def test_what_is_wrong_is_said(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm("template", "fyre", values=values)
    assert said in refused.value.stderr


@pytest.fixture(scope="session")
def image(program: Path) -> str:
    """The image of this repository, where the cluster's own containerd has it."""
    if given := os.environ.get("FYRE_TEST_SERVER_IMAGE"):
        return given
    socket_of_ours = Path(str(access.Admin().settings.ssl_ca_cert)).parents[1] / "containerd.sock"
    if not socket_of_ours.exists() or shutil.which("buildah") is None:
        pytest.skip("needs buildah and a cluster of ours, or FYRE_TEST_SERVER_IMAGE")
    name, archive = images.server(build.cache())
    command = ["ctr", f"--address={socket_of_ours}", "--namespace=k8s.io", "images"]
    held = subprocess.run([*command, "list", "-q", f"name=={name}"], check=True, capture_output=True, text=True).stdout
    if not held.strip():
        subprocess.run([*command, "import", archive], check=True, capture_output=True)
    return name


@pytest.fixture
def github(repo: Path, tmp_path: Path) -> Iterator[GitHub]:
    """The embedded forge where pods reach this machine, and somebody who has pushed there."""
    listener = socket.create_server((RELAY_HOST, 0))
    base = f"http://{RELAY_HOST}:{listener.getsockname()[1]}"
    forge = Forge(tmp_path / "forge", base_url=base)
    app = api.application(forge, [RELAY_HOST])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        git("remote", "add", "origin", f"{base}/{NAME}.git", cwd=repo)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        yield GitHub(Served(forge, base), repo)
    finally:
        server.should_exit = True
        thread.join()
        forge.stop()


@pytest.mark.timeout(900)  # the image is built in it
def test_installed_it_runs_what_is_pushed_with_and_without_webhooks(
    admin: access.Admin, namespace: str, helm: Helm, image: str, github: GitHub
) -> None:
    forge, (repository, _, tag) = github.forge, image.rpartition(":")
    relay = f"10.96.0.{64 + os.getpid() % 128}"  # chosen here: a cluster of ours has no DNS
    config = {"url": URL, "forge": forge.base, "api": forge.api, "checkoutImage": access.IMAGE}
    values = {
        "image": {"repository": repository, "tag": tag},
        "config": config,
        "policy": json.dumps({"namespace": namespace, "profiles": {"default": {"image": access.IMAGE}}}),
        "replicas": 2,
        "state": {"persistent": False},
        "relay": {"url": f"http://{relay}:8021", "clusterIP": relay},
    }
    with admin.namespace() as home:
        secret = {"token": forge.forge.service_token, "webhook": forge.forge.webhook_secret, "key": "k" * 32}
        admin.core.create_namespaced_secret(home, {"metadata": {"name": "fyre"}, "stringData": secret})
        helm("install", "fyre", f"--namespace={home}", "--wait", "--timeout=3m", values=values)
        service = "http://" + admin.core.read_namespaced_service("fyre", home).spec.cluster_ip

        forge.forge.start(f"{service}/webhook")
        sha = github.push("git rev-parse HEAD")
        status = github.final(sha)
        assert status["state"] == "success", status
        assert requests.get(service + status["target_url"].removeprefix(URL) + "/log").text == f"{sha}\n"
        (job,) = admin.batch.list_namespaced_job(namespace, label_selector=f"fyre.dev/sha={sha}").items
        told = {one.name: one.value for one in job.spec.template.spec.init_containers[0].env}
        assert told["FYRE_URL"].startswith(f"http://{relay}:8021/git/")
        assert requests.post(f"{service}/webhook", b"{}", headers={"X-GitHub-Event": "push"}).status_code == 401

        forge.forge.outbox.stop()
        values["config"] = {**config, "poll": True, "sweepEvery": "10s"}
        helm("upgrade", "fyre", f"--namespace={home}", "--wait", "--timeout=3m", values=values)
        until(lambda: requests.post(f"{service}/webhook", b"{}").status_code == 404)
        sha = github.push("git rev-parse HEAD")
        assert github.final(sha)["state"] == "success"
        assert len(admin.batch.list_namespaced_job(namespace, label_selector=f"fyre.dev/sha={sha}").items) == 1
