"""Run again: launch the next attempts, on the image that ran before or on the latest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from fyre.controller.comments import command_parser, commands
from fyre.controller.comments.command_parser import LATEST_OPTION, Command
from fyre.controller.comments.command_target import TargetedCommand
from fyre.controller.comments.commands import (
    LaunchingCommand,
    by_attempt,
    name_matches,
    run_key_for,
)
from fyre.github.webhook import BRANCH_PREFIX
from fyre.message import image_reference
from fyre.message.spec import RunSpec
from fyre.reporter import markdown
from fyre.runs import commit_status
from fyre.runs import policy as policies
from fyre.runs.commit_status import CommitStatus
from fyre.runs.plan import CommitEvent, PostStatus, build_run
from fyre.runs.repo_config import RepoConfigError
from fyre.runs.run import Run, RunRecord


class RerunCommand(LaunchingCommand):
    """Launch again what ran or was requested on a commit: all of it, or the run of that name.

    The policy judges the image as it was requested: the digest of an allowed tag may run again.
    """

    verb = "rerun"
    arguments = f"[NAME] [{LATEST_OPTION}]"
    help = "runs again what ran or was asked for"

    first_attempt: ClassVar[int] = 2
    """The attempt number of a run that has not run on this commit."""

    @classmethod
    def parse(cls, text: str) -> Command:
        """Parse the name of a run, and the option for the latest image."""
        return command_parser.parse_selection(cls.verb, text, latest=True)

    def execute(self, target: TargetedCommand) -> str:
        """Launch the next attempts, unless this comment has launched them already."""
        event = self._read_commit(target)
        problem = _request_problem(event)
        if problem:
            return f"not launched: {markdown.code_span(problem)}"
        records = sorted(self._runs_on_commit(target), key=by_attempt)
        newest = _by_name(records)
        candidates = self._next_attempts(target, event, records)
        selected = [run for run in candidates if name_matches(run.name, target.command.run_name)]
        if not selected:
            return commands.render_nothing("rerun", target.command.run_name)
        # A run that has a record was launched by this comment already.
        get_record = self._executor.engine.get_record
        missing = [run for run in selected if get_record(run.key) is None]
        refusal = self._denials(event, missing) or _still_running(missing, newest)
        if refusal:
            return refusal
        before = {run.key: newest.get(run.name.lower()) for run in missing}
        cancelled = self._launch_runs(
            target, [self._like_before(target, run, before[run.key]) for run in missing]
        )
        self._clear_moved_status(target, event)
        told = commands.render_cancelled(cancelled)
        if told and len(cancelled) == len(selected):
            return told
        return "\n\n".join(
            filter(None, (self._render_launched([run.key for run in selected]), told))
        )

    def _next_attempts(
        self,
        target: TargetedCommand,
        event: CommitEvent,
        records: Sequence[RunRecord],
    ) -> Iterable[Run]:
        """Yield the next attempt of each run of this commit; ``records`` are sorted by attempt."""
        newest, executor = _by_name(records), self._executor
        for name, spec in _specs(target, event, records).items():
            before = newest.get(name.lower())
            yield build_run(
                event,
                replace(spec, image=_requested_image(event, name, records)),
                name,
                executor.policy,
                key=run_key_for(target, f"rerun {name.lower()}"),
                now=executor.clock(),
                attempt=before.run.attempt + 1 if before else self.first_attempt,
            )

    def _like_before(self, target: TargetedCommand, run: Run, before: RunRecord | None) -> Run:
        """Return the run with the branch and, unless a newer one is asked for, the image before."""
        if before is None:
            return run
        on_branch = replace(run, ref=run.ref or before.run.ref)
        if target.command.latest_image:
            return on_branch
        return self._pin_image(on_branch, before)

    def _pin_image(self, run: Run, before: RunRecord) -> Run:
        """Return the run with the digest that ran before.

        It is unchanged where that digest can't be pulled again.
        """
        profile_image = policies.select_profile(self._executor.policy, run.spec).image
        if not (run.spec.image or profile_image):
            return run
        # The profile may name another tag today, so the digest of that time is shown without a tag.
        image = run.spec.image or image_reference.parse_reference(profile_image).repository
        pinned = image_reference.pin_to_run_digest(
            image, before.image_id or before.run.spec.image or ""
        )
        return replace(run, spec=replace(run.spec, image=pinned)) if pinned != image else run

    def _clear_moved_status(self, target: TargetedCommand, event: CommitEvent) -> None:
        """Turn ``fyre/moved`` green once everything that the commit requests runs.

        A rerun on a moved commit is what that status asks for.
        """
        repository, sha = target.repository, target.sha
        launched = {record.run.name.lower() for record in self._runs_on_commit(target)}
        if not launched.issuperset(name.lower() for name in event.request.run_names):
            return
        if commit_status.MOVED_CONTEXT in self._executor.reporter.read_statuses(repository, sha):
            reason = f"run here by {target.trigger.actor}"
            cleared = CommitStatus(commit_status.MOVED_CONTEXT, "success", reason)
            self._executor.execute(repository, PostStatus(sha, cleared))


class ApproveCommand(RerunCommand):
    """Run what one commit of a fork's pull request requests."""

    verb = "approve"
    arguments = "SHA"
    help = (
        "in a fork's pull request, where the policy has `approvedForks: true`: "
        "runs what that one commit asks for, and nothing pushed later"
    )
    first_attempt = 1

    @classmethod
    def parse(cls, text: str) -> Command:
        """Parse the SHA."""
        return command_parser.parse_approval(text)


