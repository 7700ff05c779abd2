"""The admin's file: all of it arrives in the policy, and whatever is wrong names line, key and what
is allowed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fyre.apps import engine_registry
from fyre.engines.kubernetes.kubernetes_profile import KubernetesProfile, kubernetes_section
from fyre.errors import UserError
from fyre.message.spec import RunSpec
from fyre.runs import policy as policies
from fyre.runs import policy_file
from fyre.runs.keep_rules import KeepRule
from fyre.runs.policy import Policy
from fyre.runs.profiles import CheckoutOptions, Profile
from fyre.runs.run import Repository, Run
from tests.cluster import access

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "deploy" / "policy.example.yaml"
SCHEMA = json.loads((ROOT / "fyre" / "schemas" / "policy.schema.json").read_text())
SECTIONS = engine_registry.profile_sections()


def parsed(text: str) -> Policy:
    return policy_file.parse_policy(text, sections=SECTIONS)


def test_the_example_says_what_it_seems_to_say() -> None:
    policy = policy_file.load_policy(EXAMPLE, SECTIONS)
    assert policy.namespaces == {"acme/secret-*": "fyre-secret", "acme/*": "fyre-acme"}
    assert (policy.images, policy.other_resources) == (("python:*", "ghcr.io/acme/*"), False)
    assert dict(policy.caps) == {
        "cpu": "64",
        "memory": "512Gi",
        "ephemeral-storage": "200Gi",
        "nvidia.com/gpu": "8",
    }
    assert (policy.timeout_max, policy.timeout_default, policy.retries_max) == (172800, 43200, 3)
    assert (policy.runs_per_push, policy.queue_limit, policy.image_grace, policy.history) == (
        200,
        86400,
        60,
        604800,
    )
    assert (policy.repositories, policy.refs) == (("acme/*",), ("main", "release/*", "fyre/*"))
    assert (policy.permission, policy.teams, policy.verified_signatures) == (
        "write",
        ("acme/ml", "acme/infra"),
        False,
    )
    assert policy.approved_forks is False
    assert parsed("approvedForks: true").approved_forks is True
    assert (policy.runs_at_once, policy.runs_per_day) == (100, 1000)
    assert policies.for_repository(policy, "acme/lab") == policy
    closed = policies.for_repository(policy, "acme/secret-lab")
    assert (closed.refs, closed.permission, closed.verified_signatures, closed.runs_at_once) == (
        ("main",),
        "maintain",
        True,
        10,
    )
    assert (closed.teams, closed.runs_per_day) == (policy.teams, policy.runs_per_day)
    gpu = (policy.profiles or {})["gpu"]
    assert gpu.secrets == ("wandb",)
    assert gpu.secrets_allowed == ("huggingface", "team-*")
    on_cluster = kubernetes_section(gpu)
    assert on_cluster.namespace == "fyre-gpu"
    assert on_cluster.tolerations == (
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    )
    mount = {"name": "datasets", "mountPath": "/data", "readOnly": True}
    assert on_cluster.volume_mounts == (mount,)
    assert on_cluster.image_pull_secrets == ("ghcr",)
    assert gpu.checkout == CheckoutOptions(
        "alpine/git:v2.49.1", 1, "recursive", lfs=True, sparse=("train", "configs")
    )


def test_the_example_shows_every_key() -> None:
    said = yaml.safe_load(EXAMPLE.read_text())
    profiles = [*said["profiles"].values()]
    schema = SCHEMA
    of_profile = schema["$defs"]["profile"]["properties"]
    current = {key for key, about in of_profile.items() if not about.get("deprecated")}
    assert set(said) == set(schema["properties"])
    assert {key for profile in profiles for key in profile} == current
    in_section = {key for profile in profiles for key in profile.get("kubernetes", {})}
    assert in_section == of_profile.keys() - current
    of_checkout = schema["$defs"]["checkout"]["properties"]
    assert {key for profile in profiles for key in profile.get("checkout", {})} == set(of_checkout)


def test_every_field_of_a_profile_can_be_set_from_the_file() -> None:
    profiles = [*(policy_file.load_policy(EXAMPLE, SECTIONS).profiles or {}).values()]
    sections = [kubernetes_section(profile) for profile in profiles]
    never = {
        field.name
        for kind, found in ((Profile, profiles), (KubernetesProfile, sections))
        for field in dataclasses.fields(kind)
        if all(getattr(one, field.name) == getattr(kind(), field.name) for one in found)
    }
    assert never == {"unread_sections"}


def test_what_may_be_overridden_is_every_bound_and_arrives() -> None:
    bounds = SCHEMA["$defs"]["bounds"]["properties"]
    assert set(bounds) == set(SCHEMA["properties"]) - {
        "profiles", "repositories", "overrides", "namespace", "namespaces", "history", "queueLimit",
        "imageGrace", "keepOutputs",
    }  # fmt: skip
    said = {
        key: value for key, value in yaml.safe_load(EXAMPLE.read_text()).items() if key in bounds
    }
    policy = parsed(yaml.safe_dump({"overrides": {"Acme/*": said}}, sort_keys=False))
    here = policy_file.load_policy(EXAMPLE, SECTIONS)
    assert policies.for_repository(policy, "acme/lab") == dataclasses.replace(
        here,
        repositories=("*",),
        profiles={},
        namespace="default",
        namespaces={},
        keep_outputs=(),
        overrides=policy.overrides,
    )
    assert policies.for_repository(policy, "other/lab") == policy


def test_10_2_limits_and_rules_of_outputs_arrive() -> None:
    policy = policy_file.load_policy(EXAMPLE, SECTIONS)
    assert (policy.run_output_bytes, policy.run_output_files) == (20 * 1024**3, 100_000)
    assert policy.keep_outputs == (
        KeepRule(max_age=30 * 86400.0),
        KeepRule(outcomes=("succeeded",), last=5),
        KeepRule(best=("val_acc", "max")),
        KeepRule(default_branch=True, outcomes=("succeeded",), max_age=365 * 86400.0),
        KeepRule(branches=("release/*",)),
        KeepRule(tags=True),
    )
    with pytest.raises(UserError, match=r"keepOutputs\[1\].age"):
        parsed("keepOutputs: [{last: 1}, {age: soon}]\n")


def test_an_empty_file_has_no_profiles_and_the_defaults() -> None:
    for text in ("", "# nothing\n", "{}\n"):
        assert parsed(text) == Policy(profiles={})


def test_values_are_taken_as_written_where_kubernetes_wants_text_and_typed_where_it_does_not() -> (
    None
):
    policy = parsed(
        "caps: {cpu: 0.5, nvidia.com/gpu: 0}\n"
        "profiles:\n"
        "  1.10:\n"
        "    env: {A: 1.10, B: yes, C: }\n"
        "    nodeSelector: {fast: true, gen: 007, day: 2026-01-01}\n"
        "    resources: {cpu: 1.5, memory: 1Gi}\n"
        "    volumes: [{name: conf, configMap: {name: c, defaultMode: 0440, optional: yes}}]\n"
        "    tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]\n"
    )
    profile = (policy.profiles or {})["1.10"]
    assert policy.caps == (("cpu", "0.5"), ("nvidia.com/gpu", "0"))
    assert profile.env == (("A", "1.10"), ("B", "yes"), ("C", ""))
    assert profile.resources == (("cpu", "1.5"), ("memory", "1Gi"))
    section = kubernetes_section(profile)
    assert section.node_selector == {"fast": "true", "gen": "007", "day": "2026-01-01"}
    assert section.volumes[0]["configMap"] == {"name": "c", "defaultMode": 0o440, "optional": True}
    assert section.tolerations[0]["tolerationSeconds"] == 60


BAD = [
    ("repositories: [acme]\n", "repositories[0]: 'acme' is not a valid value", "OWNER/REPOSITORY"),
    ("repositories: acme/*\n", "must be a list, not 'acme/*'", "write repositories: [acme/*]"),
    ("refs: [refs/heads/main]\n", "refs[0]: 'refs/heads/main' is not a valid value",
     "without refs/heads/"),
    ("permission: push\n", "permission: must be one of none, read, triage",
     "none (whoever can push)"),
    ("teams: ['@acme/ml', ml]\n", "teams[1]: 'ml' is not a valid value", "ORGANISATION/TEAM"),
    ("verifiedSignatures: 'yes'\n", "verifiedSignatures: must be true or false, not 'yes'",
     "true: only commits"),
    ("runsAtOnce: 0\n", "runsAtOnce: must be at least 1, not 0", "1 or more"),
    ("runsPerDay: 1.5\n", "runsPerDay: must be a whole number, not 1.5", "1 or more"),
    ("overrides: {acme*: {}}\n", "overrides: 'acme*' is not a valid value", "OWNER/REPOSITORY"),
    ("overrides:\n  a/b:\n    ref: [x]\n", "line 3: 'ref: [x]': overrides.a/b.ref: unknown key",
     "did you mean refs?"),
    ("overrides:\n  a/b: {history: 1d}\n", "overrides.a/b.history: unknown key",
     "the keys are refs, permission"),
    ("timeoutDefault: 2h\noverrides:\n  a/b: {timeoutMax: 1h}\n",
     "a/b.timeoutDefault: it is longer", "at most 1h"),
    ("overrides: {a/b: {runsPerDay: 9}}\nhistory: 2h\n",
     "line 2: 'history: 2h': history: runsPerDay", "at least 1d"),
    ("image: [a]\n", "line 1: 'image: [a]': image: unknown key 'image'", "did you mean images?"),
    ("timeoutMax: 2 days\n", "line 1: 'timeoutMax: 2 days': timeoutMax: '2 days' is not a duration",
     "write it like"),
    ("\nqueueLimit: 90\n", "line 2: 'queueLimit: 90': queueLimit: '90' has no unit", "write 90s"),
    ("timeoutMax: 1h\ntimeoutDefault: 2h\n",
     "line 2: 'timeoutDefault: 2h': timeoutDefault: it is longer", "most 1h"),
    ("retriesMax: 99\n", "retriesMax: must be at most 20, not 99", "0 to 20"),
    ("retriesMax: three\n", "retriesMax: must be a whole number, not 'three'", "0 to 20"),
    ("runsPerPush: 0\n", "runsPerPush: must be at least 1, not 0", "1 or more"),
    ("otherResources: 'no'\n", "otherResources: must be true or false, not 'no'", "true"),
    ("images: python:*\n", "images: must be a list, not 'python:*'", "write images: ['python:*']"),
    ("images:\n- a\n- 1\n", "line 3: '- 1': images[1]: must be text, not 1", "A glob"),
    ("namespace: Fyre_Runs\n", "namespace: 'Fyre_Runs' is not a valid value", "lower-case letters"),
    ("namespaces: {a/*: 'a b'}\n", "namespaces.a/*: 'a b' is not a valid value",
     "lower-case letters"),
    ("caps:\n  cpu: 4\n  mem: 8Gi\n", "line 3: 'mem: 8Gi': caps.mem: 'mem' is not a resource",
     "write memory: 8Gi"),
    ("caps: {cpu: lots}\n", "caps.cpu: 'lots' is not a quantity", "16Gi"),
    ("caps: {cpu: -1}\n", "caps.cpu: '-1' is not a quantity", "16Gi"),
    ("profiles: [gpu]\n", "profiles: must be a mapping of keys to values, not ['gpu']", "by name"),
    ("profiles:\n  a b: {}\n", "line 2: 'a b: {}': profiles.a b: 'a b' is not a profile's name",
     "ask"),
    ("profiles:\n  gpu:\n", "line 2: 'gpu:': profiles.gpu: must be a mapping of keys",
     "image, resources"),
    ("profiles:\n  gpu:\n    nodeselector: {}\n",
    "line 3: 'nodeselector: {}': profiles.gpu.nodeselector: unknown key",
     "did you mean nodeSelector?"),
    ("profiles:\n  gpu:\n    image: a b\n", "profiles.gpu.image: 'a b' is not an image",
     "python:3.12"),
    ("profiles: {a: {checkout: {image: A}}}\n", "profiles.a.checkout.image: 'A' is not an image",
     "python:3.12"),
    ("profiles: {a: {checkout: {submodules: all}}}\n",
     "profiles.a.checkout.submodules: must be one of", "recurs"),
    ("profiles: {a: {checkout: {dept: 3}}}\n", "profiles.a.checkout.dept: unknown key 'dept'",
     "did you mean depth?"),
    ("profiles: {a: {resources: {gpu: 1}}}\n", "profiles.a.resources.gpu: 'gpu' is not",
     "write nvidia.com/gpu: 1"),
    ("profiles: {a: {env: {FYRE_X: 1}}}\n", "profiles.a.env.FYRE_X: FYRE_X is Fyre's own",
     "does not begin"),
    ("profiles: {a: {env: [{name: A}]}}\n",
     "profiles.a.env: must be a mapping of keys to values, not [{'name': 'A'}]", "as it is"),
    ("profiles: {a: {secrets: [Wandb]}}\n", "profiles.a.secrets[0]: 'Wandb' is not a valid value",
     "lower-case letters"),
    ("profiles: {a: {allowSecrets: ['{a,b}']}}\n",
     "profiles.a.allowSecrets[0]: '{a,b}' is not a valid value", "a glob"),
    ("profiles: {a: {imagePullSecrets: [ghcr]}}\n",
     "profiles.a.imagePullSecrets[0]: must be ", "name:"),
    ("profiles: {a: {tolerations: [{key: a, efect: b}]}}\n", "tolerations[0].efect: unknown key",
     "mean effect?"),
    ("profiles: {a: {tolerations: [{value: true}]}}\n",
     "tolerations[0].value: must be text, not true", "Quote"),
    ("profiles: {a: {volumes: [{emptyDir: {}}]}}\n", "volumes[0]: lacks name",
     "A volume: name"),
    ("profiles: {a: {volumes: [{name: fyre-work}]}}\n",
     "volumes[0].name: 'fyre-work' is not a valid value", "Fyre's own"),
    ("profiles: {a: {volumes: [{name: v}, {name: v}]}}\n", "volumes[1].name: 'v' is given twice",
     "keep one"),
    ("profiles: {a: {volumeMounts: [{name: v, mountPath: /d}]}}\n", "there is no volume 'v'",
     "name it under volumes"),
    ("profiles: {a: {volumes: [{name: w}], volumeMounts: [{name: v, mountPath: /d}]}}\n",
     "no volume 'v'", "are w"),
    ("profiles: {a: {volumeMounts: [{name: v, mountPath: d}]}}\n",
     "mountPath: 'd' is not a valid value", "An absolute path"),
    ("profiles: {a: {affinity: {weight: .inf}}}\n",
     "profiles.a.affinity: Kubernetes does not accept it", "quote"),
    ("profiles: {a: {affinity: {key: !!binary aGk=}}}\n",
     "profiles.a.affinity: Kubernetes does not accept", "quote"),
    ("profiles: {a: {terminationGracePeriodSeconds: -1}}\n",
     "Seconds: must be at least 0, not -1", "0 or more"),
    ("namespace: a\nnamespace: b\n",
     "line 2: 'namespace: b': namespace: 'namespace' is given twice", "keep one"),
    ("profiles: {a: &x {}, b: *x}\n",
     "line 1: 'profiles: {a: &x {}, b: *x}': YAML aliases are not allowed", "write"),
    ("? [a]\n: b\n", "line 1: '? [a]': a key is a list or a mapping", "write a word"),
    ("- a\n", "line 1: '- a': the file must be a mapping of keys to values, not ['a']",
     "Bounds of what a push may start"),
    ("a: b: c\n", "line 1: 'a: b: c': not YAML", "check the indentation"),
    ("a: !x b\n", "line 1: 'a: !x b': not YAML", "check"),
    ("\0", "not YAML", "characters"),
    ("a: " + "[" * 3000 + "]" * 3000, "nested deeper than 50 levels", "nest fewer"),
    ("a:\n  " + "- " * 60 + "b\n", "line 2: '- - - ", "nest fewer"),
    ("a: !x b\nb: " + "{c: " * 60 + "1" + "}" * 60, "line 2: ", "nest fewer"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says", "hint"), BAD, ids=[says[-40:] for _, says, _ in BAD])
def test_a_bad_file_names_line_key_value_and_what_is_allowed(
    text: str, says: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        policy_file.parse_policy(text, "p.yaml", sections=SECTIONS)
    assert caught.value.message.startswith("p.yaml line ")
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        policy_file.load_policy(tmp_path / "none.yaml", SECTIONS)
    (tmp_path / "latin.yaml").write_bytes(b"namespace: caf\xe9\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        policy_file.load_policy(tmp_path / "latin.yaml", SECTIONS)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_policy_is_plain_data_for_the_api_server() -> None:
    for profile in (policy_file.load_policy(EXAMPLE, SECTIONS).profiles or {}).values():
        json.dumps(dataclasses.asdict(profile), allow_nan=False)


@pytest.mark.cluster
def test_the_api_server_takes_a_job_of_every_profile_of_the_example() -> None:
    from fyre.engines.kubernetes.api_client import KubernetesClient
    from fyre.engines.kubernetes.job_manifest import JobContext, build_job

    if not access.KUBECONFIG:
        pytest.skip(access.WHY_NOT)
    repository = Repository("http://forge/api", 1, "acme/lab")
    api = KubernetesClient(access.KUBECONFIG)
    with access.Admin().namespace(enforce="privileged") as space:
        for name, profile in (policy_file.load_policy(EXAMPLE, SECTIONS).profiles or {}).items():
            run = Run(
                name * 5,
                repository,
                "1" * 40,
                "2" * 40,
                (),
                "refs/heads/main",
                "ada",
                "run",
                RunSpec("make"),
                "d",
            )
            made = api.create_job(
                space,
                build_job(
                    run, profile, JobContext("fyre", space, "alpine/git", relay_url="http://relay")
                ),
                dry_run=True,
            )
            pod, section = made["spec"]["template"]["spec"], kubernetes_section(profile)
            assert [pod.get("nodeSelector", {}), pod.get("affinity", {})] == [
                section.node_selector,
                section.affinity,
            ]
            assert [
                one for one in pod.get("tolerations", []) if one not in section.tolerations
            ] == []
    api.close()


KEYS = st.sampled_from(
    [
        *SCHEMA["properties"],
        "a/*",
        *SCHEMA["$defs"]["profile"]["properties"],
        "x",
    ]
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-9, 99),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["2h"]),
    ),
    lambda below: st.one_of(st.lists(below, max_size=2), st.dictionaries(KEYS, below, max_size=3)),
    max_leaves=12,
)


@given(VALUES)
def test_any_yaml_is_a_policy_or_a_reason(value: object) -> None:
    try:
        parsed(yaml.safe_dump(value, allow_unicode=True))
    except UserError as error:
        assert error.message.startswith("policy.yaml line ")
