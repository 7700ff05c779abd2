"""Export metrics for Prometheus.

Deliveries are counted as they happen; runs and queues are counted when Prometheus asks.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fyre.controller.loop import Controller
from fyre.engines.protocol import Engine
from fyre.reporter.unposted_statuses import unposted_statuses
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState

COUNTED_EVENTS = ("push", "commit_comment", "issue_comment", "ping")
"""The events that are counted by name. Whoever sends others could choose any name, so they are
counted together."""

_DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0, 10.0)
"""In seconds; GitHub waits for ten."""


class Metrics:
    """The metrics of one server, in a registry of its own: nothing is global."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ("event", "code")
        self._deliveries = Counter(
            "fyre_deliveries", "Webhook deliveries answered", labels, registry=self._registry
        )
        self._delivery_seconds = Histogram(
            "fyre_delivery_seconds",
            "Time from a delivery's head to its response",
            registry=self._registry,
            buckets=_DURATION_BUCKETS,
        )

    def register_collector(self, collector: StateCollector) -> None:
        """Export the metrics of a collector, too."""
        self._registry.register(collector)

    def render_text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def count_delivery(self, event: str, status_code: int, seconds: float) -> None:
        """Count a delivery that was answered in so many seconds."""
        self._deliveries.labels(
            event if event in COUNTED_EVENTS else "other", str(status_code)
        ).inc()
        self._delivery_seconds.observe(seconds)


@dataclass(eq=False)  # the registry keeps it in a dict
class StateCollector(Collector):
    """The metrics of the current state.

    ``check_results`` returns for each readiness check why it fails; "" if it does not.
    """

    engine: Engine
    controller: Controller
    check_results: Callable[[], dict[str, str]]
    requests_remaining: Callable[[], int | None]  # None where that is not known

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        records = self.engine.query_runs(ALL_RUNS)
        states = Tally(str(record.state) for record in records)
        runs = GaugeMetricFamily("fyre_runs", "Runs that the engine remembers", labels=["state"])
        for state in RunState:
            runs.add_metric([str(state)], states[str(state)])
        yield runs
        ready = GaugeMetricFamily("fyre_ready", "1 if a readiness check is good", labels=["check"])
        for check, reason in self.check_results().items():
            ready.add_metric([check], not reason)
        yield ready
        unposted = sum(len(unposted_statuses(record, "")) for record in records)
        yield GaugeMetricFamily(
            "fyre_statuses_owed", "Statuses of runs that are not posted yet", unposted
        )
        yield GaugeMetricFamily(
            "fyre_events_waiting",
            "Events that wait to be processed",
            self.controller.queue_length(),
        )
        yield GaugeMetricFamily(
            "fyre_last_sweep_timestamp_seconds",
            "Unix time at which the last sweep finished",
            self.controller.last_sweep_at,
        )
        if (remaining := self.requests_remaining()) is not None:
            yield GaugeMetricFamily(
                "fyre_forge_requests_remaining",
                "Requests left in GitHub's primary rate limit at the last response",
                remaining,
            )


class DeliveryMetricsMiddleware:
    """ASGI middleware that counts the responses of ``/webhook``."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and count it if it is a delivery."""
        if scope["type"] != "http" or scope["path"] != "/webhook":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        event = next(
            (
                value.decode("latin-1")
                for name, value in scope["headers"]
                if name == b"x-github-event"
            ),
            "",
        )

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count_delivery(
                    event, message["status"], time.perf_counter() - started
                )
            await send(message)

        await self._app(scope, receive, count_and_send)
