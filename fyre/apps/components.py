"""The parts that ``fyre up`` and ``fyre serve`` share: controller, reporter and run pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.routing import Route

from fyre.artifacts.artifact_store import ArtifactStore
from fyre.controller.executor import CommitReader, Executor
from fyre.controller.loop import Controller
from fyre.engines.protocol import Engine
from fyre.engines.run_index import RunIndex
from fyre.github.client import GitHubClient
from fyre.reporter.check_runs import CheckRunReporter
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.policy import Policy
from fyre.runs.run import Repository
from fyre.server.output_pages import OutputPages
from fyre.server.run_pages import RunPages
from fyre.server.webhook_endpoint import WebhookEndpoint


class Components:
    """The parts, connected; none of them runs before ``controller.start``."""

    def __init__(
        self,
        *,
        forge: GitHubClient,
        commit_reader: CommitReader,
        engine: Engine,
        policy: Policy,
        pages_url: Callable[[], str],  # base URL of the run pages for browsers
        pages_secret: bytes,
        webhook_secrets: Callable[[], Sequence[bytes]],
        with_check_runs: bool = False,
        is_known_without_pulls: Callable[[Repository], bool] = lambda _: False,
        artifacts: ArtifactStore | None = None,
    ) -> None:
        index = RunIndex(engine)
        self.pages = RunPages(engine, pages_secret, pages_url, artifacts=artifacts)
        self.output_pages = OutputPages(artifacts, pages_secret) if artifacts else None
        check_runs = CheckRunReporter(forge, engine.read_log, policy) if with_check_runs else None
        self.reporter = StatusReporter(forge, engine, index, self.pages.page_url, check_runs)
        self.controller = Controller(
            Executor(
                forge,
                commit_reader,
                engine,
                index,
                self.reporter,
                policy,
                is_known_without_pulls=is_known_without_pulls,
            )
        )
        self.webhook_endpoint = WebhookEndpoint(
            forge.url, webhook_secrets, self.controller.enqueue_event
        )

    def page_routes(self) -> list[Route]:
        """Return the routes of the pages; those of outputs come first, as they are longer."""
        outputs = self.output_pages.routes() if self.output_pages else []
        return [*outputs, *self.pages.routes()]