def _request_problem(event: CommitEvent) -> str:
    """Return what is wrong with the message or with ``.fyre.yaml``; "" if nothing is."""
    if event.request.problems:
        problem = event.request.problems[0]
        return problem.described
    return str(event.defaults) if isinstance(event.defaults, RepoConfigError) else ""


def _by_name(records: Iterable[RunRecord]) -> dict[str, RunRecord]:
    """Return the last of these records of each run name, in lower case."""
    return {record.run.name.lower(): record for record in records}


def _specs(
    target: TargetedCommand,
    event: CommitEvent,
    records: Sequence[RunRecord],
) -> dict[str, RunSpec]:
    """Return what is to run, by name: as the message requests it, with the defaults of today.

    What a comment requested is taken from its record. What was launched after this comment is
    left out.
    """
    requested = zip(event.request.run_names, event.request.runs, strict=True)
    in_message = [] if _is_unapproved_fork(target, records) else list(requested)
    as_written = {name.lower(): spec for name, spec in in_message}
    newest, first = _by_name(records), _by_name(reversed(records))
    launched = (
        record.run for name, record in newest.items() if commands.is_meant(target, first[name].run)
    )
    specs = {run.name: as_written.get(run.name.lower(), run.spec) for run in launched}
    return specs | {name: spec for name, spec in in_message if name.lower() not in newest}


def _is_unapproved_fork(target: TargetedCommand, records: Sequence[RunRecord]) -> bool:
    """Return True if the commit is a fork's and this is no approval.

    Other runs on it, such as a command of the approver's own, do not make what the fork requests
    run.
    """
    refs = [record.run.ref for record in records]
    by_fork = any(ref.startswith("refs/pull/") for ref in refs)
    on_branch = any(ref.startswith(BRANCH_PREFIX) for ref in refs)
    return not target.trigger.ref and by_fork and not on_branch


def _requested_image(event: CommitEvent, name: str, records: Sequence[RunRecord]) -> str | None:
    """Return the image that was requested: by the message, else by a first attempt's comment.

    It is never the digest that an earlier rerun pinned.
    """
    launched = (record.run.spec.image for record in records if name_matches(record.run.name, name))
    requested = zip(event.request.run_names, event.request.runs, strict=True)
    in_message = (spec.image for other, spec in requested if name_matches(other, name))
    return next(in_message, next(launched, None))


def _still_running(runs: Iterable[Run], newest: Mapping[str, RunRecord]) -> str:
    """Return the reply that names a run whose last attempt has not ended; "" if all have.

    One attempt owns the status at a time.
    """
    for run in runs:
        before = newest.get(run.name.lower())
        if before is not None and not before.state.is_final:
            return f"`{run.name}` has not ended yet; `/fyre cancel {run.name}` ends it."
    return ""
