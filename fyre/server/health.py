"""Whether the server lives, whether it can do its work, and its figures: ``/healthz``, ``/readyz``, ``/metrics``."""

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
"""Seconds between two questions whether forge and cluster can be reached."""


@dataclass
class HealthMonitor:
    """What is known of it now. ``reach`` names those that can be out of reach, each with a question that raises
    ``TryAgainError`` or ``UserError`` while it is.
    """

    controller: Controller
    dependency_checks: Mapping[str, Callable[[], object]]
    render_metrics: Callable[[], bytes]  # in Prometheus' text format
    interval: float = CHECK_INTERVAL
    _check_errors: dict[str, str] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/healthz", self.serve_healthz),
            Route("/readyz", self.serve_readyz),
            Route("/metrics", self.serve_metrics),
        ]

    def start(self) -> None:
        """Begin to ask."""
        self._check_errors = dict.fromkeys(self.dependency_checks, "not asked yet")
        self._thread = threading.Thread(target=self._check_loop, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Not ready from now on."""
        self._stopping.set()  # its thread is not waited for: it may be asking somebody who does not answer

    def check_results(self) -> dict[str, str]:
        """Every check, and why it fails; "" where it does not."""
        return {
            "running": ""
            if self._thread is not None and not self._stopping.is_set()
            else "starting or stopping",
            "sweep": "" if self.controller.last_sweep_at else "the first one is not over",
            **self._check_errors,
        }

    def serve_healthz(self, _: Request) -> Response:
        """200 while the receiver's loop runs, which is to be started anew where it does not."""
        if self.controller.is_alive() or self._thread is None or self._stopping.is_set():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the receiver's loop has ended\n", status_code=503)

    def serve_readyz(self, _: Request) -> Response:
        """200 when every check is good, else 503; what is wrong is in it."""
        wrong = self.check_results()
        return JSONResponse(
            {name: why or "ok" for name, why in wrong.items()}, 503 if any(wrong.values()) else 200
        )

    def serve_metrics(self, _: Request) -> Response:
        """Everything that Prometheus wants to know."""
        return Response(
            self.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    def _check_loop(self) -> None:
        while not self._stopping.is_set():
            for name, ask in self.dependency_checks.items():
                self._record_result(name, _run_check(ask))
            self._stopping.wait(self.interval)

    def _record_result(self, name: str, reason: str) -> None:
        before = self._check_errors[name]
        self._check_errors[name] = reason
        if reason and reason != before:
            log.warning("out of reach", extra={"what": name, "why": reason})
        elif before and not reason:
            log.info("within reach", extra={"what": name})


def _run_check(check: Callable[[], object]) -> str:
    try:
        check()
    except (TransientError, UserError) as error:
        return str(error)
    except Exception as error:
        # A bug in a check must not end the checks; it is told instead of an answer.
        log.exception("a check met a bug")
        return f"a bug: {type(error).__name__}"
    return ""
