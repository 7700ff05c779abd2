"""Whether the server lives, whether it can do its work, and its figures: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fyre.controller.loop import Receiver
from fyre.errors import TryAgainError, UserError

log = logging.getLogger(__name__)

EVERY = 15.0
"""Seconds between two questions whether forge and cluster can be reached."""


@dataclass
class Health:
    """What is known of it now. ``reach`` names those that can be out of reach, each with a question that raises
    ``TryAgainError`` or ``UserError`` while it is.
    """

    receiver: Receiver
    reach: Mapping[str, Callable[[], object]]
    metrics: Callable[[], bytes]  # in Prometheus' text format
    every: float = EVERY
    _wrong: dict[str, str] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/healthz", self.live),
            Route("/readyz", self.ready),
            Route("/metrics", self.figures),
        ]

    def start(self) -> None:
        """Begin to ask."""
        self._wrong = dict.fromkeys(self.reach, "not asked yet")
        self._thread = threading.Thread(target=self._ask_for_ever, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Not ready from now on."""
        self._stopping.set()  # its thread is not waited for: it may be asking somebody who does not answer

    def wrong(self) -> dict[str, str]:
        """Every check, and why it fails; "" where it does not."""
        return {
            "running": ""
            if self._thread is not None and not self._stopping.is_set()
            else "starting or stopping",
            "sweep": "" if self.receiver.swept_at else "the first one is not over",
            **self._wrong,
        }

    def live(self, _: Request) -> Response:
        """200 while the receiver's loop runs, which is to be started anew where it does not."""
        if self.receiver.alive() or self._thread is None or self._stopping.is_set():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the receiver's loop has ended\n", status_code=503)

    def ready(self, _: Request) -> Response:
        """200 when every check is good, else 503; what is wrong is in it."""
        wrong = self.wrong()
        return JSONResponse(
            {name: why or "ok" for name, why in wrong.items()}, 503 if any(wrong.values()) else 200
        )

    def figures(self, _: Request) -> Response:
        """Everything that Prometheus wants to know."""
        return Response(self.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _ask_for_ever(self) -> None:
        while not self._stopping.is_set():
            for name, ask in self.reach.items():
                self._note(name, _answer(ask))
            self._stopping.wait(self.every)

    def _note(self, name: str, why: str) -> None:
        before = self._wrong[name]
        self._wrong[name] = why
        if why and why != before:
            log.warning("out of reach", extra={"what": name, "why": why})
        elif before and not why:
            log.info("within reach", extra={"what": name})


def _answer(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (TryAgainError, UserError) as error:
        return str(error)
    except Exception as error:
        # A bug in a check must not end the checks; it is told instead of an answer.
        log.exception("a check met a bug")
        return f"a bug: {type(error).__name__}"
    return ""
