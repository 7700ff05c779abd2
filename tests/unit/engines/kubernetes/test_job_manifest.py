"""From a run and its profile to a Job: by golden files, and by what a container is truly given.

Golden files hold Jobs whole, but for the two scripts, which have tests of their own. After a
change that is meant: ``python -m tests.unit.engines.kubernetes.test_job_manifest`` writes them
anew, and the diff says what it means for every Job. ``tests/cluster/test_manifests.py`` has a real
API server judge the same files.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fyre.engines.kubernetes import job_deadlines, job_labels, job_manifest
from fyre.engines.kubernetes.job_manifest import JobContext
from fyre.engines.kubernetes.outputs import agent_container
from fyre.engines.kubernetes.outputs.agent_container import UploadTarget
from fyre.errors import UserError
from fyre.message.spec import RunSpec
from fyre.runs import run as runs
from fyre.runs.profiles import CheckoutOptions, Profile
from fyre.runs.run import Repository, Run
from tests.support.cluster_profiles import cluster_profile

GOLDEN = Path(__file__).parent / "golden"
SCRIPTS = ("checkout.sh", "command.sh")

RUN = Run(
    "0123456789abcdef0123456789",
    Repository("https://forge.example/api/v3", 4711, "ada/lab"),
    "a" * 40,
    "b" * 40,
    ("c" * 40,),
    "refs/heads/main",
    "ada",
    "train",
    RunSpec("python train.py"),
    "d" * 16,
    fyre_id="01JD0000000000000000000000",
    created_at=1767323045.0,
)
FULL = replace(
    RUN,
    attempt=2,
    spec=RunSpec(
        "python train.py --out \"$HOME/$(date)\" '$(FYRE_SHA)' $$",
        "train",
        "gpu",
        "registry.example/lab/train:latest",
        (("cpu", "8"), ("memory", "64Gi"), ("nvidia.com/gpu", "2")),
        7200,
        2,
        (("SEED", "42"), ("MOTTO", "$(FYRE_KEY) costs $5\nand é")),
        ("wandb", "tokens"),
        "models/tiny",
        ("pip install -e .", "make data"),
    ),
)
PLACE = JobContext("fyre", "lab", "alpine/git:2.49.1")
RELAY = JobContext(
    "fyre-two",
    "lab-gpu",
    "alpine/git:2.49.1",
    "http://fyre.fyre.svc:8080/git/4711",
    "a-$key",
    "https://forge.example",
)
GPU = cluster_profile(
    name="gpu",
    namespace="lab-gpu",
    image="python:3.12",
    resources=(("cpu", "4"), ("ephemeral-storage", "20Gi")),
    burst=True,
    checkout=CheckoutOptions(
        "registry.example/git-lfs:3", 0, "recursive", True, ("models", "data dir")
    ),
    node_selector={"cloud.example/gpu": "a100"},
    affinity={
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                ]
            }
        }
    },
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    volumes=(
        {"name": "data", "persistentVolumeClaim": {"claimName": "datasets", "readOnly": True}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
    ),
    volume_mounts=(
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "shm", "mountPath": "/dev/shm"},
    ),
    env=(("DATA", "/data"), ("SEED", "1")),
    secrets=("wandb", "registry"),
    secrets_allowed=("tok*",),
    image_pull_secrets=("registry",),
    service_account="trainer",
    priority_class="batch-low",
    queue="gpus",
    runtime_class="nvidia",
    scheduler="binpack",
    security_context={"fsGroup": 3000, "supplementalGroups": [4000]},
    container_security_context={"readOnlyRootFilesystem": True},
    termination_grace_seconds=120,
)
UPLOAD = UploadTarget("fyre:1", "http://relay:8021/uploads/0123456789abcdef0123456789", "token")
GOLDENS = {
    "plain": (RUN, Profile(image="python:3.12"), PLACE),
    "everything": (FULL, GPU, RELAY),
    "outputs": (
        replace(RUN, spec=RunSpec("python train.py", outputs=("model.pt", "?plots/*.png"))),
        cluster_profile(
            image="python:3.12",
            resources=(("memory", "1Gi"),),
            container_security_context={"runAsUser": 3000},
            upload_seconds=900,
        ),
        replace(RELAY, upload=UPLOAD),
    ),
}


def told(thing: Any) -> Any:
    """A Job for a golden file: what is a script of ours is but named."""
    text = json.dumps(thing, indent=2, ensure_ascii=False) + "\n"
    for name in SCRIPTS:
        script = json.dumps(
            job_manifest.escape_expansion(job_manifest.load_script(name)), ensure_ascii=False
        )
        assert text.count(script) == 1
        text = text.replace(script, f'"<{name}>"')
    return text.replace(agent_container.pack_program(), "<agent>")


def golden(name: str) -> job_manifest.KubeObject:
    """The Job of a golden file, with the scripts of today."""
    text = (GOLDEN / f"{name}.json").read_text()
    text = text.replace("<agent>", agent_container.pack_program())
    for script in SCRIPTS:
        text = text.replace(
            f'"<{script}>"',
            json.dumps(job_manifest.escape_expansion(job_manifest.load_script(script))),
        )
    job: job_manifest.KubeObject = json.loads(text)
    return job


def limits_of(run: Run, **profile: Any) -> tuple[Any, Any]:
    spec = job_manifest.build_job(run, cluster_profile(image="x", **profile), RELAY)["spec"]
    pod = spec["template"]["spec"]
    both = (*pod["initContainers"], *pod["containers"])
    return tuple(one.get("resources", {}).get("limits") for one in both)  # type: ignore[return-value] # two


def test_9_26_each_container_has_limits_of_what_the_command_has_limits_of() -> None:
    """A quota on limits refuses a pod if one container has none."""
    small = (("cpu", "500m"), ("memory", "64Mi"))
    assert limits_of(RUN, resources=small) == ({"cpu": "1", "memory": "1Gi"}, dict(small))
    large = (("cpu", "4"), ("memory", "16Gi"), ("ephemeral-storage", "9Gi"), ("x.y/gpu", "1"))
    assert limits_of(RUN, resources=large) == (dict(large[:3]), dict(large))
    assert limits_of(RUN, resources=small, burst=True) == (None, {})
    assert limits_of(RUN) == (None, None)


def test_9_28_what_only_the_relay_has_is_refused_where_there_is_none() -> None:
    for options in (CheckoutOptions(submodules="1"), CheckoutOptions(lfs=True)):
        profile = Profile(image="x", checkout=options)
        job_manifest.build_job(RUN, profile, RELAY)
        with pytest.raises(UserError, match="can only fetch from the relay"):
            job_manifest.build_job(RUN, profile, PLACE)


def test_9_40_only_a_job_with_retries_has_an_index() -> None:
    jobs = {
        retries: job_manifest.build_job(
            replace(RUN, spec=RunSpec("true", retries=retries)), cluster_profile(image="a"), PLACE
        )["spec"]
        for retries in (None, 0, 3)
    }
    assert jobs[None] == jobs[0]
    assert not {"completionMode", "backoffLimitPerIndex"} & jobs[0].keys()
    assert (jobs[3]["completionMode"], jobs[3]["completions"]) == ("Indexed", 1)
    assert jobs[3]["backoffLimit"] == jobs[3]["backoffLimitPerIndex"] == 3


def test_9_29_shared_memory_and_the_modes_of_files() -> None:
    def pod_of(**profile: Any) -> Any:
        job = job_manifest.build_job(RUN, cluster_profile(image="x", **profile), RELAY)
        return job["spec"]["template"]["spec"]

    def umask(pod: Any) -> str:
        env = {one["name"]: one["value"] for one in pod["initContainers"][0]["env"]}
        return str(env["FYRE_UMASK"])

    pod = pod_of(shm_size="8Gi")
    memory = {"medium": "Memory", "sizeLimit": "8Gi"}
    assert {"name": "fyre-shm", "emptyDir": memory} in pod["volumes"]
    assert {"name": "fyre-shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
    assert umask(pod) == umask(pod_of(security_context={"runAsUser": 7})) == "022"
    assert umask(pod_of(container_security_context={"runAsUser": 7})) == "0"
    assert umask(pod_of(security_context={"runAsUser": None})) == "0"


@pytest.mark.parametrize("name", GOLDENS)
def test_jobs_are_as_in_the_golden_files(name: str) -> None:
    assert told(job_manifest.build_job(*GOLDENS[name])) == (GOLDEN / f"{name}.json").read_text()
    assert golden(name) == job_manifest.build_job(*GOLDENS[name])


def expand(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of it (k8s.io/kubernetes third_party/forked/golang/expansion), byte
    by byte as there.
    """
    data, out, at = text.encode(), b"", 0
    while at < len(data):
        following = data[at + 1 : at + 2]
        if data[at : at + 1] != b"$" or not following:
            dollar = data.find(b"$", at + 1)
            end = dollar if dollar >= 0 else len(data)
            out, at = out + data[at:end], end
        elif following == b"$":
            out, at = out + b"$", at + 2
        elif following == b"(" and (end := data.find(b")", at + 2)) >= 0:
            name = data[at + 2 : end].decode()
            out, at = out + variables.get(name, f"$({name})").encode(), end + 1
        else:  # it takes the byte for a code point, which mangles what is not ASCII
            out, at = out + b"$" + chr(following[0]).encode(), at + 2
    return out.decode()


