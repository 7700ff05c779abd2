"""The times that the parts of a run may take in its pod. Pure."""

from __future__ import annotations

from fyre.message.spec import RunSpec

MIN_CHECKOUT_SECONDS, MIN_LFS_SECONDS = 60, 3600
"""Seconds that a run with a timeout has at least to write its files; with Git LFS to fetch them,
too."""

MAX_START_SECONDS = 3600
"""Seconds between a pod's start and the command's: images may have many gigabytes.

The pod's own deadline is this and the timeout. ``command.sh`` enforces the exact timeout inside the
pod, so that neither a pull nor the checkout counts.
"""


def pod_deadline(spec: RunSpec, upload_seconds: int = 0) -> int | None:
    """Return the seconds for the pod, which uploads outputs after its command.

    All of the setup has the same timeout as the command. Kubernetes takes 31 bits.
    """
    if not spec.timeout:
        return None
    seconds = spec.timeout * (2 if spec.setup else 1) + MAX_START_SECONDS + upload_seconds
    return min(seconds, 2**31 - 1)


def checkout_timeout(spec: RunSpec, *, with_lfs: bool) -> str:
    """Return the seconds in which the files are to be written, once they are fetched.

    Git LFS fetches them only then.
    """
    if not spec.timeout:
        return ""
    return str(max(spec.timeout, MIN_LFS_SECONDS if with_lfs else MIN_CHECKOUT_SECONDS))
