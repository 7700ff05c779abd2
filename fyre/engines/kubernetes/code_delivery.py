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
from fyre.engines.kubernetes.api_client import Api
from fyre.errors import TryAgainError
from fyre.git import access_token
from fyre.runs.run import Repository, Run

UNBOUNDED = 30 * 86400.0
"""Seconds that a command without a timeout is taken to run before it has to be started again."""


class Delivery(Protocol):
    """Says what the checkout is told, and brings the code where it waits for it."""

    def told(self, run: Run) -> dict[str, str]:
        """The fields of ``manifests.Place`` that say where the code is."""
        ...

    def bring(self, run: Run, namespace: str, pod: str) -> None:
        """The pod's checkout is running now. Raises ``TryAgainError``; ``UserError`` when the code can't be had."""
        ...


@dataclass(frozen=True)
class ByRelay:
    """Pods reach the receiver at ``url``, and fetch with a key that is good for one repository and the run's life."""

    url: str
    secret: Callable[[], bytes]
    life: float  # seconds of one try: the longest queue time, and what a checkout may take
    submodules: Callable[[Repository], tuple[int, ...]] = (
        lambda _: ()
    )  # ids of what may be fetched besides

    def told(self, run: Run) -> dict[str, str]:
        """The repository's URL at the relay, and the key."""
        repository = run.repository
        allowed = (repository.id, *self.submodules(repository))
        key = access_token.mint(self.secret(), allowed, run.key, time.time() + self._life(run))
        return {"relay_url": f"{self.url}/git/{repository.id}.git", "relay_key": key}

    def _life(self, run: Run) -> float:
        """Seconds until the last try has its code: all of them have the key that the Job was made with."""
        before = (run.spec.timeout or UNBOUNDED) * (1 + len(run.spec.setup))
        return self.life + (run.spec.retries or 0) * (self.life + before)

    def bring(self, run: Run, namespace: str, pod: str) -> None:
        """Nothing to do: the pod comes and fetches."""


@dataclass(frozen=True)
class ByExec:
    """A receiver that pods can't reach streams a depth-1 pack into the waiting checkout. Needs ``pods/exec``."""

    cluster: Api
    code: Callable[[Run], Path]  # a repository with that commit in it; raises as ``bring``

    def told(self, run: Run) -> dict[str, str]:  # noqa: ARG002 - the Protocol's
        """Nothing: the checkout waits."""
        return {}

    def bring(self, run: Run, namespace: str, pod: str) -> None:
        """Stream the pack; once more is harmless."""
        command = ["sh", "-c", job_manifest.script("checkout.sh"), "checkout", "receive"]
        pieces = code_bundle.pack(self.code(run), run.sha)
        code, said = self.cluster.execute(namespace, pod, job_labels.CHECKOUT, command, pieces)
        if code:
            raise TryAgainError(f"the code of {run.sha[:12]} did not arrive: {said}")
