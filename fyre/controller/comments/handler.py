"""Handle commands in comments: check that their author may give them, execute them, reply once.

A command that has a reply is done: our reply names its comment, so that a redelivered or swept
comment does nothing a second time. After a crash before the reply the command is executed again,
which is harmless: runs are keyed by the comment's id, and to cancel twice is to cancel once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from fyre.controller.comments import command_parser, replies
from fyre.controller.comments.command_parser import Command
from fyre.controller.comments.command_target import (
    NoTarget,
    TargetedCommand,
    TargetResolver,
    comment_trigger_id,
)
from fyre.controller.comments.commands import (
    CLOCK_SKEW,
    CancelCommand,
    CommentCommand,
    RunCommand,
    StatusCommand,
    render_cancelled,
    render_nothing,
)
from fyre.controller.comments.rerun_command import ApproveCommand, RerunCommand
from fyre.controller.executor import Executor
from fyre.controller.retry_queue import FAILURES
from fyre.controller.ttl_cache import TTLCache
from fyre.errors import LOCAL_TROUBLE, RefusedForNowError
from fyre.github import comment_threads
from fyre.github.client import Comment, GitHubClient
from fyre.github.errors import NotFoundError, NotVisibleError
from fyre.github.webhook import CommentEvent
from fyre.message import value_parsers
from fyre.reporter import markdown
from fyre.reporter.unposted_statuses import UnpostedComment

log = logging.getLogger(__name__)

FindWritten = Callable[[Iterable[str]], frozenset[str]]
"""Finds the comments that have a reply, or a note, among bodies of ours; by their keys."""

MAY_WRITE = ("admin", "maintain", "write")
"""The permissions, in GitHub's words, that allow somebody to give commands."""

REFUSAL_TTL = 3600.0
"""Seconds for which somebody whose comment was refused gets no further reply in that repository: a
flood of comments costs a request for each, and delays no status."""

COMMANDS: Mapping[str, type[CommentCommand]] = {
    command.verb: command
    for command in (
        RunCommand,
        RerunCommand,
        CancelCommand,
        StatusCommand,
        ApproveCommand,
    )
}
"""All commands by their verb, in the order in which they are listed."""


def parse_command(body: str) -> Command | None:
    """Return the command of a comment, None if it holds none.

    Raises ``value_parsers.BadValueError`` for a command that can't be understood.
    """
    return command_parser.parse_command(
        body, {verb: command.parse for verb, command in COMMANDS.items()}
    )


