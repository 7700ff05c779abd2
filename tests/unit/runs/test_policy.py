"""What the admin's policy has against a run, in words; and where a run goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import value_parsers
from fyre.message.spec import RunSpec
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
        (RunSpec("make"), ""),
        (RunSpec("make", profile="gpuu"), 'there is no profile "gpuu": did you mean gpu?'),
        (RunSpec("make", profile="other"), 'there is no profile "other": there are default, gpu'),
        (RunSpec("make", profile="gpu"), 'no image: neither the run nor profile "gpu" names one'),
        (RunSpec("make", profile="gpu", image="python:3.13"), ""),
        (RunSpec("make", image="ghcr.io/acme/a/b@sha256:" + "0" * 64), ""),
        (
            RunSpec("make", image="ruby:3"),
            (
                "image ruby:3 is outside what the policy allows: "
                "python:*, ghcr.io/acme/*, *.example.org/*"
            ),
        ),
        (RunSpec("make", secrets=("wandb", "s3-logs")), ""),
        (
            RunSpec("make", secrets=("wandb", "admin")),
            "secret admin is not allowed in profile default",
        ),
        (
            RunSpec("make", image="python:3", profile="gpu", secrets=("wandb",)),
            "secret wandb is not allowed in profile gpu",
        ),
        (RunSpec("make", resources=(("cpu", "16"), ("memory", "65536Mi"))), ""),
        (RunSpec("make", resources=(("cpu", "64"),)), "asks for cpu=64, at most 16"),
        (RunSpec("make", resources=(("cpu", "16001m"),)), "asks for cpu=16001m, at most 16"),
        (
            RunSpec("make", resources=(("memory", "64.0000000000000000000000000000001Gi"),)),
            "asks for memory=64.0",
        ),
        (
            RunSpec("make", resources=(("memory", "9" * 100_000),)),
            "asks for memory=" + "9" * 40 + ", at most 64Gi",
        ),
        (
            RunSpec("make", resources=(("nvidia.com/gpu", "1"),)),
            "asks for nvidia.com/gpu=1, at most 0",
        ),
        (RunSpec("make", resources=(("google.com/tpu", "8"),)), ""),
        (RunSpec("make", timeout=7200, retries=2), ""),
        (RunSpec("make", timeout=7201), "asks for a timeout of 2h1s, at most 2h"),
        (RunSpec("make", retries=3), "asks for 3 retries, at most 2"),
    ],
)
def test_offences(spec: RunSpec, offence: str) -> None:
    said = policies.find_violation(POLICY, spec)
    assert said.startswith(offence)
    assert bool(said) == bool(offence)


def test_what_no_cap_names_may_be_closed() -> None:
    closed = replace(POLICY, other_resources=False)
    spec = RunSpec("make", resources=(("google.com/tpu", "8"),))
    assert policies.find_violation(closed, spec) == (
        "asks for google.com/tpu, and the policy knows only cpu, memory, nvidia.com/gpu"
    )


def test_an_engine_without_profiles_bounds_only_what_it_honours() -> None:
    spec = RunSpec(
        "make", profile="gpuu", image="ruby", secrets=("admin",), resources=(("cpu", "64"),)
    )
    assert policies.find_violation(LOCAL, spec) == ""
    assert (
        policies.find_violation(LOCAL, replace(spec, timeout=9000))
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
    assert (
        policies.find_violation(policy, RunSpec("make", image=value_parsers.parse_image(image)))
        == ""
    ) == fits


@pytest.mark.parametrize(("asked", "settled"), [(None, 1800), (60, 60), (9000, 9000)])
def test_who_names_no_timeout_has_the_default(asked: int | None, settled: int) -> None:
    assert policies.apply_policy_defaults(POLICY, RunSpec("make", timeout=asked)).timeout == settled


def test_silence_does_not_escape_the_longest_timeout() -> None:
    assert policies.apply_policy_defaults(Policy(timeout_max=60), RunSpec("make")).timeout == 60
    assert policies.apply_policy_defaults(Policy(), RunSpec("make")).timeout is None


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
    assert policies.serves_repository(Policy(repositories=(glob,)), repository) == named
    overridden = policies.for_repository(
        Policy(overrides=((glob, {"permission": "admin"}),)), repository
    )
    assert overridden.permission == ("admin" if named else "none")
    placed = Policy(namespace="runs", namespaces={glob: "theirs"})
    assert policies.repository_namespace(placed, repository) == ("theirs" if named else "runs")


def test_the_first_override_that_fits_counts() -> None:
    policy = Policy(
        runs_at_once=5, overrides=(("a/x*", {"runs_at_once": 1}), ("a/*", {"runs_at_once": 2}))
    )
    assert [
        policies.for_repository(policy, name).runs_at_once for name in ("a/xy", "a/b", "b/x")
    ] == [1, 2, 5]


def test_a_policy_may_serve_nobody() -> None:
    assert not policies.serves_repository(Policy(repositories=()), "acme/lab")


NUMBERS = st.one_of(st.integers(0, 10**9).map(str), st.from_regex(r"\A[0-9]{0,6}\.[0-9]{1,9}\Z"))
SUFFIXES = st.sampled_from(["", "m", *"kMGTPE", *(f"{letter}i" for letter in "KMGTPE")])


@given(st.builds(str.__add__, NUMBERS, SUFFIXES), st.builds(str.__add__, NUMBERS, SUFFIXES))
def test_quantities_compare_as_kubernetes_own_client_compares_them(one: str, other: str) -> None:
    from kubernetes.utils.quantity import parse_quantity

    assert (value_parsers.parse_quantity(one) > value_parsers.parse_quantity(other)) == (
        parse_quantity(one) > parse_quantity(other)
    )


def test_how_old_a_commit_may_be_and_how_far_ahead_where_nobody_says() -> None:
    assert (Policy().history, Policy().max_clock_skew) == (7 * 24 * 3600, 600)
