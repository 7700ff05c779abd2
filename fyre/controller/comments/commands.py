"""Act on the runs of a commit for a comment: run, cancel, status.

Each command returns a reply that says what it has done. The comment's id is the attempt's identity,
so a command that is executed again finds it done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from fyre.controller.comments import command_parser, replies
from fyre.controller.comments.command_parser import Command
from fyre.controller.comments.command_target import TargetedCommand
from fyre.controller.delayed_launches import DelayedLaunches
from fyre.controller.executor import Executor
from fyre.controller.launch_delays import LaunchPass
from fyre.message.request import assign_names
from fyre.message.spec import RunSpec
from fyre.reporter import markdown
from fyre.runs import commit_status
from fyre.runs import run as runs
from fyre.runs.access import Allowed, Denied
from fyre.runs.plan import CommitEvent, Launch, build_run
from fyre.runs.repo_config import RepoConfigError
from fyre.runs.run import Run, RunRecord
from fyre.runs.status_text import is_launch_delayed

CLOCK_SKEW = 60.0
"""Seconds that our clock may be ahead of GitHub's: a run that was launched later than that after a
comment is not meant."""


class CommentCommand(ABC):
    """One verb of ``/fyre``: it parses its arguments and acts on a commit's runs.

    To add one, subclass this and put the class into ``fyre.controller.comments.handler.COMMANDS``.
    """

    verb: ClassVar[str]
    arguments: ClassVar[str]
    """The text after the verb, as the README shows it."""

    help: ClassVar[str]
    """One line on what it does, as the README says it."""

    launches: ClassVar[bool] = False
    """True if it runs code: of a fork only a commit that was approved by its whole SHA."""

    overtakes: ClassVar[bool] = False
    """True if it does something at once, where its repository has other work before it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @classmethod
    def parse(cls, text: str) -> Command:
        """Parse the text after the verb: the name of a run, unless a subclass parses more.

        Raises ``value_parsers.BadValueError``.
        """
        return command_parser.parse_selection(cls.verb, text)

    @abstractmethod
    def execute(self, target: TargetedCommand) -> str:
        """Carry it out and return the reply. Raises ``NotFoundError``, ``TransientError``."""

    def overtake(self, target: TargetedCommand) -> None:  # noqa: B027 - most commands wait
        """Do at once what need not wait; ``execute`` comes after it and does the rest."""

    def _runs_on_commit(self, target: TargetedCommand) -> tuple[RunRecord, ...]:
        return self._executor.runs_on_commit(target.repository, target.sha)


class LaunchingCommand(CommentCommand):
    """A command that runs code."""

    launches = True

    def _read_commit(self, target: TargetedCommand) -> CommitEvent:
        return self._executor.read_event(target.repository, target.sha, target.trigger)

    def _denials(self, event: CommitEvent, requested: Sequence[Run]) -> str:
        """Return why the policy denies any of these runs; "" if it denies none.

        A comment is allowed no more than a push.
        """
        denied = []
        for run in requested:
            match self._executor.authorize_run(run, event):
                case Denied() as denial:
                    denied.append(f"`{run.name}` is refused: {denial.text}")
                case Allowed():
                    pass
        if denied or not requested:
            return "; ".join(denied)
        quota = self._executor.check_quota(event.repository, len(requested))
        return f"refused: {quota.text}" if isinstance(quota, Denied) else ""

    @property
    def _delayed(self) -> DelayedLaunches:
        """The launches of this kind that wait."""
        return self._executor.delayed_comments

    def _launch_runs(self, target: TargetedCommand, requested: Iterable[Run]) -> list[str]:
        """Launch these runs; return the names of those that were cancelled while they waited.

        Raises ``RefusedForNowError``, after a try of each. What is refused for now is said in the
        thread of the comment. A click has none, and no status says it: the run before has one that
        is final, and a click is lost with its process.
        """
        executor, commit = self._executor, (target.repository.id, target.sha)
        launches = LaunchPass(lambda run: executor.execute(target.repository, Launch(run)))
        refused, cancelled = [], []
        for run in requested:
            if self._delayed.is_cancelled(run):
                cancelled.append(run.name)
            elif run.name.lower() in target.cancelled_names:
                cancelled.append(run.name)
                self._delayed.note_dropped(commit, run)
            elif launches.launch(run):
                refused.append(run)
        if refused:
            self._delayed.add(commit, target.trigger.id, refused, executor.clock())
            launches.end()
        self._delayed.forget(target.repository.id, target.trigger.id)
        return cancelled

    def _render_launched(self, keys: Iterable[str]) -> str:
        """List the launched runs; one that the engine refused says so in its status."""
        executor = self._executor
        records = [
            record for key in keys if (record := executor.engine.get_record(key)) is not None
        ]
        if not records:
            return "not launched: the commit's status says why."
        lines = [
            f"- [`{record.run.name}`]({executor.reporter.page_url(record.run.key)})"
            + (f", attempt {record.run.attempt}" if record.run.attempt > 1 else "")
            for record in records[: replies.TABLE_ROWS_MAX]
        ]
        return "\n".join(["launched:", "", *lines])