def given_to(container: job_manifest.KubeObject) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a container, as the kubelet makes them."""
    env: dict[str, str] = {}
    for pair in container["env"]:
        env[pair["name"]] = expand(pair["value"], env)
    return [expand(word, env) for word in container["command"]], env


def command_of(job: job_manifest.KubeObject) -> job_manifest.KubeObject:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


def checkout_of(job: job_manifest.KubeObject) -> job_manifest.KubeObject:
    (container,) = job["spec"]["template"]["spec"]["initContainers"]
    return dict(container)


def test_the_expander_is_kubernetes_own() -> None:
    """The cases of expand_test.go."""
    known = {"VAR_A": "A", "VAR_B": "B", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": ""}
    for text, expected in {
        "$(VAR_A)": "A",
        "___$(VAR_B)___": "___B___",
        "$(VAR_A)$(VAR_B)": "AB",
        "$(VAR_A)$": "A$",
        "$$(VAR_A)": "$(VAR_A)",
        "$$$(VAR_A)": "$A",
        "$$$$(VAR_A)": "$$(VAR_A)",
        "$(VAR_REF)": "$(VAR_A)",
        "foo$(VAR_EMPTY)bar": "foobar",
        "$VAR_A": "$VAR_A",
        "$((VAR_A)": "$((VAR_A)",
        "$": "$",
        "$$": "$",
        "$(VAR_A": "$(VAR_A",
        "$(missing)": "$(missing)",
        "$()": "$()",
        "\\$(VAR_A)": "\\A",
    }.items():
        assert expand(text, known) == expected, text


SHELLY = st.lists(
    st.sampled_from(
        ["$", "$$", "(", ")", "{", "SEED", "FYRE_SHA", "é", "\n", "\\", "'", "$(FYRE_KEY)"]
    ),
    max_size=12,
)
WORDS = st.one_of(
    SHELLY.map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
ENV_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)


@given(
    command=WORDS,
    setup=st.lists(WORDS, max_size=3),
    env=st.dictionaries(ENV_NAMES, WORDS, max_size=4),
    key=WORDS,
)
@example("$(HOME)", ["$$(SEED)", "$(A)"], {"SEED": "1", "A": "$(SEED)$"}, "$(FYRE_SHA)")
def test_a_container_is_given_what_was_written(
    command: str, setup: list[str], env: dict[str, str], key: str
) -> None:
    run = replace(
        RUN, spec=RunSpec(command, env=tuple(env.items()), setup=tuple(setup), workdir="a$(HOME)")
    )
    job = job_manifest.build_job(run, Profile(image="i"), replace(PLACE, relay_key=key))
    words, variables = given_to(command_of(job))
    assert words == ["sh", "-c", job_manifest.load_script("command.sh"), "fyre", command, *setup]
    assert {name: variables[name] for name in env} == env
    assert variables["FYRE_WORKDIR"] == "a$(HOME)"
    words, variables = given_to(checkout_of(job))
    assert words == ["sh", "-c", job_manifest.load_script("checkout.sh"), "checkout"]
    assert variables["FYRE_KEY"] == key
    noted = json.loads(job["metadata"]["annotations"][job_labels.RUN_ANNOTATION])
    assert runs.from_json(noted) == run


def test_the_command_has_no_key_to_the_code() -> None:
    job = job_manifest.build_job(FULL, GPU, RELAY)
    assert "a-$$key" in json.dumps(checkout_of(job))
    del job["spec"]["template"]["spec"]["initContainers"]
    assert "$key" not in json.dumps(job)


@pytest.mark.parametrize(
    "spec",
    [
        RunSpec("x" * job_manifest.MAX_RUN_ANNOTATION_BYTES),
        RunSpec("\x01" * 60_000),
        RunSpec("c", env=(("BIG", "é" * 130_000),)),
    ],
    ids=["command", "escapes", "environment"],
)
def test_what_a_job_cannot_hold_is_refused(spec: RunSpec) -> None:
    with pytest.raises(UserError, match=r"take \d\d\d,\d\d\d bytes") as refused:
        job_manifest.build_job(replace(RUN, spec=spec), Profile(image="i"), PLACE)
    assert refused.value.hint


@pytest.mark.parametrize(
    "spec",
    [RunSpec("echo \udcff"), RunSpec("c", env=(("A", "\udcff"),)), RunSpec("c", setup=("\ud800",))],
)
def test_bytes_that_are_no_text_are_refused(spec: RunSpec) -> None:
    with pytest.raises(UserError, match="no UTF-8"):
        job_manifest.build_job(replace(RUN, spec=spec), Profile(image="i"), PLACE)


def test_no_image_is_refused() -> None:
    with pytest.raises(UserError, match="no image") as refused:
        job_manifest.build_job(RUN, Profile(), PLACE)
    assert refused.value.hint.startswith("Fyre-Image:")


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("python", "Always"),
        ("python:latest", "Always"),
        ("localhost:5000/lab/python", "Always"),
        ("python:3.12", "IfNotPresent"),
        ("localhost:5000/python:3.12", "IfNotPresent"),
        (f"python@sha256:{'a' * 64}", "IfNotPresent"),
        (f"python:latest@sha256:{'a' * 64}", "IfNotPresent"),
    ],
)
def test_an_image_that_moves_is_pulled_anew(image: str, policy: str) -> None:
    job = job_manifest.build_job(
        replace(RUN, spec=RunSpec("c", image=image)), Profile(image="other"), PLACE
    )
    assert (command_of(job)["image"], command_of(job)["imagePullPolicy"]) == (image, policy)


@pytest.mark.parametrize(
    ("profile", "place", "image"),
    [
        (Profile(image="own"), PLACE, PLACE.checkout_image),
        (Profile(image="own", checkout=CheckoutOptions(image="with-lfs")), PLACE, "with-lfs"),
        (Profile(image="own"), replace(PLACE, checkout_image=""), "own"),
    ],
)
def test_the_checkouts_image(profile: Profile, place: JobContext, image: str) -> None:
    assert checkout_of(job_manifest.build_job(RUN, profile, place))["image"] == image


def test_what_a_run_asks_for_wins_over_the_profile() -> None:
    profile = Profile(
        image="i",
        resources=(("cpu", "1"), ("memory", "1Gi")),
        env=(("A", "profile"), ("B", "profile")),
    )
    spec = RunSpec(
        "c", resources=(("cpu", "2"),), env=(("A", "run"), ("FYRE_TOP", "mine"), ("HOME", "/root"))
    )
    container = command_of(job_manifest.build_job(replace(RUN, spec=spec), profile, PLACE))
    assert container["resources"] == {
        key: {"cpu": "2", "memory": "1Gi"} for key in ("requests", "limits")
    }
    _, env = given_to(container)
    assert [env[name] for name in ("A", "B", "HOME", "FYRE_TOP")] == [
        "run",
        "profile",
        "/root",
        job_labels.WORK_DIR,
    ]
    assert len(env) == len(container["env"]), "a variable is there twice"


def test_who_asks_for_nothing_is_given_nothing() -> None:
    container = command_of(job_manifest.build_job(RUN, Profile(image="i"), PLACE))
    assert not {"resources", "envFrom"} & container.keys()
    pod = job_manifest.build_job(RUN, Profile(image="i"), PLACE)["spec"]["template"]["spec"]
    assert (
        not {"activeDeadlineSeconds", "nodeSelector", "affinity", "imagePullSecrets"} & pod.keys()
    )
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (RunSpec("c", timeout=60), 60 + job_deadlines.MAX_START_SECONDS),
        (
            RunSpec("c", timeout=60, setup=("a", "b")),
            120 + job_deadlines.MAX_START_SECONDS,
        ),  # all of the setup has the same timeout
        (RunSpec("c", timeout=68 * 365 * 86400, setup=("s",)), 2**31 - 1),
    ],
)
def test_the_pods_own_deadline_is_past_all_timeouts(spec: RunSpec, seconds: int) -> None:
    assert (
        job_manifest.build_job(replace(RUN, spec=spec), Profile(image="i"), PLACE)["spec"][
            "template"
        ]["spec"]["activeDeadlineSeconds"]
        == seconds
    )


def test_scripts_go_without_their_comments() -> None:
    for name in SCRIPTS:
        lines = job_manifest.load_script(name).splitlines()
        assert lines
        assert not [line for line in lines if not line.strip() or line.lstrip().startswith("#")]


if __name__ == "__main__":
    for name, parts in GOLDENS.items():
        (GOLDEN / f"{name}.json").write_text(told(job_manifest.build_job(*parts)))
