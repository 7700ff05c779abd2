"""What the receiver works with and can do: read a commit and what it asks for, and carry out one action."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from fyre import access, asked, plan, repofile, standing, status
from fyre import policy as policies
from fyre.access import Fact, Facts, Load
from fyre.engines import Engine
from fyre.engines.index import Index
from fyre.errors import TryAgainError, UserError
from fyre.failures import MENDABLE, HiddenError, NotFoundError, StrangerError
from fyre.forge import Forge
from fyre.ledger import Ledger
from fyre.plan import Action, Ask, Carry, Heard, Launch, Look, Observed, Post
from fyre.policy import DAY, Policy
from fyre.receiver.kept import TTLCache
from fyre.repofile import BadFileError, Defaults
from fyre.run import Commit, Repository, Run

KEPT = 60.0
"""Seconds that the forge's word on a person or a signature holds: so long a right that was taken away still counts."""

REFUSED = 3600.0
"""Seconds for which somebody whose comment was refused hears no more in that repository: who floods it with comments
costs a request for each, and takes no status its turn."""

BELOW_MAX = 10_000
"""Commits below a branch's tip among which one of its push is looked for; a push lists no more."""


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

    def branches(self, repository: Repository, sha: str) -> list[str]:
        """The branches (``refs/heads/…``) that a commit is on."""
        ...

    def pull_head(self, repository: Repository, number: int) -> str:
        """The SHA of a pull request's head, all that it stands on here; raises ``NotFoundError``."""
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
    ours: str | None = None  # where the statuses lead that this engine answers for; None: all of them are
    refused: TTLCache = field(default_factory=lambda: TTLCache(REFUSED, 10_000))  # whose comments
    _answers: TTLCache = field(default_factory=lambda: TTLCache(KEPT, 10_000))
    _below: TTLCache = field(default_factory=lambda: TTLCache(KEPT, 4))  # SHAs by the thousand

    def hears(self, repository: Repository, sha: str, ref: str, actor: str, tip: str = "") -> Heard | None:
        """A commit and what it asks for; None when that is nothing."""
        commit = self.source.commit(repository, sha)
        wants = asked.read(commit.message)
        if not (wants.runs or wants.problems):
            return None
        return Heard(repository, commit, ref, actor, wants, self.defaults(repository, sha), tip=tip)

    def defaults(self, repository: Repository, sha: str) -> Defaults | BadFileError:
        """The repository's ``.fyre.yaml`` at that commit, or what is wrong with it."""
        content = self.source.file(repository, sha, repofile.PATH)
        try:
            return repofile.read(content.decode("utf-8", "replace")) if content else Defaults()
        except BadFileError as error:
            return error

    def decide(self, heard: Heard) -> tuple[Action, ...]:
        """What the plan wants done about a commit, once it was told all that it asks for. Raises ``TryAgainError``."""
        repository, sha = heard.repository, heard.commit.sha
        same_id = self.index.with_id(repository.id, heard.asked.fyre_id)
        seen = Observed(self.index.at(repository.id, sha), same_id, ours=self.ours)
        while True:
            match actions := plan.plan(heard, seen, self.policy, self.clock()):
                case (Look(),):
                    seen = replace(seen, posted=self.ledger.read(repository, sha))
                case (Ask(fact),):
                    seen = replace(seen, facts=self.learn(heard, fact, seen.facts))
                case _:
                    return actions

    def forbidden(self, run: Run, heard: Heard) -> str:
        """What the policy has against a run that a comment asks for; "" when nothing. Raises ``TryAgainError``."""
        facts = Facts()
        while isinstance(said := plan.forbidden(run, heard, facts, self.policy), Fact):
            facts = self.learn(heard, said, facts)
        return said

    def over(self, repository: Repository, asked_for: int) -> str:
        """Why so many runs more are too many; "" when they are not."""
        policy = policies.of(self.policy, repository.name)
        counted = policy.runs_at_once is not None or policy.runs_per_day is not None
        return access.over(policy, asked_for, self._load(repository) if counted else Load())

    def _load(self, repository: Repository) -> Load:
        """Counted anew each time: a counter that is kept is one that drifts."""
        records = [record for record in self.engine.records() if record.run.repository.id == repository.id]
        today = sum(record.run.created_at > self.clock() - DAY for record in records)
        return Load(sum(not record.state.final for record in records), today)

    def learn(self, heard: Heard, fact: Fact, facts: Facts) -> Facts:
        """The facts with one more of them; what the forge will not say is a fact as well. Raises ``TryAgainError``."""
        repository, actor, sha = heard.repository, heard.actor, heard.commit.sha
        keep, policy = self._answers.get, policies.of(self.policy, repository.name)
        try:
            match fact:
                case Fact.ROLE:
                    ask = partial(standing.role, self.forge, repository, actor)
                    return replace(facts, role=keep((fact, repository.id, actor), ask))
                case Fact.TEAM:
                    ask_of = partial(standing.in_team, self.forge, repository)
                    found = (keep((fact, team, actor), partial(ask_of, team, actor)) for team in policy.teams)
                    return replace(facts, team=any(found))
                case Fact.SIGNATURE:
                    ask = partial(standing.signature, self.forge, repository, sha)
                    return replace(facts, signature=keep((fact, repository.id, sha), ask))
                case Fact.BRANCH:
                    return replace(facts, branch=self._stands(heard, policy))
        except StrangerError as error:  # it says nothing of who pushed: somebody mends our credential
            raise TryAgainError(error.message) from error
        except UserError as error:
            return replace(facts, denied=error.message)

    def _stands(self, heard: Heard, policy: Policy) -> bool:
        """Whether a commit stands below its push's tip, or on its branch where that tip was taken back since; that of a
        comment, on a branch that may launch, now or when it was launched there."""
        repository, sha = heard.repository, heard.commit.sha
        if heard.ref:
            ask = partial(self.source.history, repository, heard.tip, BELOW_MAX)
            try:
                return sha in self._below.get((repository.id, heard.tip), lambda: frozenset(ask()))
            except HiddenError:
                raise
            except NotFoundError:
                return heard.ref in self.source.branches(repository, sha)
        launched = (record.run.ref for record in self.index.at(repository.id, sha))
        if any(access.may_launch(policy, ref) for ref in launched):
            return True
        return any(access.may_launch(policy, ref) for ref in self.source.branches(repository, sha))

    def do(self, repository: Repository, action: plan.Action) -> None:
        """Carry out one action. Raises ``TryAgainError`` when it may work later."""
        match action:
            case Launch(run):
                self.ledger.unwant(repository, run.sha, run.context)
                try:
                    self.engine.launch(run)
                except MENDABLE as error:
                    raise TryAgainError(error.message) from error
                except UserError as error:
                    self.ledger.want(repository, run.sha, status.malformed(run.context, error.message))
                else:
                    self.index.add(run)
                    self.ledger.touch(run.key)
            case Carry(key, sha):
                record = self.engine.record(key)
                if record is not None:
                    self.ledger.unwant(repository, sha, record.run.context)
                    self.engine.annotate(key, carried=tuple(dict.fromkeys((*record.carried, sha))))
                    self.ledger.touch(key)
            case Post(sha, wanted):
                self.ledger.want(repository, sha, wanted)
            case Look() | Ask():
                raise RuntimeError("a question of the plan's is none of its actions")
