"""A policy file of 0.1, whose profiles have no sections, gives the Jobs that 0.1 made of it.

Later versions add some things to every Job, which are named in ``without_additions``.

``policy_v0_1`` holds 0.1's example, and the Job of each of its profiles. 0.1's own code makes the
same Jobs, but for the two scripts, which are only named there. None of the files may be changed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from fyre.apps.engine_registry import profile_sections
from fyre.engines.kubernetes import job_manifest, kubernetes_profile, rbac
from fyre.engines.kubernetes.job_manifest import JobContext
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.runs import policy as policies
from fyre.runs import policy_file
from fyre.runs.policy import Policy
from tests.unit.engines.kubernetes.test_job_manifest import RUN, told

GOLDEN = Path(__file__).parent / "policy_v0_1"
TODAY = Path(__file__).parents[2] / "deploy" / "policy.example.yaml"
UNSCHEDULED = "PodScheduled"
PROFILES = ("build", "default", "gpu")


@pytest.fixture(params=[GOLDEN / "policy.yaml", TODAY], ids=["flat", "sections"])
def policy(request: pytest.FixtureRequest) -> Policy:
    """The example of 0.1, and that of today, which says the same in sections."""
    return policy_file.load_policy(request.param, profile_sections())


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_gives_the_same_job(policy: Policy, name: str) -> None:
    run = replace(RUN, spec=replace(RUN.spec, profile=name))
    profile = policies.select_profile(policy, run.spec)
    namespace = kubernetes_profile.select_namespace(policy, "acme/lab", profile)
    context = JobContext("fyre", namespace, "alpine/git:2.49.1", relay_url="http://relay")
    job = without_additions(job_manifest.build_job(run, profile, context))
    assert told(job) == (GOLDEN / "jobs" / f"{name}.json").read_text()


def without_additions(job: KubeObject) -> KubeObject:
    """Return a Job without what 0.1 had not, and with the code streamed in, as there.

    0.1 also took a profile with submodules where there is no relay; such a run failed.
    """
    job = deepcopy(job)
    policy = job["spec"]["podFailurePolicy"]
    policy["rules"] = [rule for rule in policy["rules"] if UNSCHEDULED not in conditions(rule)]
    pod = job["spec"]["template"]["spec"]
    checkout, command = pod["initContainers"][0], pod["containers"][0]
    checkout["env"] = [
        {**variable, "value": ""} if variable["name"] == "FYRE_URL" else variable
        for variable in checkout["env"]
        if variable["name"] not in ("FYRE_TIMEOUT", "FYRE_UMASK")
    ]
    checkout["resources"].pop("limits", None)
    del checkout["terminationMessagePolicy"]
    command["terminationMessagePolicy"] = "File"
    for part, key in ((pod, "volumes"), (command, "volumeMounts")):
        part[key] = [one for one in part[key] if one["name"] != "fyre-shm"]
    return job


def conditions(rule: KubeObject) -> list[str]:
    """Return the conditions of pods that a rule of a Job's failure policy is about."""
    return [one["type"] for one in rule.get("onPodConditions", ())]


def test_the_role_is_for_the_same_namespaces_and_secrets(policy: Policy) -> None:
    assert sorted(policy.profiles or {}) == [*PROFILES]
    namespaces = ("fyre-runs", "fyre-secret", "fyre-acme", "fyre-gpu")
    assert kubernetes_profile.all_namespaces(policy) == namespaces
    assert rbac.named_secrets(policy) == {"huggingface", "wandb"}
