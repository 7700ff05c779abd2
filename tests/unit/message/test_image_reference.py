"""References to images: their parts, and a tag held at the digest that ran."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import image_reference, value_parsers
from fyre.message.image_reference import ImageReference

DIGEST = "sha256:" + "9f3c1a2b" * 8
OTHER = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        ("python", "docker.io", "library/python", "latest"),
        ("python:3.12", "docker.io", "library/python", "3.12"),
        ("bitnami/python", "docker.io", "bitnami/python", "latest"),
        ("docker.io/python:3", "docker.io", "library/python", "3"),
        ("index.docker.io/python:3", "docker.io", "library/python", "3"),
        ("localhost/team/train", "localhost", "team/train", "latest"),
        ("localhost:5000/train:1", "localhost:5000", "train", "1"),
        ("ghcr.io/a/b/c:v1", "ghcr.io", "a/b/c", "v1"),
        ("GPU/train", "GPU", "train", "latest"),
    ],
)
def test_a_reference_is_read_as_container_engines_read_it(
    text: str, host: str, path: str, tag: str
) -> None:
    assert image_reference.parse_reference(text) == ImageReference(host, path, tag)
    held = image_reference.parse_reference(f"{text}@{DIGEST}")
    assert (held.repository, held.digest) == (f"{host}/{path}", DIGEST)


WORD = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
HOSTS = st.sampled_from(
    ["", "docker.io/", "ghcr.io/", "localhost/", "localhost:5000/", "10.0.0.1:80/"]
)
TAGS = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True))


@given(HOSTS, st.lists(WORD, min_size=1, max_size=3), TAGS)
def test_what_is_read_can_be_written_and_read_again(host: str, words: list[str], tag: str) -> None:
    image = value_parsers.parse_image(host + "/".join(words) + tag)
    read = image_reference.parse_reference(image)
    assert image_reference.parse_reference(f"{read.repository}:{read.tag}") == read
    held = image_reference.pin_to_run_digest(image, f"{read.repository}@{DIGEST}")
    assert held == value_parsers.parse_image(f"{image}@{DIGEST}")
    assert image_reference.parse_reference(held).repository == read.repository
    assert image_reference.pin_to_run_digest(held, f"{read.repository}@{OTHER}") == held


@pytest.mark.parametrize("prefix", ["", "docker-pullable://"])
def test_a_tag_is_held_at_what_ran(prefix: str) -> None:
    assert (
        image_reference.pin_to_run_digest(
            "python:3.12", f"{prefix}docker.io/library/python@{DIGEST}"
        )
        == f"python:3.12@{DIGEST}"
    )


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        DIGEST,
        f"docker://{DIGEST}",
        f"docker.io/library/perl@{DIGEST}",
        "docker.io/library/python:3.12",
        "docker.io/library/python@sha256:9f3c",
    ],
)
def test_what_can_not_be_pulled_again_leaves_the_tag(image_id: str) -> None:
    assert image_reference.pin_to_run_digest("python:3.12", image_id) == "python:3.12"


def test_a_digest_is_found_in_whatever_the_kubelet_says() -> None:
    assert (
        image_reference.find_digest(f"docker-pullable://python@{DIGEST}")
        == image_reference.find_digest(DIGEST)
        == DIGEST
    )
    assert image_reference.find_digest("python:3.12") == image_reference.find_digest("") == ""
