"""The sections of a profile: each engine reads its own, and 0.1's keys mean what they meant."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fyre.apps import engine_registry
from fyre.engines.kubernetes import kubernetes_profile
from fyre.engines.kubernetes.kubernetes_profile import KubernetesProfile
from fyre.errors import UserError
from fyre.runs import policy_file
from fyre.runs.policy import Policy
from fyre.runs.profile_file import ProfileSection, SectionLoaders
from fyre.runs.profiles import Profile
from fyre.runs.yaml_document import YamlDocument

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "fyre" / "schemas" / "policy.schema.json").read_text())
BUILTIN = engine_registry.profile_sections()


def parse_partition(section: YamlDocument) -> str:
    def checked(text: str) -> str:
        if text == "none":
            raise section.error_at(("partition",), f"there is no partition {text!r}", "gpu or cpu")
        return text

    return section.parse_at(("partition",), checked, section.texts.get("partition", "cpu"))


SLURM = ProfileSection(
    {
        "description": "The keys of sbatch.",
        "properties": {
            "partition": {"$ref": "#/$defs/name"},
            "gres": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "$defs": {"name": {"description": "A partition's name: gpu.", "type": "string"}},
    },
    parse_partition,
)


def broken() -> ProfileSection | None:
    raise UserError("engine 'broken' can't be loaded", hint="the package x provides it")


INSTALLED: SectionLoaders = {
    **BUILTIN,
    "slurm": lambda: SLURM,
    "free": lambda: ProfileSection({"additionalProperties": True}),
    "queue": lambda: ProfileSection({}),  # its name is one of 0.1's keys
    "broken": broken,
}


def profile_of(text: str, sections: SectionLoaders = INSTALLED) -> Profile:
    policy = policy_file.parse_policy(text, "p.yaml", sections=sections)
    return (policy.profiles or {})["a"]


def test_each_engine_has_its_own_section() -> None:
    profile = profile_of(
        "profiles:\n  a:\n    image: ruby\n    slurm: {partition: gpu}\n    free: {anything: [1]}\n"
        "    kubernetes: {queue: gpus, burst: true}\n    secrets: [wandb]\n"
    )
    assert (profile.image, profile.secrets) == ("ruby", ("wandb",))
    assert profile.sections == {
        "slurm": "gpu",
        "free": {"anything": [1]},
        "kubernetes": KubernetesProfile(queue="gpus", burst=True),
    }
    assert profile.unread_sections == ()


def test_a_key_of_0_1_keeps_its_meaning_whatever_engines_are_called() -> None:
    profile = profile_of("profiles: {a: {queue: gpus}}")
    assert profile.sections == {"kubernetes": KubernetesProfile(queue="gpus")}


def test_flat_keys_and_a_section_are_one(tmp_path: Path) -> None:
    profile = profile_of(
        "profiles: {a: {volumes: [{name: v}], kubernetes: {volumeMounts: "
        "[{name: v, mountPath: /v}]}}}"
    )
    section = kubernetes_profile.kubernetes_section(profile)
    assert section.volume_mounts == ({"name": "v", "mountPath": "/v"},)


def test_a_section_of_an_engine_that_is_not_installed_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("profiles: {a: {image: ruby, slurm: {partition: [1], x: y}}}\n")
    with caplog.at_level(logging.WARNING):
        profile = (policy_file.load_policy(path, BUILTIN).profiles or {})["a"]
    assert profile == Profile("a", "ruby", unread_sections=("slurm",))
    assert caplog.messages == [
        f"{path}: profiles.a.slurm is not read: no engine slurm is installed"
    ]
    with pytest.raises(UserError, match="partition"):  # the same file, where it is
        policy_file.load_policy(path, INSTALLED)


@pytest.mark.parametrize(
    "engine",
    [
        "kubernetes-vc",
        "kubernetes2",
        "queues",
        "slurm2",
        "volume",
        "local-gpu",
        "modal",
        "env-pool",
    ],
)
def test_an_engine_whose_name_is_like_a_key_may_have_a_section(engine: str) -> None:
    installed = {name: load for name, load in INSTALLED.items() if name != "queue"}
    profile = profile_of(f"profiles: {{a: {{image: ruby, {engine}: {{x: y}}}}}}", installed)
    assert profile == Profile("a", "ruby", unread_sections=(engine,))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("kuberntes", "kubernetes"),
        ("kubernetess", "kubernetes"),
        ("kubernetez", "kubernetes"),
        ("kubernetse", "kubernetes"),
        ("ubernetes", "kubernetes"),
        ("slrum", "slurm"),
        ("resource", "resources"),
        ("checkouts", "checkout"),
        ("evn", "env"),
        ("node_selector", "nodeSelector"),
        ("securitycontext", "securityContext"),
    ],
)
def test_a_name_with_one_slip_is_still_an_error(typo: str, meant: str) -> None:
    with pytest.raises(UserError) as caught:
        profile_of(f"profiles: {{a: {{image: ruby, {typo}: {{x: y}}}}}}")
    assert f"unknown key {typo!r}" in caught.value.message
    assert caught.value.hint == f"did you mean {meant}?"


BAD = [
    ("  a:\n    queue: x\n    kubernetes:\n      burst: true\n      queue: y\n",
     "line 6: 'queue: y': profiles.a.kubernetes.queue: 'queue' is given twice",
     "keep one of them: it stands at the profile's top too, in line 3"),
    ("  a:\n    kubernetes:\n      queue: x\n    queue: x\n",
     "line 4: 'queue: x': profiles.a.kubernetes.queue: 'queue' is given twice", "in line 5"),
    ("  a:\n    kuberntes: {queue: x}\n",
     "line 3: 'kuberntes: {queue: x}': profiles.a.kuberntes: unknown key 'kuberntes'",
     "did you mean kubernetes?"),
    ("  a: {slrum: {partition: x}}\n", "profiles.a.slrum: unknown key 'slrum'", "mean slurm?"),
    ("  a: {nodeselector: {x: y}}\n", "profiles.a.nodeselector: unknown key", "nodeSelector?"),
    ("  a: {resource: {cpu: 1}}\n", "profiles.a.resource: unknown key", "mean resources?"),
    ("  a: {ray: 5}\n", "profiles.a.ray: unknown key 'ray'", "the keys are image, resources"),
    ("  a: {ray: }\n", "profiles.a.ray: unknown key 'ray'", "slurm"),
    ("  a: {Ray Cluster: {}}\n", "profiles.a.Ray Cluster: unknown key", "the keys are image"),
    ("  a: {kubernetes: }\n", "profiles.a.kubernetes: None is not a mapping", "kubernetes"),
    ("  a: {kubernetes: [x], queue: x}\n", "kubernetes: ['x'] is not a mapping", "kubernetes"),
    ("  a:\n    kubernetes:\n      nodeselector: {}\n",
     "line 4: 'nodeselector: {}': profiles.a.kubernetes.nodeselector: unknown key",
     "did you mean nodeSelector?"),
    ("  a:\n    kubernetes:\n      image: x\n", "profiles.a.kubernetes.image: unknown key",
     "the keys are namespace, burst"),
    ("  a:\n    kubernetes:\n      volumes: [{name: v}, {name: v}]\n",
     "line 4: 'volumes: [{name: v}, {name: v}]': profiles.a.kubernetes.volumes[1].name: 'v' is",
     "keep one"),
    ("  a:\n    volumeMounts:\n      - {name: v, mountPath: /d}\n    kubernetes: {burst: true}\n",
     "line 4: '- {name: v, mountPath: /d}': profiles.a.volumeMounts[0].name: there is no volume",
     "name it under volumes"),
    ("  a:\n    slurm:\n      partition: 5\n",
     "line 4: 'partition: 5': profiles.a.slurm.partition: must be text, not 5",
     "A partition's name"),
    ("  a: {slurm: {partition: none}}\n", "profiles.a.slurm.partition: there is no partition",
     "gpu or cpu"),
    ("  a: {slurm: {gpus: 5}}\n", "profiles.a.slurm.gpus: unknown key 'gpus'", "partition, gres"),
    ("  a: {local: {}}\n", "profiles.a.local: engine local has no keys of its own", "remove"),
    ("  a:\n    broken: {x: y}\n", "line 3: 'broken: {x: y}': profiles.a.broken: engine 'broken' ",
     "the package x"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says", "hint"), BAD, ids=[says[-40:] for _, says, _ in BAD])
def test_a_bad_section_names_line_key_value_and_what_is_allowed(
    text: str, says: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        profile_of(f"profiles:\n{text}")
    assert caught.value.message.startswith("p.yaml line ")
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


NAMES = st.sampled_from(["a", "b-1", "gpus"])
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "namespace": NAMES,
        "burst": st.booleans(),
        "nodeSelector": st.dictionaries(NAMES, st.sampled_from(["x", 1.10, True]), max_size=2),
        "affinity": st.dictionaries(NAMES, st.integers(), max_size=2),
        "tolerations": st.lists(st.fixed_dictionaries({"key": NAMES}), max_size=2),
        "volumes": st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2),
        "volumeMounts": st.lists(
            st.fixed_dictionaries({"name": NAMES, "mountPath": st.just("/d")}), max_size=2
        ),
        "imagePullSecrets": st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2),
        "serviceAccountName": NAMES,
        "queue": NAMES,
        "securityContext": st.dictionaries(NAMES, st.integers(), max_size=2),
        "terminationGracePeriodSeconds": st.integers(-1, 99),
    },
)


def outcome(profile: dict[str, Any]) -> tuple[Policy | None, str]:
    """Return the policy; or the error, as it is where nothing is at the profile's top."""
    text = yaml.safe_dump({"profiles": {"a": profile}})
    try:
        return policy_file.parse_policy(text, sections=BUILTIN), ""
    except UserError as error:
        key = error.message.rpartition("': profiles.a.")[2]
        return None, key.removeprefix("kubernetes.")


