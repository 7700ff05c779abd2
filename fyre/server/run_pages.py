"""Serve the list of runs, and a run with its live log: as pages, and as JSON for scripts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
)
from starlette.routing import Route

from fyre.artifacts.artifact_store import ArtifactStore
from fyre.engines.protocol import Engine
from fyre.message import value_parsers
from fyre.runs import commit_status
from fyre.runs.results import RunResults
from fyre.runs.run import RunRecord
from fyre.server import run_links
from fyre.server.log_stream import NO_STORE_HEADERS, LogStreams
from fyre.server.run_list_parameters import (
    FILTERS,
    BadParameterError,
    next_page_parameters,
    parse_limit,
    parse_run_query,
)

log = logging.getLogger(__name__)

_TEMPLATES = Environment(loader=PackageLoader("fyre.server"), autoescape=select_autoescape())


@dataclass(frozen=True)
class RunPages:
    """The pages of one installation. ``base_url`` returns the address at which they are served."""

    engine: Engine
    secret: bytes
    base_url: Callable[[], str]
    log_streams: LogStreams = field(default_factory=LogStreams)
    artifacts: ArtifactStore | None = None

    def routes(self) -> list[Route]:
        """Return the routes.

        They are ``/``, ``/runs.json``, ``/runs/TOKEN``, ``/runs/TOKEN.json``, ``/runs/TOKEN/log``.
        """
        return [
            Route("/", self.list_page),
            Route("/runs.json", self.list_json),
            Route("/runs/{token}.json", self.run_json),
            Route("/runs/{token}/log", self.run_log),
            Route("/runs/{token}", self.run_page),
        ]

    def page_url(self, run_key: str) -> str:
        """Return the address of a run's page: the ``target_url`` of its status."""
        return f"{self.base_url()}/runs/{run_links.run_token(self.secret, run_key)}"

    async def list_page(self, request: Request) -> Response:
        """Serve the newest runs that the parameters select, as a page."""
        params = request.query_params
        try:
            records, older = self._query_page(params)
        except BadParameterError as error:
            return _bad_request(error)
        return _render_page(
            "runs.html",
            runs=[self._template_values(record) for record in records],
            filters=[(name, text) for name, text in params.multi_items() if name in FILTERS],
            is_newest="before" not in params,
            older=older,
        )

    async def list_json(self, request: Request) -> Response:
        """Serve the same as JSON, for scripts; a ``Link`` header has the address of older runs."""
        try:
            records, older = self._query_page(request.query_params)
        except BadParameterError as error:
            return _bad_request(error)
        link = {"Link": f'<{self.base_url()}/runs.json?{older}>; rel="next"'} if older else {}
        return JSONResponse([self.describe_run(record) for record in records], headers=link)

    async def run_page(self, request: Request) -> Response:
        """Serve a run and its live log as a page."""
        record = self._requested_record(request)
        if record is None:
            return _NOT_FOUND
        # `fyre serve` shows no list of all runs, and so no link to one.
        has_list = any(getattr(route, "path", "") == "/" for route in request.app.routes)
        links = await run_in_threadpool(self._list_links, record)
        return _render_page(
            "run.html", run=self._template_values(record), has_list=has_list, links=links
        )

    async def run_json(self, request: Request) -> Response:
        """Serve a run as JSON, for scripts and the command line."""
        record = self._requested_record(request)
        if record is not None:
            return JSONResponse(self.describe_run(record), headers=NO_STORE_HEADERS)
        facts = self._describe_forgotten(request)
        return JSONResponse(facts, headers=NO_STORE_HEADERS) if facts else _NOT_FOUND

    async def run_log(self, request: Request) -> Response:
        """Serve the log as plain text: from ``?offset=``, with ``?follow=1`` until the run ends."""
        record = self._requested_record(request)
        if record is None:
            return _NOT_FOUND
        key = record.run.key
        return self.log_streams.respond(request, key, self.engine.open_log(key))

    def _list_links(self, record: RunRecord) -> list[tuple[str, str]]:
        """Return the title and the address of each link that the command named."""
        if self.artifacts is None or not record.state.is_final:
            return []
        try:
            manifest = self.artifacts.get_manifest(record.run.key)
        except OSError as error:
            log.warning("the links of %s can't be read: %s", record.run.key, error)
            return []
        return list(manifest.links) if manifest else []

    def _describe_forgotten(self, request: Request) -> dict[str, Any]:
        """Return what is known of a run whose record is gone, and whose outputs stay; {} if none.

        Its status on the forge says how it ended.
        """
        run_key = run_links.run_key_from_token(self.secret, request.path_params["token"])
        if self.artifacts is None or run_key is None:
            return {}
        try:
            manifest = self.artifacts.get_manifest(run_key)
        except OSError as error:
            log.warning("the outputs of %s can't be read: %s", run_key, error.strerror or error)
            return {}
        if manifest is None:
            return {}
        return {
            "sha": manifest.sha,
            "name": manifest.run_name,
            "attempt": manifest.attempt,
            "repository": manifest.repository.name,
            "log_url": self.page_url(run_key),
            **_describe_results(manifest.results, {}),
        }

    def describe_run(self, record: RunRecord) -> dict[str, Any]:
        """Return the public facts of a run; times in ISO 8601, UTC."""
        run = record.run
        return {
            "sha": run.sha,
            "name": run.name,
            "command": value_parsers.replace_invalid_utf8(run.spec.command),
            "state": str(record.state),
            "description": commit_status.status_from_record(record).description,
            "attempt": run.attempt,
            "started_at": _format_timestamp(record.started_at),
            "ended_at": _format_timestamp(record.ended_at),
            "exit_code": record.exit_code,
            "signal": record.signal,
            "log_url": self.page_url(run.key),
            "repository": run.repository.name,
            "ref": run.ref,
            "actor": run.actor,
            "created_at": _format_timestamp(run.created_at),
            "tries": record.tries,
            "image": run.spec.image or "",
            "image_id": record.image_id,
            "note": value_parsers.replace_invalid_utf8(run.spec.note),
            "env": {
                name: value_parsers.replace_invalid_utf8(value) for name, value in run.spec.env
            },
            **_describe_results(record.results, dict(run.spec.metric_goals)),
        }

    def _template_values(self, record: RunRecord) -> dict[str, Any]:
        created = datetime.fromtimestamp(record.run.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return {**self.describe_run(record), "created": created, "elapsed": _elapsed(record)}

    def _query_page(self, params: QueryParams) -> tuple[list[RunRecord], str]:
        """Return the runs of a page, and the parameters of the next one; "" if it is the last.

        Raises ``BadParameterError``.
        """
        query, limit = parse_run_query(params), parse_limit(params)
        found = self.engine.query_runs(replace(query, limit=limit + 1))
        records = found[:limit]
        return records, next_page_parameters(params, records[-1]) if len(found) > limit else ""

    def _requested_record(self, request: Request) -> RunRecord | None:
        run_key = run_links.run_key_from_token(self.secret, request.path_params["token"])
        return self.engine.get_record(run_key) if run_key else None


def _describe_results(results: RunResults | None, goals: Mapping[str, str]) -> dict[str, Any]:
    """Return what a run found: values of its metrics, number and bytes of its outputs."""
    found = results or RunResults()
    return {
        "metrics": found.last_values(),
        "best": found.best_values(goals),
        "goals": dict(goals),
        "least": {name: value.least for name, value in found.metrics},
        "greatest": {name: value.greatest for name, value in found.metrics},
        "outputs": {"count": found.output_count, "bytes": found.output_bytes},
        "problems": list(found.problems),
        "partial": found.is_partial,
    }


_NOT_FOUND = PlainTextResponse("not found\n", status_code=404)


def _bad_request(error: BadParameterError) -> Response:
    return PlainTextResponse(f"{error}\n", status_code=400, headers=NO_STORE_HEADERS)


def _render_page(template: str, **context: Any) -> Response:  # noqa: ANN401 - a template takes all
    nonce = os.urandom(12).hex()
    policy = (
        "default-src 'none'; connect-src 'self'; "
        f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
    )
    headers = {
        **NO_STORE_HEADERS,
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(
        _TEMPLATES.get_template(template).render(nonce=nonce, **context), headers=headers
    )


def _elapsed(record: RunRecord) -> str:
    """Return for how long a run has run, for people; "" before it starts."""
    if record.started_at is None:
        return ""
    ended_at = time.time() if record.ended_at is None else record.ended_at
    return value_parsers.format_duration(max(0.0, ended_at - record.started_at))


def _format_timestamp(timestamp: float | None) -> str | None:
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
