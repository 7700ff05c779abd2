"""Parse references to container images as container engines do, and add digests to them. Pure.

The rules are those of github.com/distribution/reference: a reference without a host is of
docker.io, and a single word there means library/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DOCKER_HUB_ALIAS = "index.docker.io"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """The parts of a reference, all spelt out: ``python`` is docker.io, library/python, latest."""

    host: str
    path: str
    tag: str
    digest: str = ""  # sha256:…

    @property
    def repository(self) -> str:
        """Host and path: two references to one repository have the same."""
        return f"{self.host}/{self.path}"


def parse_reference(text: str) -> ImageReference:
    """Return the parts of a reference.

    It is one that ``value_parsers.parse_image`` accepts, or that a kubelet reports with a digest.
    """
    name, _, digest = text.partition("@")
    first_part, slash, rest = name.partition("/")
    host, path = (
        (first_part, rest) if slash and is_registry_host(first_part) else (DOCKER_HUB, name)
    )
    path, _, tag = path.partition(":")
    if host in (DOCKER_HUB, _DOCKER_HUB_ALIAS):
        host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    return ImageReference(host, path, tag or ("" if digest else "latest"), digest)


def is_registry_host(first_part: str) -> bool:
    """Return True if the first part of a reference is a registry.

    The rule is ``splitDockerDomain`` of github.com/distribution/reference.
    """
    return (
        "." in first_part
        or ":" in first_part
        or first_part == "localhost"
        or first_part != first_part.lower()
    )


def find_digest(image_id: str) -> str:
    """Return the digest in a Kubernetes ``imageID`` or in a reference; "" if there is none."""
    match = _DIGEST.search(image_id)
    return match[0] if match else ""


def with_digest(image: str, digest: str) -> str:
    """Return the same reference with a digest; the tag stays for people, and engines ignore it."""
    return f"{image.partition('@')[0]}@{digest}"


def pin_to_run_digest(image: str, image_id: str) -> str:
    """Return the reference with the digest that really ran, if that can be pulled again.

    Otherwise it is returned unchanged. An ``imageID`` without a repository is an image that only
    its node has. One of another repository is a name that the node knew the same content by, and
    this repository need not have that digest.
    """
    run_reference = parse_reference(image_id.rpartition("://")[2])
    if (
        "@" in image
        or not _DIGEST.fullmatch(run_reference.digest)
        or run_reference.repository != parse_reference(image).repository
    ):
        return image
    return with_digest(image, run_reference.digest)