class CommentCommands:
    """The handler of ``/fyre …`` in comments by people who may write. Thread-safe.

    Comments of one repository are handled one at a time, except in ``overtake``.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._targets = TargetResolver(executor)
        self._commands = {verb: command(executor) for verb, command in COMMANDS.items()}
        self._refused = TTLCache(REFUSAL_TTL, 10_000)  # by the repository's id and the login

    def handle(self, comment: CommentEvent) -> None:
        """Execute the command of a comment, and reply. Raises ``TransientError``."""
        try:
            self._handle(comment)
        except (*FAILURES, *LOCAL_TROUBLE):  # it is tried again, so it still waits if it did
            raise
        except Exception:
            self._forget(comment)
            raise
        self._forget(comment)

    def _handle(self, comment: CommentEvent) -> None:
        if not self._is_current_command(comment):
            return
        if not self._may_command(comment):
            key = comment.repository.id, comment.actor.lower()
            self._refused.get(key, partial(self._refuse, comment))
            return
        thread = self._unanswered_thread(comment)
        if thread is None:
            return
        try:
            text = self._execute(comment, thread)
        except RefusedForNowError as error:
            self._note_delay(comment, thread, error)
            raise
        self._reply(comment, text)

    def give_up(self, comment: CommentEvent, error: Exception) -> None:
        """Forget a comment that is not tried again; reply if its launch was refused for so long."""
        self._forget(comment)
        if isinstance(error, RefusedForNowError):
            self._reply(comment, f"given up after a day: {markdown.code_span(str(error))}")

    def _forget(self, comment: CommentEvent) -> None:
        trigger_id = comment_trigger_id(comment, comment.comment_id)
        self._executor.delayed_comments.forget(comment.repository.id, trigger_id)

    def overtake(self, comment: CommentEvent) -> None:
        """Do what a command does at once, if it does: nothing is fetched, and nothing is replied.

        In its turn the comment is handled all the same. Raises ``UserError``, ``TransientError``.
        """
        if not self._is_current_command(comment):
            return
        try:
            command = parse_command(comment.body) or Command("")
        except value_parsers.BadValueError:
            return
        handler = self._commands[command.verb]
        if not handler.overtakes or not self._may_command(comment):
            return
        thread = self._unanswered_thread(comment)
        if thread is not None:
            target = self._resolve(comment, command, thread)
            if isinstance(target, TargetedCommand):
                handler.overtake(target)

    def _is_current_command(self, comment: CommentEvent) -> bool:
        """Return True if a person's comment holds a command, and is not too old."""
        if comment.is_bot or not comment.actor or not command_parser.is_command(comment.body):
            return False
        executor = self._executor
        if executor.clock() - comment.created_at > executor.policy.history:
            # Engines may have forgotten by now what it has launched.
            log.info("%s of %s is too old", replies.comment_key(comment), comment.repository.name)
            return False
        return not (executor.forge.is_own_login(comment.actor) and replies.is_reply(comment.body))

    def _may_command(self, comment: CommentEvent) -> bool:
        forge = self._executor.forge
        return forge.get_permission(comment.repository, comment.actor) in MAY_WRITE

    def _unanswered_thread(self, comment: CommentEvent) -> Sequence[Comment] | None:
        """Return the comments of the thread, or None if this one is answered."""
        queued, forge = self._queued_bodies(comment), self._executor.forge
        thread = comment_threads.list_thread(forge, comment)
        answered = replies.answered_comments(queued + _own_bodies(forge, thread))
        return None if replies.comment_key(comment) in answered else thread

    def _refuse(self, comment: CommentEvent) -> None:
        """Reply to somebody without write permission, once in a thread.

        Whoever comments in a hundred threads gets a reply in one of them.
        """
        # The queue first: one that is posted in between is then in both, not in neither.
        bodies = self._queued_bodies(comment) + _own_comments(self._executor.forge, comment)
        is_answered = replies.comment_key(comment) in replies.answered_comments(bodies)
        was_refused = comment.actor.lower() in replies.refused_logins(bodies)
        if not is_answered and not was_refused:
            refusal = f"`/fyre` needs write permission on {comment.repository.name}."
            self._reply(comment, refusal, refused=True)

    def _queued_bodies(self, comment: CommentEvent) -> list[str]:
        """Return our comments that are still queued for any thread."""
        return self._executor.reporter.queued_comment_bodies(comment.repository)

    def _execute(self, comment: CommentEvent, thread: Sequence[Comment]) -> str:
        """Execute the command; return the reply."""
        try:
            command = parse_command(comment.body) or Command("")
            target = self._resolve(comment, command, thread)
            if isinstance(target, NoTarget):
                return target.reply
            text = self._commands[command.verb].execute(target)
            if command.verb == CancelCommand.verb and not command.run_name:
                text = self._cancel_all_delayed(comment, thread, target, text)
        except value_parsers.BadValueError as error:
            return f"{error.args[0]}: {error.hint}"
        except NotVisibleError:
            raise
        except NotFoundError as error:
            return f"nothing is done: {error.message}."
        return replies.with_sha(target.sha, text) if comment.pull_number else text

    def _resolve(
        self, comment: CommentEvent, command: Command, thread: Sequence[Comment]
    ) -> TargetedCommand | NoTarget:
        """Return the command with its commit, and with what came after it in its thread."""
        launches = self._commands[command.verb].launches
        target = self._targets.resolve(comment, command, launches=launches)
        if isinstance(target, NoTarget):
            return target
        later = [posted for posted in thread if posted.id > comment.comment_id]
        return replace(
            target,
            later_ids=tuple(comment_trigger_id(comment, posted.id) for posted in later),
            cancelled_names=(
                self._cancelled_names(comment, target.sha, later) if launches else frozenset()
            ),
        )

    def _cancelled_names(
        self, comment: CommentEvent, sha: str, later: Iterable[Comment]
    ) -> frozenset[str]:
        """Return the names of this commit's runs that these comments cancel, in lower case."""
        names = set()
        for posted in later:
            if not command_parser.is_command(posted.body):
                continue
            with suppress(value_parsers.BadValueError):
                command = parse_command(posted.body) or Command("")
                is_by_name = command.verb == CancelCommand.verb and command.run_name
                event = _event_in_thread(comment, posted)
                if is_by_name and self._may_command(event) and self._is_about(event, command, sha):
                    names.add(command.run_name.lower())
        return frozenset(names)

    def _is_about(self, comment: CommentEvent, command: Command, sha: str) -> bool:
        """Return True if a command that runs no code is about that commit."""
        try:
            target = self._targets.resolve(comment, command, launches=False)
        except NotVisibleError:
            raise
        except NotFoundError:
            return False
        return isinstance(target, TargetedCommand) and target.sha == sha

    def _note_delay(
        self, comment: CommentEvent, thread: Sequence[Comment], error: RefusedForNowError
    ) -> None:
        """Say once in the thread why a launch waits. The reply comes when it is done."""
        bodies = self._queued_bodies(comment) + _own_bodies(self._executor.forge, thread)
        if replies.comment_key(comment) not in replies.delayed_comments(bodies):
            reason = markdown.code_span(str(error))
            body = replies.render_delay(
                comment, f"not launched yet: {reason}. It is tried again for a day."
            )
            self._queue(comment, body, replies.delayed_comments)

    def _cancel_all_delayed(
        self, comment: CommentEvent, thread: Sequence[Comment], target: TargetedCommand, text: str
    ) -> str:
        """Cancel what comments of any thread wait for on the commit; return what is said then.

        ``text`` says what was cancelled besides.
        """
        nothing = render_nothing(target.command.verb, "")
        told = [] if text == nothing else [text]
        if self._cancel_delayed(comment, thread, target):
            told.append("What waited to be launched here is cancelled.")
        commit, before = (target.repository.id, target.sha), comment.created_at + CLOCK_SKEW
        elsewhere = self._executor.delayed_comments.cancel(commit, "", before)
        if elsewhere:
            told.append(render_cancelled(elsewhere))
        return " ".join(told) or nothing

    def _cancel_delayed(
        self, comment: CommentEvent, thread: Sequence[Comment], target: TargetedCommand
    ) -> bool:
        """Answer the earlier comments of a thread whose launches on that commit are tried again.

        Now they are not. Return False if there are none.
        """
        bodies = self._queued_bodies(comment) + _own_bodies(self._executor.forge, thread)
        waiting = replies.delayed_comments(bodies) - replies.answered_comments(bodies)
        earlier = (
            _event_in_thread(comment, posted) for posted in thread if posted.id < comment.comment_id
        )
        cancelled = [
            before
            for before in earlier
            if replies.comment_key(before) in waiting and self._is_about_commit(before, target.sha)
        ]
        for before in cancelled:
            self._reply(before, f"cancelled by {comment.actor}.")
            self._forget(before)
        return bool(cancelled)

    def _is_about_commit(self, comment: CommentEvent, sha: str) -> bool:
        """Return True if the command of a comment is about that commit."""
        try:
            command = parse_command(comment.body) or Command("")
        except value_parsers.BadValueError:  # it was edited since
            return False
        return self._is_about(comment, command, sha)

    def _reply(self, comment: CommentEvent, text: str, *, refused: bool = False) -> None:
        repository, key = comment.repository, replies.comment_key(comment)
        log.info("answered %s in %s of %s: %s", comment.actor, key, repository.name, text)
        body = replies.render_reply(comment, text, is_refusal=refused)
        self._queue(comment, body, replies.answered_comments)

    def _queue(self, comment: CommentEvent, body: str, find_written: FindWritten) -> None:
        writer = _ReplyWriter(self._executor.forge, comment, body, find_written)
        self._executor.reporter.queue_comment(
            UnpostedComment(comment.repository, replies.comment_key(comment), body, writer.write)
        )


def _own_comments(forge: GitHubClient, comment: CommentEvent) -> list[str]:
    return _own_bodies(forge, comment_threads.list_thread(forge, comment))


def _own_bodies(forge: GitHubClient, thread: Sequence[Comment]) -> list[str]:
    return [posted.body for posted in thread if forge.is_own_login(posted.author)]


def _event_in_thread(comment: CommentEvent, posted: Comment) -> CommentEvent:
    """Return another comment of the thread that a comment stands in."""
    return replace(
        comment,
        actor=posted.author,
        body=posted.body,
        comment_id=posted.id,
        created_at=posted.created_at,
    )


@dataclass
class _ReplyWriter:
    """A reply that is written once: after a failed try it is first looked for in the thread."""

    forge: GitHubClient
    comment: CommentEvent
    body: str
    find_written: FindWritten
    tried: bool = False

    def write(self) -> None:
        if self.tried and self._is_written():
            return
        self.tried = True
        comment_threads.post_reply(self.forge, self.comment, self.body)

    def _is_written(self) -> bool:
        written = self.find_written(_own_comments(self.forge, self.comment))
        return replies.comment_key(self.comment) in written
