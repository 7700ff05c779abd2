"""The names that Fyre gives on a cluster: labels, annotations, containers, exit codes. Pure."""

from __future__ import annotations

FYRE_PREFIX = "fyre.dev/"

MANAGED_LABELS = {"app.kubernetes.io/managed-by": "fyre", "app.kubernetes.io/name": "fyre-run"}
MANAGED_SELECTOR = "app.kubernetes.io/managed-by=fyre"
INSTANCE_LABEL = "app.kubernetes.io/instance"
KEY_LABEL = FYRE_PREFIX + "key"
"""The label of a run's Job and pods: whose they are."""

RUN_ANNOTATION = FYRE_PREFIX + "run"
"""The run as JSON, on the Job: what is needed to know it again."""

OUTCOME_ANNOTATION = FYRE_PREFIX + "outcome"
"""How it ended, as JSON, once that is known and the log is stored: pods may be gone by then."""

REPORTED_ANNOTATION, CARRIED_ANNOTATION = FYRE_PREFIX + "reported", FYRE_PREFIX + "carried"
"""The ledger's notes."""

SETTLED_ANNOTATION = FYRE_PREFIX + "settled"
"""The final status was posted; once the log is kept as well, the Job may be collected."""

CANCELLED_BY_ANNOTATION, GIVEN_UP_ANNOTATION = (
    FYRE_PREFIX + "cancelled-by",
    FYRE_PREFIX + "given-up",
)
"""Who wanted it ended · why Fyre ended it; written in the same request that ends it."""

CHECKOUT_CONTAINER, COMMAND_CONTAINER = "checkout", "run"
"""The init container and the container of a pod."""

EXIT_NOT_STARTED = 113
"""What the command's container ends with when the command itself did not run: setup failed, no such workdir."""

EXIT_NO_CHECKOUT = 90
"""What the checkout ends with when trying again is no use."""

WORK_DIR, HOME_DIR = "/fyre/work", "/fyre/home"
"""Where the checkout is, and the command starts · the command's home, where its user has none."""


def job_name(instance: str, key: str) -> str:
    """The name of a run's Job; who creates it twice is told that it exists."""
    return f"{instance}-{key}"


def instance_selector(instance: str) -> str:
    """What picks this Fyre's own Jobs and pods."""
    return f"{MANAGED_SELECTOR},{INSTANCE_LABEL}={instance}"
