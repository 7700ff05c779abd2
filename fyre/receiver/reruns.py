"""What ran, once more: the next attempt at runs of a commit, on the image that ran before or on the latest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fyre import images, markup, status
from fyre import policy as policies
from fyre.plan import Heard, Launch, Post, as_run
from fyre.receiver import acts
from fyre.receiver.hands import Hands
from fyre.receiver.places import Order
from fyre.receiver.webhook import HEADS
from fyre.repofile import BadFileError
from fyre.run import Record, Run
from fyre.status import Status


def rerun(hands: Hands, order: Order) -> str:
    """Launch again what ran or was asked for on this commit: all of it, or the run of that name.

    The policy judges the image as it was asked for: what an allowed tag led to may run again.
    """
    at, command = acts.heard(hands, order), order.command
    if at.asked.problems:
        problem = at.asked.problems[0]
        return f"not launched: {markup.code(f'line {problem.line}: {problem.message}')}"
    if isinstance(at.defaults, BadFileError):
        return f"not launched: {markup.code(str(at.defaults))}"
    here = sorted(acts.here(hands, order), key=acts.attempt)
    newest = {record.run.name.lower(): record for record in here}
    all_ = [run for run in _candidates(hands, order, at, here) if acts.named(run.name, command.name)]
    if not all_:
        return acts.nothing("rerun", command.name)
    again = [run for run in all_ if hands.engine.record(run.key) is None]  # else it is this comment's already
    refused = acts.refused(hands, at, again) or _unfinished(again, newest)
    if refused:
        return refused
    for one in again:
        before = newest.get(one.name.lower())
        launch = _held(hands, one, before) if before and not command.latest else one
        hands.do(order.said.repository, Launch(launch))
    _forgive(hands, order, at)
    return acts.launched(hands, [one.key for one in all_])


def _unfinished(again: Iterable[Run], newest: Mapping[str, Record]) -> str:
    """Which of these is on still: one attempt has the say at a time."""
    for one in again:
        before = newest.get(one.name.lower())
        if before is not None and not before.state.final:
            return f"`{one.name}` has not ended yet; `/fyre cancel {one.name}` ends it."
    return ""


def _candidates(hands: Hands, order: Order, heard: Heard, here: Sequence[Record]) -> Iterable[Run]:
    """A next attempt of each run of this commit: as the message asks for it, with the defaults of today; that of a
    command in a comment is taken from its record. ``here`` is what ran, by attempt.
    """
    newest = {record.run.name.lower(): record for record in here}
    born = {record.run.name.lower(): record.run.created_at for record in reversed(here)}
    asked_for = [] if _unapproved(order, here) else list(zip(heard.asked.names, heard.asked.runs, strict=True))
    meant = (record.run for name, record in newest.items() if born[name] <= order.said.at + acts.SKEW)
    as_written = {name.lower(): spec for name, spec in asked_for}
    specs = {run.name: as_written.get(run.name.lower(), run.spec) for run in meant}
    specs |= {name: spec for name, spec in asked_for if name.lower() not in newest}
    first = 1 if order.command.verb == "approve" else 2
    for name, spec in specs.items():
        before = newest.get(name.lower())
        attempt = before.run.attempt + 1 if before else first
        key = acts.key(order, f"rerun {name.lower()}")
        as_asked = replace(spec, image=_image_asked(heard, name, here))
        yield as_run(heard, as_asked, name, hands.policy, key=key, now=hands.clock(), attempt=attempt)


def _unapproved(order: Order, here: Sequence[Record]) -> bool:
    """Whether the commit is a fork's and this is no approval: what else ran on it, such as a command of the approver's
    own, does not have what the fork asks for run."""
    refs = [record.run.ref for record in here]
    by_fork = any(ref.startswith("refs/pull/") for ref in refs)
    return not order.ref and by_fork and not any(ref.startswith(HEADS) for ref in refs)


def _image_asked(heard: Heard, name: str, here: Sequence[Record]) -> str | None:
    """The image that was asked for: by the message, else by the comment that a first attempt came from; never the
    digest that an earlier rerun held it at."""
    asked_for = zip(heard.asked.names, heard.asked.runs, strict=True)
    first = (record.run.spec.image for record in here if acts.named(record.run.name, name))
    return next((spec.image for other, spec in asked_for if acts.named(other, name)), next(first, None))


def _held(hands: Hands, run: Run, before: Record) -> Run:
    """The run on the digest that ran before; as asked where that can't be pulled again."""
    profiles = policies.profile_of(hands.policy, run.spec).image
    if not (run.spec.image or profiles):
        return run
    # The profile may name another tag today, so that a digest of then is shown without one.
    image = run.spec.image or images.parse(profiles).repository
    held = images.pinned(image, before.image_id or before.run.spec.image or "")
    return replace(run, spec=replace(run.spec, image=held)) if held != image else run


def _forgive(hands: Hands, order: Order, heard: Heard) -> None:
    """A rerun on a moved commit is what ``fyre/moved`` asked for: take its red away, once all that it asks for runs."""
    repository, here = order.said.repository, {record.run.name.lower() for record in acts.here(hands, order)}
    if not here.issuperset(name.lower() for name in heard.asked.names):
        return
    if status.MOVED_CONTEXT in hands.ledger.read(repository, order.sha):
        answered = Status(status.MOVED_CONTEXT, "success", f"run here by {order.said.actor}")
        hands.do(repository, Post(order.sha, answered))
