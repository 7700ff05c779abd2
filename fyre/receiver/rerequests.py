"""The Re-run buttons of check runs: what ``/fyre rerun [NAME]`` is, given by a click."""

from __future__ import annotations

import logging

from fyre.receiver import reruns
from fyre.receiver.comments import Command
from fyre.receiver.hands import Hands
from fyre.receiver.orders import MAY_WRITE
from fyre.receiver.places import Order
from fyre.receiver.webhook import Rerequested, Said

log = logging.getLogger(__name__)


def obey(hands: Hands, event: Rerequested) -> None:
    """Run it once more, for whoever may write; once, however often it is told. Raises ``TryAgainError``.

    An attempt has a check run of its own, so a click on that is another rerun.
    """
    about = {"repository": event.repository.name, "sha": event.sha, "run": event.name, "actor": event.actor}
    if hands.forge.permission(event.repository, event.actor) not in MAY_WRITE:
        log.info("a rerun needs write permission", extra=about)
        return
    # A comment's number makes its reruns what they are, and there is none below zero.
    said = Said(event.repository, event.sha, event.actor, "", -event.number, at=hands.clock())
    answer = reruns.rerun(hands, Order(said, Command("rerun", event.name), event.sha))
    log.info("a check run was asked for again", extra={**about, "answer": answer})
