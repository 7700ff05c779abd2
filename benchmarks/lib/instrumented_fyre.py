"""``fyre``, with clocks and counters: it writes down what came in, what went out, and when there was nothing to do.

``python benchmarks/lib/instrumented_fyre.py up …`` is ``fyre up …`` that appends JSON lines to the file FYRE_BENCH_SEEN:
``event`` (a pod's command has terminated, as the watch says), ``post`` (a status leaves), ``idle`` (for the first
time nothing was left to do; the requests made so far) and ``requests`` (all of them, when it is ended). Times are
nanoseconds since the epoch.
"""
# ruff: noqa: ANN401, SLF001 - it puts itself around what others wrote, and looks where nobody is meant to look

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3

sys.path.insert(0, str(Path(__file__).parents[2]))

from fyre.apps import up as up_app
from fyre.cli import main as cli_main
from fyre.engines.kubernetes import api_client, pod_facts
from fyre.engines.kubernetes.engine import KubernetesEngine

_PATH = re.compile(
    r"/apis?/(?:[\w.]+/)?v1/(?:namespaces/[^/]+/)?([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


class Notebook:
    """Where it is written."""

    cluster = ""  # HOST:PORT of the API server

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", buffering=1)  # noqa: SIM115 - until the process ends
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._terminated: set[str] = set()

    def write(self, what: str, **more: object) -> None:
        """A line."""
        with self._lock:
            self._file.write(json.dumps({"what": what, "at": time.time_ns(), **more}) + "\n")

    def pod(self, pod: dict[str, Any]) -> None:
        """What the watch says of a pod: its end is written down, once."""
        uid = pod["metadata"]["uid"]
        if uid not in self._terminated and pod_facts.terminated_state(pod):
            self._terminated.add(uid)
            self.write("event", sha=pod["metadata"]["labels"]["fyre.dev/sha"])

    def request(self, host: str, method: str, url: str) -> None:
        """A request that leaves: a status's is written down, the API server's are counted."""
        if method == "POST" and "/statuses/" in url:
            self.write("post", sha=url.rpartition("/")[2])
        if host == self.cluster:
            with self._lock:
                self.requests[named(method, url)] += 1


def named(method: str, url: str) -> str:
    """A request as RBAC names it: verb and resource."""
    parts = urlsplit(url)
    found = _PATH.match(parts.path)
    resource, name, sub = found.groups() if found else (parts.path, None, None)
    if method == "GET":
        verb = "watch" if "watch" in parse_qs(parts.query) else "get" if name else "list"
    else:
        verb = _VERBS[method]
    return f"{verb} {resource}{f'/{sub}' if sub else ''}"


def watch_over(notes: Notebook) -> None:
    """Put the clocks in: around what the engine's watch hands on, and around every request that leaves."""
    pod_changed, urlopen = KubernetesEngine._on_pod_event, urllib3.HTTPConnectionPool.urlopen
    execute, begin = (
        api_client.KubernetesClient.exec_in_container,
        api_client.KubernetesClient.__init__,
    )

    def changed(self: KubernetesEngine, event: str, pod: dict[str, Any]) -> None:
        notes.pod(pod)
        pod_changed(self, event, pod)

    def opened(
        self: urllib3.HTTPConnectionPool, method: str, url: str, *args: Any, **more: Any
    ) -> Any:
        notes.request(f"{self.host}:{self.port}", method, url)
        return urlopen(self, method, url, *args, **more)

    def executed(*args: Any) -> tuple[int, str]:
        with notes._lock:
            notes.requests["create pods/exec"] += 1
        return execute(*args)

    def begun(self: api_client.KubernetesClient, *args: Any) -> None:
        begin(self, *args)
        notes.cluster = urlsplit(self.host).netloc

    for kind, name, better in (
        (KubernetesEngine, "_on_pod_event", changed),
        (urllib3.HTTPConnectionPool, "urlopen", opened),
        (api_client.KubernetesClient, "exec_in_container", executed),
        (api_client.KubernetesClient, "__init__", begun),
    ):
        setattr(kind, name, better)


def await_idle(notes: Notebook) -> None:
    """Have the first moment written down at which nothing was left to do, by looking into every part."""
    start = up_app.FyreUp.__init__

    def started(self: up_app.FyreUp, *args: Any, **more: Any) -> None:
        start(self, *args, **more)
        threading.Thread(target=wait, args=(self,), daemon=True).start()

    def wait(up: up_app.FyreUp) -> None:
        quiet_since = 0.0
        while not quiet_since or time.monotonic() - quiet_since < 1:
            if not nothing_to_do(up):
                quiet_since = 0.0
            elif not quiet_since:
                quiet_since, at = time.monotonic(), time.time_ns()
            time.sleep(0.02)
        memory = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
        notes.write(
            "idle",
            since=at,
            requests=dict(notes.requests),
            memory_mb=memory,
            known=len(up.engine.list_records()),
        )

    setattr(up_app.FyreUp, "__init__", started)  # noqa: B010 - a method is replaced on purpose


def nothing_to_do(up: up_app.FyreUp) -> bool:
    """Whether the first sweep is over, every delivery is taken, and neither the ledger nor the engine has work."""
    receiver, ledger, outbox = up.controller, up.controller.executor.ledger, up.local_forge.outbox
    heard = bool(receiver._cursors) and not receiver._events.qsize() and not receiver._retries
    waits = (
        any(any(lane.waiting.values()) for lane in ledger.write_queue._account_queues.values())
        or ledger._queued_statuses
    )
    return heard and not (waits or outbox._busy_repos) and up.engine.work.is_idle()  # type: ignore[attr-defined]


def main() -> None:
    """The command line's own, watched."""
    notes = Notebook(os.environ["FYRE_BENCH_SEEN"])
    watch_over(notes)
    await_idle(notes)
    try:
        cli_main.main()
    finally:
        notes.write("requests", requests=dict(notes.requests))


if __name__ == "__main__":
    main()
