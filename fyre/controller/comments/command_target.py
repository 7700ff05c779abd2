"""Find the commit that a comment command is about, and check the approval of a fork's code."""

from __future__ import annotations

from dataclasses import dataclass

from fyre.controller.comments.command_parser import COMMIT_OPTION, Command
from fyre.controller.executor import Executor
from fyre.github import comment_threads
from fyre.github.comment_threads import PullRequest
from fyre.github.errors import NotFoundError
from fyre.github.webhook import CommentEvent
from fyre.runs import policy as policies
from fyre.runs.access import ADMIN
from fyre.runs.run import Repository
from fyre.runs.run_query import RunQuery
from fyre.runs.trigger import Trigger, TriggerKind

SHA_DIGITS = (40, 64)
"""The numbers of digits of a whole SHA: SHA-1, SHA-256."""


@dataclass(frozen=True, slots=True)
class TargetedCommand:
    """A command, the commit that it is about, and its trigger."""

    repository: Repository
    sha: str
    command: Command
    trigger: Trigger
    later_ids: tuple[str, ...] = ()
    """Ids of the triggers that the later comments of its thread are: what they launched is not
    meant. The forge's order, whatever the clocks say."""

    cancelled_names: frozenset[str] = frozenset()
    """Names, in lower case, of runs that a later comment of its thread cancels: they are not
    launched any more."""


@dataclass(frozen=True, slots=True)
class NoTarget:
    """No commit can be selected; ``reply`` says why."""

    reply: str


def comment_trigger(comment: CommentEvent, *, ref: str = "", head_sha: str = "") -> Trigger:
    """Build the trigger of a comment.

    Its ``id`` is hashed into keys of runs, so its form never changes.
    """
    number = comment_trigger_id(comment, comment.comment_id)
    return Trigger(TriggerKind.COMMENT, comment.actor, ref, head_sha, comment.created_at, number)


def comment_trigger_id(comment: CommentEvent, comment_id: int) -> str:
    """Return the ``id`` of the trigger that a comment in the same thread is."""
    return f"{'pull ' if comment.pull_number else ''}comment {comment_id}"


class TargetResolver:
    """The search for the commit that a command is about."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def resolve(
        self,
        comment: CommentEvent,
        command: Command,
        *,
        launches: bool,
    ) -> TargetedCommand | NoTarget:
        """Return the command with its commit; ``launches`` says that the command runs code.

        Raises ``NotFoundError``.
        """
        if not comment.pull_number:
            if not comment.sha.startswith(command.commit):
                return NoTarget(f"{command.commit} is another commit: comment there.")
            return self._target(comment, command, comment.sha)
        forge = self._executor.forge
        pull = comment_threads.get_pull_request(forge, comment.repository, comment.pull_number)
        if pull.is_fork and launches:
            return self._resolve_fork(comment, command, pull)
        if command.commit:
            sha = self._expand_sha(comment.repository, command.commit)
        elif pull.is_fork:
            sha = self._last_approved(comment) or pull.head_sha
        else:
            sha = comment_threads.head_sha_at(forge, comment.repository, pull, comment.created_at)
        return self._target(comment, command, sha)

    def _target(self, comment: CommentEvent, command: Command, sha: str) -> TargetedCommand:
        return TargetedCommand(comment.repository, sha, command, comment_trigger(comment))

    def _resolve_fork(
        self,
        comment: CommentEvent,
        command: Command,
        pull: PullRequest,
    ) -> TargetedCommand | NoTarget:
        """Return a fork's commit if the policy allows forks and the command has the whole SHA.

        The whole SHA, because an author could make two commits whose SHAs begin alike within
        seconds, have one of them read, and push the other.
        """
        repository = comment.repository
        if not policies.for_repository(self._executor.policy, repository.name).approved_forks:
            refusal = "this pull request comes from a fork, and no code of forks runs here"
            return NoTarget(f"{refusal} · {ADMIN}")
        if len(command.commit) not in SHA_DIGITS:
            return NoTarget(_ask_for_sha(command, pull))
        head_sha = self._executor.commit_reader.pull_head(repository, pull.number)
        trigger = comment_trigger(comment, ref=_pull_ref(comment), head_sha=head_sha)
        return TargetedCommand(repository, command.commit, command, trigger)

    def _last_approved(self, comment: CommentEvent) -> str:
        """Return the SHA of a fork's pull request that was launched last; "" if none was."""
        query = RunQuery(repository_id=comment.repository.id, ref=_pull_ref(comment), limit=1)
        newest = self._executor.engine.query_runs(query)
        return newest[0].run.sha if newest else ""

    def _expand_sha(self, repository: Repository, prefix: str) -> str:
        """Return the SHA that begins with ``prefix``.

        Raises ``NotFoundError``, also for a branch that happens to have such a name.
        """
        sha = self._executor.forge.get_commit(repository, prefix).sha
        if not sha.startswith(prefix):
            raise NotFoundError(f"commit {prefix} of {repository.name}: not found")
        return sha


def _ask_for_sha(command: Command, pull: PullRequest) -> str:
    """Return the reply that shows the line to write."""
    run = f"/fyre run {COMMIT_OPTION} {pull.head_sha} -- …"
    approve = f"/fyre approve {pull.head_sha}"
    line = run if command.verb == "run" else approve
    return (
        "this pull request comes from a fork: say which commit you have read, by its whole SHA. "
        "What is pushed later needs another approval. Of its head as it is now:"
        f"\n\n```\n{line}\n```"
    )


def _pull_ref(comment: CommentEvent) -> str:
    return f"refs/pull/{comment.pull_number}/head"
