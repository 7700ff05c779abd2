"""What the benchmarks on a cluster share: the cluster itself, a namespace, ``fyre up`` on it, and arithmetic.

``FYRE_TEST_KUBECONFIG`` names the cluster, as for the tests; each benchmark makes its own namespace and deletes it.
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
"""``fyre``, with clocks and counters."""

RELAY_HOST = "10.99.0.1"
"""Where pods of the tests' own cluster reach this machine; elsewhere the code is streamed in."""


@contextmanager
def namespace() -> Iterator[tuple[Admin, str]]:
    """A namespace of the cluster's admin; exits with 2 where there is no cluster."""
    if not os.environ.get("FYRE_TEST_KUBECONFIG"):
        sys.exit(_no_cluster())
    from tests.cluster.access import Admin

    admin = Admin()
    with admin.namespace() as name:
        yield admin, name


def _no_cluster() -> int:
    sys.stderr.write(
        "needs a cluster: set FYRE_TEST_KUBECONFIG, or run `python -m tests.cluster KUBECONFIG` as root on Debian\n"
    )
    return 2


def options(namespace: str, relay: str = "") -> list[str]:
    """What ``fyre up`` is told."""
    from tests.cluster import access

    told = [
        "--engine",
        "kubernetes",
        "--kubeconfig",
        str(Path(access.KUBECONFIG).resolve()),
        "--namespace",
        namespace,
    ]
    return [
        *told,
        "--image",
        access.IMAGE,
        "--checkout-image",
        access.IMAGE,
        *(("--relay", relay) if relay else ()),
    ]


def relay() -> str:
    """An address for the relay that stays the same when the server is started again; "" where there is none."""
    try:
        with socket.create_server((RELAY_HOST, 0)) as free:
            return f"{RELAY_HOST}:{free.getsockname()[1]}"
    except OSError:
        return ""


@contextmanager
def server(
    namespace: str, relay: str
) -> Iterator[tuple[up_fixture.Server, Path, Callable[[], list[dict[str, Any]]]]]:
    """A ``fyre up`` on the cluster, its folder, and what it has written down so far."""
    with up_fixture.folder() as folder:
        seen = folder / "seen.jsonl"
        os.environ["FYRE_BENCH_SEEN"] = str(seen)
        one = up_fixture.Server(folder / "state", 2, options(namespace, relay), INSTRUMENTED_FYRE)
        with one.running():
            yield one, folder, lambda: [json.loads(line) for line in seen.read_text().splitlines()]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which that share of them lies; the greatest for 0.99 of fewer than a hundred."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """p50 and p99."""
    return {f"p{share}": round(percentile(values, share / 100), digits) for share in (50, 99)}