@given(SECTIONS, st.data())
def test_it_makes_no_difference_which_keys_stand_in_the_section(
    section: dict[str, Any], data: st.DataObject
) -> None:
    flat = data.draw(st.sets(st.sampled_from([*section] or [""])))
    mixed: dict[str, Any] = {key: value for key, value in section.items() if key in flat}
    mixed["kubernetes"] = {key: value for key, value in section.items() if key not in flat}
    whole = outcome({"kubernetes": section})
    assert outcome(section) == whole if section else whole[0]
    assert outcome(mixed) == whole


PROFILES = st.one_of(
    SECTIONS,
    st.fixed_dictionaries(
        {},
        optional={
            "image": st.sampled_from(["ruby", "a b", 5]),
            "resources": st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.just(1)),
            "burst": st.sampled_from([True, "yes"]),
            "kubernetes": st.one_of(SECTIONS, st.none(), st.just({"image": "x"})),
            "kuberntes": SECTIONS,
            "slurm": st.one_of(st.integers(), st.just({"partition": "gpu"})),
            "local": st.just({}),
            "secrets": st.lists(st.sampled_from(["wandb", "W"]), max_size=2),
            "checkout": st.fixed_dictionaries({"depth": st.integers(-1, 1)}),
        },
    ),
)


@given(PROFILES)
def test_what_is_read_is_what_the_published_schema_allows(profile: dict[str, Any]) -> None:
    """The schema allows more only where a value has a notation of its own, or a name is close."""
    document = {"profiles": {"a": profile}}
    allowed = jsonschema.Draft202012Validator(SCHEMA).is_valid(document)
    try:
        policy_file.parse_policy(yaml.safe_dump(document), sections=BUILTIN)
    except UserError as error:
        mistakes = ("is not a", "is given twice", "there is no volume", "unknown key", "no keys")
        assert not allowed or any(mistake in error.message for mistake in mistakes)
    else:
        assert allowed


def test_the_published_schema_has_the_sections_of_fyres_own_engines() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["$defs"]["profile"]["properties"]
    for name in engine_registry.BUILTIN_ENGINES:
        section = BUILTIN[name]()
        assert (name in properties) == (section is not None)
        if section is not None:
            assert tuple(SCHEMA["$defs"][f"{name}Section"]["properties"]) == section.keys
