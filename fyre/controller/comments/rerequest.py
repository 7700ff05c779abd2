"""Handle clicks on the Re-run button of a check run, like ``/fyre rerun [NAME]``."""

from __future__ import annotations

import logging

from fyre.controller.comments.command_parser import Command
from fyre.controller.comments.command_target import TargetedCommand
from fyre.controller.comments.handler import MAY_WRITE
from fyre.controller.comments.rerun_command import RerunCommand
from fyre.controller.delayed_launches import DelayedLaunches
from fyre.controller.executor import Executor
from fyre.controller.retry_queue import FAILURES
from fyre.errors import LOCAL_TROUBLE
from fyre.github.webhook import RerequestEvent
from fyre.runs.trigger import Trigger, TriggerKind

log = logging.getLogger(__name__)


class RerunButton:
    """The handler of clicks by people who may write."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._rerun = _ClickedRerun(executor)

    def handle(self, click: RerequestEvent) -> None:
        """Rerun the run once, however often the click is delivered. Raises ``TransientError``.

        A new attempt has a check run of its own, so a click on that is another rerun.
        """
        try:
            self._handle(click)
        except (*FAILURES, *LOCAL_TROUBLE):  # it is tried again, so it still waits if it did
            raise
        except Exception:
            self.give_up(click)
            raise
        self.give_up(click)

    def give_up(self, click: RerequestEvent) -> None:
        """Forget a click that is not tried again."""
        trigger_id = click_trigger(click, 0.0).id
        self._executor.delayed_clicks.forget(click.repository.id, trigger_id)

    def _handle(self, click: RerequestEvent) -> None:
        repository, actor = click.repository, click.actor
        facts = {
            "repository": repository.name,
            "sha": click.sha,
            "run": click.run_name,
            "actor": actor,
        }
        if self._executor.forge.get_permission(repository, actor) not in MAY_WRITE:
            log.info("a rerun needs write permission", extra=facts)
            return
        target = TargetedCommand(
            repository,
            click.sha,
            Command(RerunCommand.verb, click.run_name),
            click_trigger(click, self._executor.clock()),
        )
        reply = self._rerun.execute(target)
        log.info("a check run was rerequested", extra={**facts, "answer": reply})


class _ClickedRerun(RerunCommand):
    """A rerun that nobody is told about while it waits, and that a cancel ends all the same."""

    @property
    def _delayed(self) -> DelayedLaunches:
        return self._executor.delayed_clicks


def click_trigger(click: RerequestEvent, at: float) -> Trigger:
    """Build the trigger of a click.

    Its ``id`` is hashed into keys of runs, so its form never changes: that of a comment, with a
    number below zero, which no comment has.
    """
    return Trigger(TriggerKind.RERUN, click.actor, at=at, id=f"comment {-click.click_id}")
