"""How the code comes into a pod: fetched from the receiver's relay, or streamed in by exec from a laptop.

Either way no credential of the forge leaves the receiver.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fyre.engines.kubernetes import code_bundle, job_labels, job_manifest
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.errors import TransientError
from fyre.git import access_token
from fyre.runs.run import Repository, Run

ASSUMED_RUN_SECONDS = 30 * 86400.0
"""Seconds that a command without a timeout is taken to run before it has to be started again."""


class CodeDelivery(Protocol):
    """Says what the checkout is told, and brings the code where it waits for it."""

    def checkout_source(self, run: Run) -> dict[str, str]:
        """The fields of ``manifests.Place`` that say where the code is."""
        ...

    def deliver_code(self, run: Run, namespace: str, pod: str) -> None:
        """The pod's checkout is running now. Raises ``TryAgainError``; ``UserError`` when the code can't be had."""
        ...


@dataclass(frozen=True)
class RelayDelivery:
    """Pods reach the receiver at ``url``, and fetch with a key that is good for one repository and the run's life."""

    relay_url: str
    signing_secret: Callable[[], bytes]
    try_lifetime: float  # seconds of one try: the longest queue time, and what a checkout may take
    submodule_ids: Callable[[Repository], tuple[int, ...]] = (
        lambda _: ()
    )  # ids of what may be fetched besides

    def checkout_source(self, run: Run) -> dict[str, str]:
        """The repository's URL at the relay, and the key."""
        repository = run.repository
        allowed = (repository.id, *self.submodule_ids(repository))
        key = access_token.create_access_token(
            self.signing_secret(), allowed, run.key, time.time() + self._token_lifetime(run)
        )
        return {"relay_url": f"{self.relay_url}/git/{repository.id}.git", "relay_key": key}

    def _token_lifetime(self, run: Run) -> float:
        """Seconds until the last try has its code: all of them have the key that the Job was made with."""
        before = (run.spec.timeout or ASSUMED_RUN_SECONDS) * (1 + len(run.spec.setup))
        return self.try_lifetime + (run.spec.retries or 0) * (self.try_lifetime + before)

    def deliver_code(self, run: Run, namespace: str, pod: str) -> None:
        """Nothing to do: the pod comes and fetches."""


@dataclass(frozen=True)
class ExecDelivery:
    """A receiver that pods can't reach streams a depth-1 pack into the waiting checkout. Needs ``pods/exec``."""

    cluster: KubernetesClient
    find_git_dir: Callable[[Run], Path]  # a repository with that commit in it; raises as ``bring``

    def checkout_source(self, run: Run) -> dict[str, str]:  # noqa: ARG002 - the Protocol's
        """Nothing: the checkout waits."""
        return {}

    def deliver_code(self, run: Run, namespace: str, pod: str) -> None:
        """Stream the pack; once more is harmless."""
        command = ["sh", "-c", job_manifest.load_script("checkout.sh"), "checkout", "receive"]
        pieces = code_bundle.pack_commit(self.find_git_dir(run), run.sha)
        code, said = self.cluster.exec_in_container(
            namespace, pod, job_labels.CHECKOUT_CONTAINER, command, pieces
        )
        if code:
            raise TransientError(f"the code of {run.sha[:12]} did not arrive: {said}")
