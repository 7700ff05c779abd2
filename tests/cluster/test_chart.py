"""The chart: what it makes of values, and what a real API server says of that."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import utils

from fyre.apps import config as configs
from fyre.apps.engine_registry import profile_sections
from fyre.engines.kubernetes import job_labels, kubernetes_profile, leader_election, rbac
from fyre.runs import policy_file
from tests.cluster import access, images
from tests.cluster.fixtures import Helm
from tests.support import apps

pytestmark = pytest.mark.cluster

URL = "https://fyre.example.org"
EVERYTHING = {
    "image": {"repository": "ghcr.io/acme/fyre", "digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {
        "url": URL,
        "appId": 12345678,
        "sweepEvery": "1m",
        "logStore": "s3://logs/fyre",
        "logFormat": "text",
    },
    "replicas": 3,
    "state": {"persistent": False},
    "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"a": "b"}},
    "relay": {"port": 9021},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"a": "b"},
        "tlsSecret": "tls",
    },
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
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
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
SETS = {
    "plain": {"config": {"url": URL}},
    "everything": EVERYTHING,
    "others' objects": OTHERS_OBJECTS,
}


@pytest.fixture
def rendered(helm: Helm) -> Callable[..., list[dict[str, Any]]]:
    def render(values: dict[str, Any], namespace: str = "home") -> list[dict[str, Any]]:
        return [
            one
            for one in yaml.safe_load_all(
                helm("template", "fyre", f"--namespace={namespace}", values=values)
            )
            if one
        ]

    return render


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


@pytest.mark.parametrize("name", SETS)
def test_it_is_clean(helm: Helm, name: str) -> None:
    assert "[ERROR]" not in helm(
        "lint", "--strict", values=SETS[name]
    )  # which would end with another code


POLICIES = {
    "example": (images.ROOT / "deploy" / "policy.example.yaml").read_text(),
    "small": "profiles: {a: {secrets: [b, a], allowSecrets: ['x*']}, c: {}, "
    "d: {secrets: [a], namespace: other}}",
    "sections": "profiles: {a: {secrets: [b], kubernetes: {namespace: other}}, "
    "b: {slurm: {partition: gpu}}, c: {kubernetes: {queue: q}}}",
    "empty": "",
}


@pytest.mark.parametrize("name", POLICIES)
def test_its_roles_are_what_fyre_manifests_prints(rendered: Callable[..., Any], name: str) -> None:
    text = POLICIES[name]
    known = policy_file.parse_policy(text, sections=profile_sections())
    objects = rendered({"config": {"url": URL}, "policy": text})
    wanted = rbac.build_manifests(
        kubernetes_profile.all_namespaces(known),
        subject=rbac.service_account_subject("home", "fyre"),
        secret_names=rbac.named_secrets(known),
        exec_mode=False,
    )
    found = [
        one
        for one in of_kind(objects, "Role") + of_kind(objects, "RoleBinding")
        if one["metadata"]["name"] == "fyre"
    ]
    for one in (*wanted, *found):
        del one["metadata"]["labels"]  # Helm says that these are its own
    by_name = lambda one: (one["kind"], one["metadata"]["namespace"])  # noqa: E731 - twice
    assert sorted(found, key=by_name) == sorted(wanted, key=by_name)
    (leases,) = [
        one["rules"] for one in of_kind(objects, "Role") if one["metadata"]["name"] == "fyre-lease"
    ]
    assert leases == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": list(leader_election.LEASE_VERBS),
        }
    ]


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_the_receiver_takes_its_configuration(
    rendered: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    objects = rendered(SETS[name])
    maps = [one["data"] for one in of_kind(objects, "ConfigMap")]
    (text,), (policy,) = (
        [one[key] for one in maps if key in one] for key in ("fyre.yaml", "policy.yaml")
    )
    secrets = {
        "token": "t",
        "webhook": "w",
        "key": "k" * 32,
        "app.pem": apps.pem(apps.private_key()),
    }
    for path, content in {
        "policy/policy.yaml": policy,
        **{f"secrets/{key}": one for key, one in secrets.items()},
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    (tmp_path / "fyre.yaml").write_text(text.replace("/etc/fyre", str(tmp_path)))
    (deployment,) = of_kind(objects, "Deployment")
    env = {one["name"]: one.get("value", "10.0.0.1") for one in container(deployment)["env"]}
    config = configs.load_config(
        tmp_path / "fyre.yaml", {key: env[key] for key in env if key != "FYRE_CONFIG"}, {}
    )
    port = SETS[name].get("relay", {}).get("port", 8021)
    assert (config.get("url"), config.get("relayUrl")) == (
        URL,
        f"http://fyre-relay.home.svc:{port}",
    )
    assert (config.app_key is None, config.get("lease")) == (name == "plain", "home/fyre")
    store = "s3://logs/fyre" if name == "everything" else "/var/lib/fyre/kubernetes/logs"
    assert config.get("logStore") == store


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
        values["policy"] = (
            f"namespace: {namespace}\nprofiles: {{default: {{image: x, secrets: [a]}}}}\n"
        )
    objects = rendered(values, namespace)
    for one in objects:
        utils.create_from_dict(admin.api, one, dry_run="All", field_validation="Strict")
    (deployment,) = of_kind(objects, "Deployment")
    template = deployment["spec"]["template"]
    template["spec"].pop("priorityClassName", None)  # which a pod may not name before it is there
    template["spec"]["serviceAccountName"] = "default"
    pod = {
        "metadata": {"generateName": "fyre-", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }
    admin.core.create_namespaced_pod(
        namespace, pod, dry_run="All", field_validation="Strict"
    )  # Pod Security, restricted


def test_its_network_policies_mean_the_pods_that_there_are(rendered: Callable[..., Any]) -> None:
    objects = rendered({**EVERYTHING, "policy": "namespace: runs\nprofiles: {default: {image: x}}"})
    receiver, pods = (
        {"matchLabels": one} for one in (labels_of(objects), dict(job_labels.MANAGED_LABELS))
    )
    policies = {
        one["metadata"]["namespace"]: one["spec"] for one in of_kind(objects, "NetworkPolicy")
    }
    assert (policies["home"]["podSelector"], policies["runs"]["podSelector"]) == (receiver, pods)
    assert pods in [one["podSelector"] for one in policies["home"]["ingress"][1]["from"]]
    assert policies["runs"]["egress"][0]["to"][0]["podSelector"] == receiver
    assert (
        policies["runs"]["egress"][0]["ports"]
        == policies["home"]["ingress"][1]["ports"]
        == [{"port": 9021}]
    )


def test_its_objects_have_names_of_their_own_where_runs_are_in_its_namespace(
    rendered: Callable[..., Any],
) -> None:
    values = {
        "config": {"url": URL},
        "policy": "namespace: home",
        "networkPolicy": {"runs": {"enabled": True}},
    }
    found = [
        (one["kind"], one["metadata"]["namespace"], one["metadata"]["name"])
        for one in rendered(values)
    ]
    assert len(set(found)) == len(found)


def labels_of(objects: list[dict[str, Any]]) -> dict[str, str]:
    """What the receiver's Services and its Deployment select."""
    (deployment,) = of_kind(objects, "Deployment")
    (labels,) = {json.dumps(one["spec"]["selector"]) for one in of_kind(objects, "Service")}
    found: dict[str, str] = json.loads(labels)
    assert deployment["spec"]["selector"] == {"matchLabels": found}
    assert found.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    return found


