"""A ``fyre`` with clocks and counters: it records events, posts, requests, its first idle moment.

``python benchmarks/lib/instrumented_fyre.py up …`` is ``fyre up …`` that appends JSON lines to the
file FYRE_BENCH_SEEN: ``event`` (a pod's command has terminated, as the watch reports it), ``post``
(a status is sent), ``idle`` (for the first time nothing was left to do; the requests made so far)
and ``requests`` (all of them, when it is ended). Times are nanoseconds since the epoch.
"""
# ruff: noqa: ANN401, SLF001 - it wraps functions of others, and reads private attributes

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
from fyre.runs.run_query import ALL_RUNS

_PATH = re.compile(
    r"/apis?/(?:[\w.]+/)?v1/(?:namespaces/[^/]+/)?([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


class Recorder:
    """Appends the records to the file, and counts requests."""

    cluster = ""  # HOST:PORT of the API server

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", buffering=1)  # noqa: SIM115 - until the process ends
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._terminated: set[str] = set()

    def write(self, kind: str, **fields: object) -> None:
        """Append a record of that kind."""
        with self._lock:
            self._file.write(json.dumps({"what": kind, "at": time.time_ns(), **fields}) + "\n")

    def record_pod(self, pod: dict[str, Any]) -> None:
        """Record the end of a pod, once, of what the watch reports."""
        uid = pod["metadata"]["uid"]
        if uid not in self._terminated and pod_facts.terminated_state(pod):
            self._terminated.add(uid)
            self.write("event", sha=pod["metadata"]["labels"]["fyre.dev/sha"])

    def record_request(self, host: str, method: str, url: str) -> None:
        """Record a request that posts a status; count one to the API server."""
        if method == "POST" and "/statuses/" in url:
            self.write("post", sha=url.rpartition("/")[2])
        if host == self.cluster:
            with self._lock:
                self.requests[verb_and_resource(method, url)] += 1


def verb_and_resource(method: str, url: str) -> str:
    """Return a request as RBAC names it."""
    parts = urlsplit(url)
    found = _PATH.match(parts.path)
    resource, name, sub = found.groups() if found else (parts.path, None, None)
    if method == "GET":
        verb = "watch" if "watch" in parse_qs(parts.query) else "get" if name else "list"
    else:
        verb = _VERBS[method]
    return f"{verb} {resource}{f'/{sub}' if sub else ''}"


def wrap_requests_and_watches(recorder: Recorder) -> None:
    """Wrap the handler of the engine's watch, and every function that sends a request."""
    pod_changed, urlopen = KubernetesEngine._on_pod_event, urllib3.HTTPConnectionPool.urlopen
    execute, begin = (
        api_client.KubernetesClient.exec_in_container,
        api_client.KubernetesClient.__init__,
    )

    def changed(self: KubernetesEngine, event: str, pod: dict[str, Any]) -> None:
        recorder.record_pod(pod)
        pod_changed(self, event, pod)

    def opened(
        self: urllib3.HTTPConnectionPool, method: str, url: str, *args: Any, **more: Any
    ) -> Any:
        recorder.record_request(f"{self.host}:{self.port}", method, url)
        return urlopen(self, method, url, *args, **more)

    def executed(*args: Any) -> tuple[int, str]:
        with recorder._lock:
            recorder.requests["create pods/exec"] += 1
        return execute(*args)

    def begun(self: api_client.KubernetesClient, *args: Any) -> None:
        begin(self, *args)
        recorder.cluster = urlsplit(self.host).netloc

    for kind, name, better in (
        (KubernetesEngine, "_on_pod_event", changed),
        (urllib3.HTTPConnectionPool, "urlopen", opened),
        (api_client.KubernetesClient, "exec_in_container", executed),
        (api_client.KubernetesClient, "__init__", begun),
    ):
        setattr(kind, name, better)


def record_first_idle(recorder: Recorder) -> None:
    """Record the first moment at which nothing is left to do, by looking into every part."""
    start = up_app.FyreUp.__init__

    def started(self: up_app.FyreUp, *args: Any, **more: Any) -> None:
        start(self, *args, **more)
        threading.Thread(target=wait, args=(self,), daemon=True).start()

    def wait(up: up_app.FyreUp) -> None:
        quiet_since = 0.0
        while not quiet_since or time.monotonic() - quiet_since < 1:
            if not is_idle(up):
                quiet_since = 0.0
            elif not quiet_since:
                quiet_since, at = time.monotonic(), time.time_ns()
            time.sleep(0.02)
        status = Path("/proc/self/status").read_text()
        memory = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
        recorder.write(
            "idle",
            since=at,
            requests=dict(recorder.requests),
            memory_mb=memory,
            known=len(up.engine.query_runs(ALL_RUNS)),
        )

    setattr(up_app.FyreUp, "__init__", started)  # noqa: B010 - a method is replaced on purpose


def is_idle(up: up_app.FyreUp) -> bool:
    """Return True if the first sweep is over, every delivery is processed, and no work is left.

    The work is that of the controller, the reporter, the forge's outbox and the engine.
    """
    controller, outbox = up.controller, up.local_forge.outbox
    reporter = controller.executor.reporter
    processed = bool(controller._cursors) and not controller.queue_length()
    waits = (
        any(any(lane.waiting.values()) for lane in reporter.write_queue._account_queues.values())
        or not reporter.is_idle()
    )
    engine_idle = up.engine._work.is_idle()  # type: ignore[attr-defined]
    return processed and not (waits or outbox._busy_repos) and engine_idle


def main() -> None:
    """Run the command line, with its clocks and counters."""
    recorder = Recorder(os.environ["FYRE_BENCH_SEEN"])
    wrap_requests_and_watches(recorder)
    record_first_idle(recorder)
    try:
        cli_main.main()
    finally:
        recorder.write("requests", requests=dict(recorder.requests))


if __name__ == "__main__":
    main()
