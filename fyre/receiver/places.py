"""Which commit a command means, and by what right code of a fork runs."""

from __future__ import annotations

from dataclasses import dataclass

from fyre import policy as policies
from fyre.access import ADMIN
from fyre.failures import NotFoundError
from fyre.receiver import conversations
from fyre.receiver.comments import COMMIT, Command
from fyre.receiver.conversations import Pull
from fyre.receiver.hands import Hands
from fyre.receiver.webhook import Said

LAUNCHING = ("run", "rerun", "approve")
"""What has code run."""

WHOLE = (40, 64)
"""Digits of a SHA."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command, and the commit that it is about."""

    said: Said
    command: Command
    sha: str
    ref: str = ""  # of a fork's commit that was approved: refs/pull/7/head
    tip: str = ""  # where that is now


def find(hands: Hands, said: Said, command: Command) -> Order | str:
    """The commit that is meant, or why none is. Raises ``NotFoundError``."""
    if not said.pull:
        if not said.sha.startswith(command.commit):
            return f"{command.commit} is another commit: comment there."
        return Order(said, command, said.sha)
    pull = conversations.pull(hands.forge, said.repository, said.pull)
    if pull.fork and command.verb in LAUNCHING:
        return _approved(hands, said, command, pull)
    if command.commit:
        return Order(said, command, _whole(hands, said, command.commit))
    if pull.fork:
        return Order(said, command, _last_approved(hands, said) or pull.head)
    return Order(said, command, conversations.head_at(hands.forge, said.repository, pull, said.at))


def _approved(hands: Hands, said: Said, command: Command, pull: Pull) -> Order | str:
    """A fork's commit runs where the policy lets forks, for who has said which one in full.

    In full, because the author makes two commits whose SHAs begin alike within seconds, has one of them read, and
    pushes the other.
    """
    if not policies.of(hands.policy, said.repository.name).forks:
        return f"this pull request comes from a fork, and no code of forks runs here · {ADMIN}"
    if len(command.commit) not in WHOLE:
        line = f"/fyre approve {pull.head}" if command.verb != "run" else f"/fyre run {COMMIT} {pull.head} -- …"
        return (
            "this pull request comes from a fork: say which commit you have read, by its whole SHA. "
            f"What is pushed later needs another approval. Of its head as it is now:\n\n```\n{line}\n```"
        )
    tip = hands.source.pull_head(said.repository, pull.number)
    return Order(said, command, command.commit, _ref(said), tip)


def _last_approved(hands: Hands, said: Said) -> str:
    """The SHA of a fork's pull request that ran last; "" where none did."""
    ref, mine = _ref(said), (record.run for record in hands.engine.records())
    ran = [run for run in mine if run.ref == ref and run.repository.id == said.repository.id]
    return max(ran, key=lambda run: run.created_at).sha if ran else ""


def _ref(said: Said) -> str:
    return f"refs/pull/{said.pull}/head"


def _whole(hands: Hands, said: Said, beginning: str) -> str:
    """The SHA that begins so. Raises ``NotFoundError``, also for a branch that happens to have such a name."""
    found = hands.forge.commit(said.repository, beginning).sha
    if not found.startswith(beginning):
        raise NotFoundError(f"commit {beginning} of {said.repository.name}: not found")
    return found