def test_a_service_monitor_is_made_where_it_is_asked_for(rendered: Callable[..., Any]) -> None:
    values = {
        "config": {"url": URL},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    }
    (monitor,) = of_kind(rendered(values), "ServiceMonitor")
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "config.url: the address"),
        ({"config": {"url": URL}, "replica": 2}, "replica"),
        ({"config": {"url": URL, "token": "t"}}, "token"),
        (
            {"config": {"url": URL, "listen": "0.0.0.0:9000"}},
            "listen",
        ),  # where neither a probe nor a Service asks
        ({"config": {"url": URL, "state": "/data"}}, "state"),  # where nothing can be written
        ({"config": {"url": URL}, "replicas": 2}, "state.persistent"),
        (
            {"config": {"url": URL}, "replicas": 2, "state": {"persistent": False}},
            "config.logStore: without",
        ),
        ({"config": {"url": URL}, "state": {"persistent": False}}, "config.logStore: without"),
        ({"config": {"url": URL}, "policy": "a: [b"}, "policy: "),
        ({"config": {"url": URL}, "serviceAccount": {"create": False}}, "serviceAccount.name"),
        ({"config": {"url": URL}, "existingPolicy": "ours"}, "runs.namespaces"),
        ({"existingConfig": "ours", "ingress": {"enabled": True}}, "ingress.host"),
    ],
)
def test_what_is_wrong_is_said(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm("template", "fyre", values=values)
    assert said in refused.value.stderr
