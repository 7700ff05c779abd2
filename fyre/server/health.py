"""Answer ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fyre.controller.loop import Controller
from fyre.errors import TransientError, UserError

log = logging.getLogger(__name__)

CHECK_INTERVAL = 15.0
"""Seconds between two checks that GitHub and the cluster can be reached."""


@dataclass
class HealthMonitor:
    """The latest results of the health checks, and a thread that repeats them.

    ``dependency_checks`` has a check for each service that can be out of reach; it raises
    ``TransientError`` or ``UserError`` while it is.
    """

    controller: Controller
    dependency_checks: Mapping[str, Callable[[], object]]
    render_metrics: Callable[[], bytes]  # in Prometheus' text format
    interval: float = CHECK_INTERVAL
    _check_errors: dict[str, str] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def routes(self) -> list[Route]:
        """Return the routes of the three endpoints."""
        return [
            Route("/healthz", self.serve_healthz),
            Route("/readyz", self.serve_readyz),
            Route("/metrics", self.serve_metrics),
        ]

    def start(self) -> None:
        """Start the thread that runs the checks."""
        self._check_errors = dict.fromkeys(self.dependency_checks, "not checked yet")
        self._thread = threading.Thread(target=self._check_loop, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report not ready from now on.

        The thread is not waited for: it may be asking a service that does not answer.
        """
        self._stopping.set()

    def check_results(self) -> dict[str, str]:
        """Return for each check why it fails; "" if it does not."""
        is_running = self._thread is not None and not self._stopping.is_set()
        return {
            "running": "" if is_running else "starting or stopping",
            "sweep": "" if self.controller.last_sweep_at else "initial sweep not finished",
            **self._check_errors,
        }

    def serve_healthz(self, _: Request) -> Response:
        """Answer 200 while the controller's loop runs; else the process is to be restarted."""
        if self.controller.is_alive() or self._thread is None or self._stopping.is_set():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the controller's loop has ended\n", status_code=503)

    def serve_readyz(self, _: Request) -> Response:
        """Answer 200 if every check is good, else 503, with the result of each as JSON."""
        results = self.check_results()
        status_code = 503 if any(results.values()) else 200
        return JSONResponse({name: reason or "ok" for name, reason in results.items()}, status_code)

    def serve_metrics(self, _: Request) -> Response:
        """Answer with all metrics in Prometheus' text format."""
        return Response(
            self.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    def _check_loop(self) -> None:
        while not self._stopping.is_set():
            for name, check in self.dependency_checks.items():
                self._record_result(name, _run_check(check))
            self._stopping.wait(self.interval)

    def _record_result(self, name: str, reason: str) -> None:
        before = self._check_errors[name]
        self._check_errors[name] = reason
        if reason and reason != before:
            log.warning("out of reach", extra={"what": name, "why": reason})
        elif before and not reason:
            log.info("within reach", extra={"what": name})


def _run_check(check: Callable[[], object]) -> str:
    """Run a check; return why it fails, "" if it does not."""
    try:
        check()
    except (TransientError, UserError) as error:
        return str(error)
    except Exception as error:
        # A bug in a check must not end the checks; it is their result instead.
        log.exception("unexpected error in a health check")
        return f"a bug: {type(error).__name__}"
    return ""
