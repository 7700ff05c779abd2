"""The names that Fyre gives on a cluster: labels, annotations, containers, exit codes. Pure."""

from __future__ import annotations

PREFIX = "fyre.dev/"

MANAGED = {"app.kubernetes.io/managed-by": "fyre", "app.kubernetes.io/name": "fyre-run"}
OURS = "app.kubernetes.io/managed-by=fyre"
INSTANCE = "app.kubernetes.io/instance"
KEY = PREFIX + "key"
"""The label of a run's Job and pods: whose they are."""

RUN = PREFIX + "run"
"""The run as JSON, on the Job: what is needed to know it again."""

OUTCOME = PREFIX + "outcome"
"""How it ended, as JSON, once that is known and the log is stored: pods may be gone by then."""

REPORTED, CARRIED = PREFIX + "reported", PREFIX + "carried"
"""The ledger's notes."""

SETTLED = PREFIX + "settled"
"""The final status was posted; once the log is kept as well, the Job may be collected."""

CANCELLED_BY, GIVEN_UP = PREFIX + "cancelled-by", PREFIX + "given-up"
"""Who wanted it ended · why Fyre ended it; written in the same request that ends it."""

CHECKOUT, COMMAND = "checkout", "run"
"""The init container and the container of a pod."""

NOT_STARTED = 113
"""What the command's container ends with when the command itself did not run: setup failed, no such workdir."""

NO_CHECKOUT = 90
"""What the checkout ends with when trying again is no use."""

TOP, HOME = "/fyre/work", "/fyre/home"
"""Where the checkout is, and the command starts · the command's home, where its user has none."""


def job(instance: str, key: str) -> str:
    """The name of a run's Job; who creates it twice is told that it exists."""
    return f"{instance}-{key}"


def selector(instance: str) -> str:
    """What picks this Fyre's own Jobs and pods."""
    return f"{OURS},{INSTANCE}={instance}"