class RunCommand(LaunchingCommand):
    """Launch a command that no commit message requests."""

    verb = "run"
    arguments = "[--name N --profile P --timeout 2h --env K=V … --] COMMAND"
    help = "runs it, verbatim, on that commit"

    @classmethod
    def parse(cls, text: str) -> Command:
        """Parse options and command."""
        return command_parser.parse_run(text)

    def execute(self, target: TargetedCommand) -> str:
        """Launch the command, unless this comment has launched it already."""
        event = self._read_commit(target)
        if isinstance(event.defaults, RepoConfigError):
            return f"not launched: {markdown.code_span(str(event.defaults))}"
        spec = target.command.spec or RunSpec("")
        key = run_key_for(target, spec.digest)
        if self._executor.engine.get_record(key) is None:
            refusal = self._launch(target, event, spec, key)
            if refusal:
                return refusal
        return self._render_launched([key])

    def _launch(self, target: TargetedCommand, event: CommitEvent, spec: RunSpec, key: str) -> str:
        """Launch the command; return why not, or ""."""
        used_names, executor = self._used_names(target, event), self._executor
        if spec.name.lower() in used_names:
            return f"`{spec.name}` is taken on this commit: choose another name."
        name = assign_names((*used_names, spec.name))[-1]
        run = build_run(event, spec, name, executor.policy, key=key, now=executor.clock())
        refusal = self._denials(event, [run])
        if not refusal:
            refusal = render_cancelled(self._launch_runs(target, [run]))
        return refusal

    def _used_names(self, target: TargetedCommand, event: CommitEvent) -> tuple[str, ...]:
        """Return the run names, in lower case, that have or will have an outcome on this commit.

        None of them may get another meaning.
        """
        statuses = self._executor.reporter.read_statuses(target.repository, target.sha)
        posted = (context.removeprefix("fyre/") for context in statuses)
        launched = (record.run.name for record in self._runs_on_commit(target))
        names = (*launched, *event.request.run_names, *posted)
        return tuple(dict.fromkeys(name.lower() for name in names))


