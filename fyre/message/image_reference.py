"""References to container images, as container engines read them: from text to parts, and back with a digest. Pure.

The rules are those of github.com/distribution/reference: no host means docker.io, one word there means library/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DOCKER_HUB_ALIAS = "index.docker.io"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """The parts of a reference, each spelt out: ``python`` is docker.io, library/python, latest."""

    host: str
    path: str
    tag: str
    digest: str = ""  # sha256:…

    @property
    def repository(self) -> str:
        """Host and path: two references of one repository have the same."""
        return f"{self.host}/{self.path}"


def parse_reference(text: str) -> ImageReference:
    """The parts of a reference that ``units.image`` takes, or of what a kubelet names with a digest."""
    name, _, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    host, path = (first, rest) if slash and is_registry_host(first) else (DOCKER_HUB, name)
    path, _, tag = path.partition(":")
    if host in (DOCKER_HUB, _DOCKER_HUB_ALIAS):
        host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    return ImageReference(host, path, tag or ("" if digest else "latest"), digest)


def is_registry_host(first_part: str) -> bool:
    """Whether the first part of a reference is a registry (github.com/distribution/reference, splitDockerDomain)."""
    return (
        "." in first_part
        or ":" in first_part
        or first_part == "localhost"
        or first_part != first_part.lower()
    )


def find_digest(image_id: str) -> str:
    """The digest in an ``imageID`` of Kubernetes or in a reference; empty where there is none."""
    found = _DIGEST.search(image_id)
    return found[0] if found else ""


def with_digest(image: str, digest: str) -> str:
    """The same reference, held at a digest; the tag stays for people to read, and engines don't look at it."""
    return f"{image.partition('@')[0]}@{digest}"


def pin_to_run_digest(image: str, image_id: str) -> str:
    """The reference held at what truly ran, where that can be pulled again; else as it was.

    An ``imageID`` without a repository is an image that only its node has. One of another repository is a name that
    the node knew the same content by, which this repository need not hold under that digest.
    """
    ran = parse_reference(image_id.rpartition("://")[2])
    if (
        "@" in image
        or not _DIGEST.fullmatch(ran.digest)
        or ran.repository != parse_reference(image).repository
    ):
        return image
    return with_digest(image, ran.digest)
