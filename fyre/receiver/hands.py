"""What the receiver works with and can do: read a commit and what it asks for, and carry out one action."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fyre import asked, plan, repofile, status
from fyre.engines import Engine
from fyre.engines.index import Index
from fyre.errors import UserError
from fyre.forge import Forge
from fyre.ledger import Ledger
from fyre.plan import Carry, Heard, Launch, Look, Post
from fyre.policy import Policy
from fyre.repofile import BadFileError, Defaults
from fyre.run import Commit, Repository


class Source(Protocol):
    """Where commits and files are read: mirrors on this machine, or the forge itself."""

    def commit(self, repository: Repository, sha: str) -> Commit:
        """The facts of a commit; raises ``NotFoundError``."""
        ...

    def file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file in a commit, or None."""
        ...

    def history(self, repository: Repository, head: str, limit: int) -> list[str]:
        """The newest so many SHAs below and with a commit, oldest first; raises ``NotFoundError``."""
        ...


@dataclass
class Hands:
    """The adapters, put together; no decision is made here."""

    forge: Forge
    source: Source
    engine: Engine
    index: Index
    ledger: Ledger
    policy: Policy = field(default_factory=Policy)
    clock: Callable[[], float] = time.time

    def hears(self, repository: Repository, sha: str, ref: str, actor: str) -> Heard | None:
        """A commit and what it asks for; None when that is nothing."""
        commit = self.source.commit(repository, sha)
        wants = asked.read(commit.message)
        if not (wants.runs or wants.problems):
            return None
        return Heard(repository, commit, ref, actor, wants, self.defaults(repository, sha))

    def defaults(self, repository: Repository, sha: str) -> Defaults | BadFileError:
        """The repository's ``.fyre.yaml`` at that commit, or what is wrong with it."""
        content = self.source.file(repository, sha, repofile.PATH)
        try:
            return repofile.read(content.decode("utf-8", "replace")) if content else Defaults()
        except BadFileError as error:
            return error

    def do(self, repository: Repository, action: plan.Action) -> None:
        """Carry out one action. Raises ``TryAgainError`` when it may work later."""
        match action:
            case Launch(run):
                try:
                    self.engine.launch(run)
                except UserError as error:
                    self.ledger.want(repository, run.sha, status.malformed(run.context, error.message))
                else:
                    self.index.add(run)
                    self.ledger.touch(run.key)
            case Carry(key, sha):
                record = self.engine.record(key)
                if record is not None:
                    self.engine.annotate(key, carried=tuple(dict.fromkeys((*record.carried, sha))))
                    self.ledger.touch(key)
            case Post(sha, wanted):
                self.ledger.want(repository, sha, wanted)
            case Look(sha):
                raise RuntimeError(f"the plan looked twice at {sha}")
