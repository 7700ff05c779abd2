"""What the admin's policy has against a run, in words; and where a run goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import notation
from fyre.message.spec import Spec
from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile

POLICY = Policy(
    timeout_max=7200,
    timeout_default=1800,
    retries_max=2,
    profiles={
        "default": Profile(image="python:3.12", secrets=("wandb",), secrets_allowed=("s3-*",)),
        "gpu": Profile("gpu"),
    },
    images=("python:*", "ghcr.io/acme/*", "*.example.org/*"),
    caps=(("cpu", "16"), ("memory", "64Gi"), ("nvidia.com/gpu", "0")),
)
LOCAL = replace(POLICY, profiles=None)


@pytest.mark.parametrize(
    ("spec", "offence"),
    [
        (Spec("make"), ""),
        (Spec("make", profile="gpuu"), 'there is no profile "gpuu": did you mean gpu?'),
        (Spec("make", profile="other"), 'there is no profile "other": there are default, gpu'),
        (Spec("make", profile="gpu"), 'no image: neither the run nor profile "gpu" names one'),
        (Spec("make", profile="gpu", image="python:3.13"), ""),
        (Spec("make", image="ghcr.io/acme/a/b@sha256:" + "0" * 64), ""),
        (
            Spec("make", image="ruby:3"),
            "image ruby:3 is outside what the policy allows: python:*, ghcr.io/acme/*, *.example.org/*",
        ),
        (Spec("make", secrets=("wandb", "s3-logs")), ""),
        (
            Spec("make", secrets=("wandb", "admin")),
            "secret admin is not allowed in profile default",
        ),
        (
            Spec("make", image="python:3", profile="gpu", secrets=("wandb",)),
            "secret wandb is not allowed in profile gpu",
        ),
        (Spec("make", resources=(("cpu", "16"), ("memory", "65536Mi"))), ""),
        (Spec("make", resources=(("cpu", "64"),)), "asks for cpu=64, at most 16"),
        (Spec("make", resources=(("cpu", "16001m"),)), "asks for cpu=16001m, at most 16"),
        (
            Spec("make", resources=(("memory", "64.0000000000000000000000000000001Gi"),)),
            "asks for memory=64.0",
        ),
        (
            Spec("make", resources=(("memory", "9" * 100_000),)),
            "asks for memory=" + "9" * 40 + ", at most 64Gi",
        ),
        (
            Spec("make", resources=(("nvidia.com/gpu", "1"),)),
            "asks for nvidia.com/gpu=1, at most 0",
        ),
        (Spec("make", resources=(("google.com/tpu", "8"),)), ""),
        (Spec("make", timeout=7200, retries=2), ""),
        (Spec("make", timeout=7201), "asks for a timeout of 2h1s, at most 2h"),
        (Spec("make", retries=3), "asks for 3 retries, at most 2"),
    ],
)
def test_offences(spec: Spec, offence: str) -> None:
    said = policies.offence(POLICY, spec)
    assert said.startswith(offence)
    assert bool(said) == bool(offence)


def test_what_no_cap_names_may_be_closed() -> None:
    closed = replace(POLICY, other_resources=False)
    spec = Spec("make", resources=(("google.com/tpu", "8"),))
    assert policies.offence(closed, spec) == (
        "asks for google.com/tpu, and the policy knows only cpu, memory, nvidia.com/gpu"
    )


def test_an_engine_without_profiles_bounds_only_what_it_honours() -> None:
    spec = Spec(
        "make", profile="gpuu", image="ruby", secrets=("admin",), resources=(("cpu", "64"),)
    )
    assert policies.offence(LOCAL, spec) == ""
    assert (
        policies.offence(LOCAL, replace(spec, timeout=9000))
        == "asks for a timeout of 2h30m, at most 2h"
    )


@pytest.mark.parametrize(
    ("glob", "image", "fits"),
    [
        ("*", "example.net/a", True),
        ("python*", "python", True),
        ("python*", "python.example.net/x", False),
        ("python*", "python3/x", False),
        ("python*", "python:3.12", True),
        ("*thon", "python3/python", True),
        ("python:*", "python:5000/x", False),
        ("localhost*", "localhost/x", False),
        ("*.example.org/*", "r.example.org/a/b:1", True),
        ("*.example.org/*", "example.net/a.example.org/x", False),
        ("ghcr.io/acme/*", "ghcr.io/acme/a/b", True),
        ("ghcr.io/acme/*", "ghcr.io/acmes/a", False),
        ("ghcr.io/acme/*", "ghcr.io.example.net/acme/a", False),
        ("acme/*", "acme/tool:2", True),
        ("*@sha256:*", "ghcr.io/a/b@sha256:" + "0" * 64, True),
        ("*@sha256:*", "ghcr.io/a/b:latest", False),
    ],
)
def test_no_glob_of_images_reaches_across_a_host(glob: str, image: str, *, fits: bool) -> None:
    policy = replace(POLICY, images=(glob,))
    assert (policies.offence(policy, Spec("make", image=notation.image(image))) == "") == fits


@pytest.mark.parametrize(("asked", "settled"), [(None, 1800), (60, 60), (9000, 9000)])
def test_who_names_no_timeout_has_the_default(asked: int | None, settled: int) -> None:
    assert policies.settle(POLICY, Spec("make", timeout=asked)).timeout == settled


def test_silence_does_not_escape_the_longest_timeout() -> None:
    assert policies.settle(Policy(timeout_max=60), Spec("make")).timeout == 60
    assert policies.settle(Policy(), Spec("make")).timeout is None


def test_the_namespace_is_the_profiles_then_the_repositorys_then_the_common_one() -> None:
    policy = Policy(
        namespace="runs",
        namespaces={"ada/*": "ada", "*/lab": "labs"},
        profiles={"gpu": Profile("gpu", "gpus")},
    )
    gpu = policies.profile_of(policy, Spec("make", profile="gpu"))
    plain = policies.profile_of(policy, Spec("make"))
    assert [
        policies.namespace_of(policy, name, plain) for name in ("ada/lab", "bob/lab", "bob/x")
    ] == [
        "ada",
        "labs",
        "runs",
    ]
    assert policies.namespace_of(policy, "ada/lab", gpu) == "gpus"
    assert policies.namespaces(policy) == ("runs", "ada", "labs", "gpus")


@pytest.mark.parametrize(
    ("glob", "repository", "named"),
    [
        ("*", "acme/lab", True),
        ("acme/*", "acme/lab", True),
        ("acme/*", "Acme/Lab", True),
        ("Acme/Lab", "acme/lab", True),
        ("acme/*", "acme-evil/lab", False),
        ("acme/lab", "mallory/lab", False),
        ("acme/lab", "acme/lab-fork", False),
        ("*/lab", "mallory/lab", True),
        ("acme*", "acme-evil/lab", False),
        ("*lab", "acme/lab", False),
        ("acme/[!s]*", "acme/secret", False),
    ],
)
def test_no_glob_of_repositories_reaches_across_the_slash(
    glob: str, repository: str, *, named: bool
) -> None:
    assert policies.serves(Policy(repositories=(glob,)), repository) == named
    overridden = policies.of(Policy(overrides=((glob, {"permission": "admin"}),)), repository)
    assert overridden.permission == ("admin" if named else "none")
    placed = Policy(namespace="runs", namespaces={glob: "theirs"})
    assert policies.namespace_of(placed, repository, Profile()) == ("theirs" if named else "runs")


def test_the_first_override_that_fits_counts() -> None:
    policy = Policy(
        runs_at_once=5, overrides=(("a/x*", {"runs_at_once": 1}), ("a/*", {"runs_at_once": 2}))
    )
    assert [policies.of(policy, name).runs_at_once for name in ("a/xy", "a/b", "b/x")] == [1, 2, 5]


def test_a_policy_may_serve_nobody() -> None:
    assert not policies.serves(Policy(repositories=()), "acme/lab")


NUMBERS = st.one_of(st.integers(0, 10**9).map(str), st.from_regex(r"\A[0-9]{0,6}\.[0-9]{1,9}\Z"))
SUFFIXES = st.sampled_from(["", "m", *"kMGTPE", *(f"{letter}i" for letter in "KMGTPE")])


@given(st.builds(str.__add__, NUMBERS, SUFFIXES), st.builds(str.__add__, NUMBERS, SUFFIXES))
def test_quantities_compare_as_kubernetes_own_client_compares_them(one: str, other: str) -> None:
    from kubernetes.utils.quantity import parse_quantity

    assert (notation.quantity(one) > notation.quantity(other)) == (
        parse_quantity(one) > parse_quantity(other)
    )


def test_how_old_a_commit_may_be_and_how_far_ahead_where_nobody_says() -> None:
    assert (Policy().history, Policy().ahead) == (7 * 24 * 3600, 600)
