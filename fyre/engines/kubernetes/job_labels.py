"""The names that Fyre uses on a cluster: labels, annotations, containers, exit codes. Pure."""

from __future__ import annotations

FYRE_PREFIX = "fyre.dev/"

MANAGED_LABELS = {"app.kubernetes.io/managed-by": "fyre", "app.kubernetes.io/name": "fyre-run"}
MANAGED_SELECTOR = "app.kubernetes.io/managed-by=fyre"
INSTANCE_LABEL = "app.kubernetes.io/instance"
KEY_LABEL = FYRE_PREFIX + "key"
"""The label of a run's Job and pods: the key of the run."""

RUN_ANNOTATION = FYRE_PREFIX + "run"
"""The run as JSON, on the Job: all that is needed to know it again."""

SIGNATURE_ANNOTATION = FYRE_PREFIX + "signature"
"""The proof, on the Job, that this installation created it (``job_signature``)."""

OUTCOME_ANNOTATION = FYRE_PREFIX + "outcome"
"""The end of the run as JSON, once it is known and the log is archived.

Pods may be gone by then.
"""

REPORTED_ANNOTATION, CARRIED_ANNOTATION = FYRE_PREFIX + "reported", FYRE_PREFIX + "carried"
"""The notes of the status reporter."""

SETTLED_ANNOTATION = FYRE_PREFIX + "settled"
"""The final status was posted; once the log is archived as well, the Job may be collected."""

END_MARKS = {OUTCOME_ANNOTATION, SETTLED_ANNOTATION}
"""A Job with both is done with: it gets its time to live."""

CANCELLED_BY_ANNOTATION, GIVEN_UP_ANNOTATION = (
    FYRE_PREFIX + "cancelled-by",
    FYRE_PREFIX + "given-up",
)
"""The person who wanted it ended · why Fyre ended it.

Each is written in the same request that ends the run.
"""

HELD_ANNOTATION, QUEUE_ANNOTATION = FYRE_PREFIX + "held", FYRE_PREFIX + "queue"
"""On a run that is held: the reason, which may be empty · the Kueue queue that it goes to.

Its release removes both in one request.
"""

RELEASED_AT_ANNOTATION = FYRE_PREFIX + "released-at"
"""The time of the release of a run that was held (RFC 3339): its time in the queue begins then."""

KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Kueue's label: a suspended Job with it is started by its queue."""

FAILURE_COUNT_ANNOTATION = "batch.kubernetes.io/job-index-failure-count"
"""Kubernetes' own, on the pod of a Job with an index: how many pods failed before it.

Those that count against no retries, as evicted ones, are left out.
"""

UPLOAD_ANNOTATION = FYRE_PREFIX + "upload-seconds"
"""On a Job whose pods upload outputs: the seconds that an upload may take."""

CHECKOUT_CONTAINER, UPLOAD_CONTAINER, COMMAND_CONTAINER = "checkout", "upload", "run"
"""The init container, the sidecar for outputs if there is one, and the container of a pod."""

EXIT_NOT_STARTED = 113
"""The exit code of the command's container when the command itself did not run.

Setup failed, or there is no such workdir.
"""

ENDED_BY_ITSELF, TOLD_TO_END = ", ended by itself", ", told to end"
"""How a termination message ends where the command came to an end: nobody had told it to · somebody
had. Then the last line of its log is the end mark."""

EXIT_NO_CHECKOUT = 90
"""The exit code of a checkout that can't succeed at another try either."""

WORK_DIR, HOME_DIR = "/fyre/work", "/fyre/home"
"""The directory of the checkout · the command's home, if its user has none.

The command starts in the checkout.
"""


def log_end_mark(key: str) -> bytes:
    """Return the line that ``command.sh`` writes at the end of a run's log.

    It is a control sequence (OSC) that no terminal knows, so none shows it.
    """
    return b"\x1b]fyre-end;" + key.encode() + b"\x1b\\\n"


def job_name(instance: str, key: str) -> str:
    """Return the name of a run's Job; creating it twice is refused, since it exists."""
    return f"{instance}-{key}"


def instance_selector(instance: str) -> str:
    """Return the selector of this instance's own Jobs and pods."""
    return f"{MANAGED_SELECTOR},{INSTANCE_LABEL}={instance}"
