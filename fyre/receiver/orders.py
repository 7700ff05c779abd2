"""Commands in comments: who may give them, which commit they mean, and the one answer that each of them gets.

What was answered is done: an answer of ours names its comment, so that a redelivered or swept comment does nothing a
second time. A crash before the answer has the command carried out again, which is harmless: runs are keyed by the
comment's id, and to cancel twice is to cancel once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from fyre import units
from fyre.debts import Saying
from fyre.failures import HiddenError, NotFoundError
from fyre.forge import Forge
from fyre.receiver import acts, answers, comments, conversations, places, reruns
from fyre.receiver.comments import Command
from fyre.receiver.hands import Hands
from fyre.receiver.webhook import Said

log = logging.getLogger(__name__)

MAY_WRITE = ("admin", "maintain", "write")

_ACTS = {"run": acts.run, "rerun": reruns.rerun, "approve": reruns.rerun, "cancel": acts.cancel, "status": acts.show}


def obey(hands: Hands, said: Said) -> None:
    """Do what a comment asks for, and answer. Raises ``TryAgainError``."""
    if said.bot or not said.actor or not comments.is_command(said.body):
        return
    if hands.clock() - said.at > hands.policy.history:  # engines have forgotten by now what it may have launched
        log.info("%s of %s is too old", answers.name(said), said.repository.name)
        return
    if hands.forge.is_me(said.actor) and answers.is_one(said.body):
        return
    if hands.forge.permission(said.repository, said.actor) not in MAY_WRITE:
        hands.refused.get((said.repository.id, said.actor.lower()), partial(_refuse, hands, said))
    elif answers.name(said) not in answers.answered(_ours(hands, said)):
        _answer(hands, said, _done(hands, said))


def _refuse(hands: Hands, said: Said) -> None:
    """Tell a stranger, once in a thread; whoever asks for it in a hundred of them is told in one."""
    ours = _ours(hands, said)
    if answers.name(said) not in answers.answered(ours) and said.actor.lower() not in answers.refused(ours):
        refusal = f"`/fyre` needs write permission on {said.repository.name}."
        _answer(hands, said, refusal, refused=True)


def _ours(hands: Hands, said: Said) -> list[str]:
    """What we said where a comment stands, and what is still to be said anywhere."""
    ours = hands.ledger.unsaid(said.repository)  # first: what is said in between is in the thread, and not in neither
    return ours + _said_there(hands.forge, said)


def _said_there(forge: Forge, said: Said) -> list[str]:
    return [one.body for one in conversations.thread(forge, said) if forge.is_me(one.author)]


def _done(hands: Hands, said: Said) -> str:
    """Carry it out; the answer."""
    try:
        command = comments.parse(said.body) or Command("")
        found = places.find(hands, said, command)
        if isinstance(found, str):
            return found
        text = _ACTS[command.verb](hands, found)
    except units.BadValueError as error:
        return f"{error.args[0]}: {error.hint}"
    except HiddenError:
        raise
    except NotFoundError as error:
        return f"nothing is done: {error.message}."
    return answers.on(found.sha, text) if said.pull else text


def _answer(hands: Hands, said: Said, text: str, *, refused: bool = False) -> None:
    log.info("answered %s in %s of %s: %s", said.actor, answers.name(said), said.repository.name, text)
    body = answers.marked(said, text, refused=refused)
    write = _Writer(hands.forge, said, body).write
    hands.ledger.say(Saying(said.repository, answers.name(said), body, write))


@dataclass
class _Writer:
    """Writes an answer once: a try that failed may have come through, so that the next one looks first."""

    forge: Forge
    said: Said
    body: str
    tried: bool = False

    def write(self) -> None:
        if self.tried and answers.name(self.said) in answers.answered(_said_there(self.forge, self.said)):
            return
        self.tried = True
        conversations.say(self.forge, self.said, self.body)