class CancelCommand(CommentCommand):
    """Cancel the unfinished runs of a commit: all of them, or the one of that name.

    Those count that the engine has not taken yet, whether a commit or a click asked for them.
    """

    verb = "cancel"
    arguments = "[NAME]"
    help = "ends what has not ended"
    overtakes = True

    def execute(self, target: TargetedCommand) -> str:
        """Cancel the runs that existed when the comment was written."""
        records = self._runs_on_commit(target)
        cancelled, ended = self._cancel_runs(target, records)
        cancelled += self._cancel_delayed(target, records)
        name, commit = target.command.run_name, (target.repository.id, target.sha)
        before = target.trigger.at + CLOCK_SKEW
        cancelled += self._executor.delayed_clicks.cancel(commit, name, before)
        if name:  # without one, each comment of the thread that waits is answered as a whole
            cancelled += self._executor.delayed_comments.cancel(commit, name, before)
        said = [text for text in (render_cancelled(cancelled), self._render_ended(ended)) if text]
        return " ".join(said) or render_nothing("cancel", target.command.run_name)

    def overtake(self, target: TargetedCommand) -> None:
        """Cancel those of the runs that are found without a fetch."""
        known = self._executor.known_runs_on_commit(target.repository, target.sha)
        self._cancel_runs(target, known)

    def _cancel_delayed(self, target: TargetedCommand, records: Iterable[RunRecord]) -> list[str]:
        """Post the end of the runs that the engine did not take yet; return their names.

        By that status the plan knows that they are not to be launched.
        """
        executor, (repository, sha) = self._executor, (target.repository, target.sha)
        known = {record.run.context.lower() for record in records}
        names = []
        for context, posted in executor.reporter.read_statuses(repository, sha).items():
            name = posted.context.removeprefix("fyre/")
            is_waiting = posted.state == "pending" and context not in known
            if not is_waiting or not name_matches(name, target.command.run_name):
                continue
            if is_launch_delayed(posted.state, posted.description):
                status = commit_status.cancelled_status(posted.context, target.trigger.actor)
                executor.reporter.queue_status(repository, sha, status)
                executor.launch_delays.forget(repository, sha, posted.context)
                names.append(name)
        return names

    def _cancel_runs(
        self, target: TargetedCommand, records: Iterable[RunRecord]
    ) -> tuple[list[str], list[RunRecord]]:
        """Cancel those of these runs that are meant.

        Return the names of those that are cancelled, and the runs that had ended by themselves.
        """
        selected = [
            record
            for record in records
            if name_matches(record.run.name, target.command.run_name)
            and is_meant(target, record.run)
        ]
        ended: list[RunRecord] = []
        cancelled: list[RunRecord] = []
        for record in selected:
            if record.state.is_final:
                continue
            done = self._executor.engine.cancel(record.run.key, target.trigger.actor)
            (cancelled if done or record.cancelled_by else ended).append(record)
        was_cancelled = [record for record in selected if record.cancelled_by]
        return [record.run.name for record in cancelled or was_cancelled], ended

    def _render_ended(self, ended: Iterable[RunRecord]) -> str:
        """Return which runs could not be cancelled any more; "" for none."""
        lines = []
        for record in ended:
            latest = self._executor.engine.get_record(record.run.key) or record
            storing = ": its outputs are being stored" if not latest.state.is_final else ""
            lines.append(f"`{record.run.name}` has ended{storing}.")
        return " ".join(lines)


class StatusCommand(CommentCommand):
    """List the runs of a commit, with outcome and page."""

    verb = "status"
    arguments = "[NAME]"
    help = "lists runs, outcomes and links"

    def execute(self, target: TargetedCommand) -> str:
        """List the statuses that are posted, with what the engine knows better."""
        reporter, name = self._executor.reporter, target.command.run_name
        statuses = dict(reporter.read_statuses(target.repository, target.sha))
        for record in sorted(self._runs_on_commit(target), key=by_attempt):
            carried = record.run.sha != target.sha
            current = commit_status.status_from_record(
                record, reporter.page_url(record.run.key), carried=carried
            )
            statuses[current.context.lower()] = current
        selected = {
            context: status
            for context, status in sorted(statuses.items())
            if name_matches(status.context.removeprefix("fyre/"), name)
        }
        return replies.render_status_table(selected) if selected else render_nothing("show", name)


def render_cancelled(names: Iterable[str]) -> str:
    """Return the reply that says which runs are cancelled; "" for none."""
    shown = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
    return f"cancelled: {shown}." if shown else ""


def render_nothing(verb: str, name: str) -> str:
    """Return the reply where a command finds no run."""
    return f"nothing to {verb} here{f' is named {name}' if name else ''}."


def run_key_for(target: TargetedCommand, content: str) -> str:
    """Return the key of this comment's run, the same however often the comment is delivered.

    It is made of what identifies the comment, and of nothing that the comment changes.
    """
    return runs.run_key(target.repository, target.sha, content, 0, target.trigger.id)


def is_meant(target: TargetedCommand, run: Run) -> bool:
    """Return True if a command can mean a run, since it was launched before its comment.

    A comment may come late, and again: what a later comment has launched is not meant, nor what
    was launched later by our clock.
    """
    if run.created_at > target.trigger.at + CLOCK_SKEW:
        return False
    contents = (run.digest, f"rerun {run.name.lower()}")
    return not any(
        run.key == runs.run_key(target.repository, run.sha, content, 0, trigger_id)
        for trigger_id in target.later_ids
        for content in contents
    )


def name_matches(name: str, selected: str) -> bool:
    """Return True if a run is selected: by its name, or because none was named."""
    return not selected or name.lower() == selected.lower()


def by_attempt(record: RunRecord) -> int:
    """Return the attempt's number, to sort records by it."""
    return record.run.attempt
