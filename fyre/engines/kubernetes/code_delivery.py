"""The delivery of code to a pod: fetched from the relay, or streamed in by exec.

The relay is the receiver's; exec is for a receiver on a laptop. Either way no credential of the
forge leaves the receiver.
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
"""Seconds that a command without a timeout is assumed to run before it is started again."""

ASSUMED_HOLD_SECONDS = 30 * 86400.0
"""Seconds that a run is assumed to be held at most; its checkout is refused if it was longer."""


class CodeDelivery(Protocol):
    """Configures the checkout of a pod, and delivers the code to a checkout that waits for it."""

    def checkout_source(self, run: Run, *, hold: bool = False) -> dict[str, str]:
        """Return the fields of ``job_manifest.JobContext`` that say where the code is.

        ``hold`` says that the run will be held.
        """
        ...

    def deliver_code(self, run: Run, namespace: str, pod: str, depth: int = 1) -> None:
        """Deliver the code to a pod whose checkout is running now.

        ``depth`` is in commits of history, 0 for all of it. Raises ``TransientError``;
        ``UserError`` when the code can't be had.
        """
        ...


@dataclass(frozen=True)
class RelayDelivery:
    """For pods that reach the receiver at ``relay_url``.

    They fetch with a token that is good for one repository and the life of the run.
    """

    relay_url: str
    signing_secret: Callable[[], bytes]
    try_lifetime: float  # seconds of one try: the longest queue time, and what a checkout may take
    # Ids of the repositories that may be fetched as submodules.
    submodule_ids: Callable[[Repository], tuple[int, ...]] = lambda _: ()

    def checkout_source(self, run: Run, *, hold: bool = False) -> dict[str, str]:
        """Return the repository's URL at the relay, and the token.

        The token is in the Job's pod template, which can't be changed at the release.
        """
        repository = run.repository
        allowed = (repository.id, *self.submodule_ids(repository))
        lifetime = self._token_lifetime(run) + (ASSUMED_HOLD_SECONDS if hold else 0.0)
        token = access_token.create_access_token(
            self.signing_secret(), allowed, run.key, time.time() + lifetime
        )
        return {"relay_url": f"{self.relay_url}/git/{repository.id}.git", "relay_key": token}

    def _token_lifetime(self, run: Run) -> float:
        """Return the seconds until the last try has its code.

        All tries have the token that the Job was created with.
        """
        run_seconds = (run.spec.timeout or ASSUMED_RUN_SECONDS) * (1 + len(run.spec.setup))
        return self.try_lifetime + (run.spec.retries or 0) * (self.try_lifetime + run_seconds)

    def deliver_code(self, run: Run, namespace: str, pod: str, depth: int = 1) -> None:
        """Do nothing: the pod fetches the code."""


@dataclass(frozen=True)
class ExecDelivery:
    """For a receiver that pods can't reach: it streams a pack into the waiting checkout.

    This needs ``pods/exec``.
    """

    cluster: KubernetesClient
    find_git_dir: Callable[[Run], Path]  # of a repository that has the commit

    def checkout_source(self, run: Run, *, hold: bool = False) -> dict[str, str]:  # noqa: ARG002 - of the protocol
        """Return nothing: the checkout waits."""
        return {}

    def deliver_code(self, run: Run, namespace: str, pod: str, depth: int = 1) -> None:
        """Stream the pack; to do that again is harmless."""
        command = ["sh", "-c", job_manifest.load_script("checkout.sh"), "checkout", "receive"]
        chunks = code_bundle.pack_commit(self.find_git_dir(run), run.sha, depth)
        code, output = self.cluster.exec_in_container(
            namespace, pod, job_labels.CHECKOUT_CONTAINER, command, chunks
        )
        if code:
            raise TransientError(f"the code of {run.sha[:12]} did not arrive: {output}")
