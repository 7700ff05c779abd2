"""What ``fyre up`` and ``fyre serve`` have in common: receiver, ledger and pages around an engine and a forge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fyre.checkruns import CheckRuns
from fyre.engines import Engine
from fyre.engines.index import Index
from fyre.forge import Forge
from fyre.ledger import Ledger
from fyre.policy import Policy
from fyre.receiver.app import Door
from fyre.receiver.hands import CommitReader, Executor
from fyre.receiver.pages import Pages
from fyre.receiver.reconcile import Receiver


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
