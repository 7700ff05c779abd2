"""Connect to the cluster, create a namespace, run ``fyre up`` on it, and compute percentiles.

``FYRE_TEST_KUBECONFIG`` names the cluster, as for the tests; each benchmark creates a namespace of
its own and deletes it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lib import up_fixture

if TYPE_CHECKING:
    from tests.cluster.access import Admin

INSTRUMENTED_FYRE = (sys.executable, str(Path(__file__).with_name("instrumented_fyre.py")))
"""The command of a ``fyre`` with clocks and counters."""

RELAY_HOST = "10.99.0.1"
"""The address at which pods of the tests' own cluster reach this machine.

On other clusters the code is streamed into the pod.
"""


@contextmanager
def create_namespace() -> Iterator[tuple[Admin, str]]:
    """Create a namespace as the cluster's admin; exit with 2 if there is no cluster."""
    if not os.environ.get("FYRE_TEST_KUBECONFIG"):
        sys.exit(_no_cluster())
    from tests.cluster.access import Admin

    admin = Admin()
    with admin.namespace() as name:
        yield admin, name


def _no_cluster() -> int:
    sys.stderr.write(
        "needs a cluster: set FYRE_TEST_KUBECONFIG, "
        "or run `python -m tests.cluster KUBECONFIG` as root on Debian\n"
    )
    return 2


def up_options(namespace: str, relay: str = "", *, keeps_outputs: bool = False) -> list[str]:
    """Return the options of ``fyre up`` for the cluster."""
    from tests.cluster import access

    given = {
        "--engine": "kubernetes",
        "--kubeconfig": str(Path(access.KUBECONFIG).resolve()),
        "--namespace": namespace,
        "--image": access.IMAGE,
        "--checkout-image": access.IMAGE,
    }
    given |= {"--relay": relay} if relay else {}
    given |= {"--upload-image": access.IMAGE} if keeps_outputs else {}
    return [word for option in given.items() for word in option]


def relay_address() -> str:
    """Return an address for the relay that stays the same when the server is started again.

    Return "" if pods cannot reach this machine.
    """
    try:
        with socket.create_server((RELAY_HOST, 0)) as free:
            return f"{RELAY_HOST}:{free.getsockname()[1]}"
    except OSError:
        return ""


@contextmanager
def run_server(
    namespace: str, relay: str
) -> Iterator[tuple[up_fixture.Server, Path, Callable[[], list[dict[str, Any]]]]]:
    """Run a ``fyre up`` on the cluster.

    Yield it, its folder, and a function that returns the lines it has recorded so far.
    """
    with up_fixture.temporary_folder() as folder:
        seen = folder / "seen.jsonl"
        os.environ["FYRE_BENCH_SEEN"] = str(seen)
        server = up_fixture.Server(
            folder / "state", 2, up_options(namespace, relay), INSTRUMENTED_FYRE
        )
        with server.running():
            yield (
                server,
                folder,
                lambda: [json.loads(line) for line in seen.read_text().splitlines()],
            )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below or at which that share of them lies.

    For 0.99 of fewer than a hundred that is the greatest.
    """
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


def p50_and_p99(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the median and the 99th percentile, rounded."""
    return {f"p{share}": round(percentile(values, share / 100), digits) for share in (50, 99)}
