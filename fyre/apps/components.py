"""What ``fyre up`` and ``fyre serve`` have in common: receiver, ledger and pages around an engine and a forge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fyre.controller.executor import CommitReader, Executor
from fyre.controller.loop import Receiver
from fyre.engines.protocol import Engine
from fyre.engines.run_index import Index
from fyre.github.client import Forge
from fyre.reporter.check_runs import CheckRuns
from fyre.reporter.status_reporter import Ledger
from fyre.runs.policy import Policy
from fyre.server.run_pages import Pages
from fyre.server.webhook_endpoint import Door


class Assembly:
    """The parts, put together; none of them runs before ``receiver.start``."""

    def __init__(
        self,
        *,
        forge: Forge,
        source: CommitReader,
        engine: Engine,
        policy: Policy,
        url: Callable[[], str],  # of the pages, as browsers reach them
        pages_secret: bytes,
        webhook_secrets: Callable[[], Sequence[bytes]],
        checks: bool = False,
    ) -> None:
        index = Index(engine)
        self.pages = Pages(engine, pages_secret, url)
        beside = CheckRuns(forge, engine.log, policy) if checks else None
        self.ledger = Ledger(forge, engine, index, self.pages.url, beside)
        self.receiver = Receiver(Executor(forge, source, engine, index, self.ledger, policy))
        self.door = Door(forge.url, webhook_secrets, self.receiver.hear)
