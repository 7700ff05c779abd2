"""The section kubernetes of a profile: where its runs go, and that reading it loads no client."""

from __future__ import annotations

import subprocess
import sys

from fyre.engines.kubernetes import kubernetes_profile
from fyre.message.spec import RunSpec
from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from tests.support.cluster_profiles import cluster_profile


def test_the_namespace_is_the_profiles_then_the_repositorys_then_the_common_one() -> None:
    policy = Policy(
        namespace="runs",
        namespaces={"ada/*": "ada", "*/lab": "labs"},
        profiles={"gpu": cluster_profile("gpu", namespace="gpus"), "small": Profile("small")},
    )
    gpu = policies.select_profile(policy, RunSpec("make", profile="gpu"))
    plain = policies.select_profile(policy, RunSpec("make"))
    repositories = ("ada/lab", "bob/lab", "bob/x")
    found = [kubernetes_profile.select_namespace(policy, name, plain) for name in repositories]
    assert found == ["ada", "labs", "runs"]
    assert kubernetes_profile.select_namespace(policy, "ada/lab", gpu) == "gpus"
    assert kubernetes_profile.all_namespaces(policy) == ("runs", "ada", "labs", "gpus")


def test_a_policy_is_read_without_the_client_library() -> None:
    code = (
        "import sys\n"
        "from fyre.apps.engine_registry import profile_sections\n"
        "from fyre.runs.policy_file import parse_policy\n"
        "text = 'profiles: {a: {kubernetes: {queue: q}}}'\n"
        "print(parse_policy(text, sections=profile_sections()).profiles['a'].sections)\n"
        "sys.exit('kubernetes' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "queue='q'" in done.stdout) == (0, True), done.stderr
