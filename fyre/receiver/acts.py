"""What a command does to the runs of a commit: run, cancel, status. Each says what it has done.

The comment's id is the attempt's identity, so whoever does it again finds it done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from fyre import asked, markup, status
from fyre import run as runs
from fyre.asked import Asked, settle_names
from fyre.failures import NotFoundError
from fyre.plan import Heard, Launch, as_run
from fyre.receiver import answers
from fyre.receiver.hands import Hands
from fyre.receiver.places import Order
from fyre.repofile import BadFileError
from fyre.run import Record, Run
from fyre.spec import Spec

SKEW = 60.0
"""Seconds that our clock may be ahead of the forge's: what was launched later after a comment is not meant."""


def run(hands: Hands, order: Order) -> str:
    """Launch a command that stands in no commit."""
    at = heard(hands, order)
    if isinstance(at.defaults, BadFileError):
        return f"not launched: {markup.code(str(at.defaults))}"
    spec = order.command.spec or Spec("")
    own = key(order, spec.digest)
    if hands.engine.record(own) is None:
        taken = _taken(hands, order, at)
        if spec.name.lower() in taken:
            return f"`{spec.name}` is taken on this commit: choose another name."
        name = settle_names((*taken, spec.name))[-1]
        wanted = as_run(at, spec, name, hands.policy, key=own, now=hands.clock())
        refusal = refused(hands, at, [wanted])
        if refusal:
            return refusal
        hands.do(order.said.repository, Launch(wanted))
    return launched(hands, [own])


def cancel(hands: Hands, order: Order) -> str:
    """End what has not ended on this commit: all of it, or the run of that name."""
    found = [record for record in here(hands, order) if named(record.run.name, order.command.name)]
    found = [record for record in found if record.run.created_at <= order.said.at + SKEW]
    open_ = [record for record in found if not record.state.final]
    for record in open_:
        hands.engine.cancel(record.run.key, order.said.actor)
    ended = open_ or [record for record in found if record.cancelled_by]
    if not ended:
        return nothing("cancel", order.command.name)
    return f"cancelled: {', '.join(f'`{record.run.name}`' for record in ended)}."


def show(hands: Hands, order: Order) -> str:
    """The runs of this commit, with outcome and page: as the forge has them, and what engines know better."""
    known = dict(hands.ledger.read(order.said.repository, order.sha))
    for record in sorted(here(hands, order), key=attempt):
        shown = status.of(record, hands.ledger.url(record.run.key), carried=record.run.sha != order.sha)
        known[shown.context.lower()] = shown
    name = order.command.name
    wanted = {at: one for at, one in sorted(known.items()) if named(one.context.removeprefix("fyre/"), name)}
    return answers.table(wanted) if wanted else nothing("show", name)


def launched(hands: Hands, keys: Iterable[str]) -> str:
    """What is there now; what an engine would not take says so in its status."""
    records = [record for record in map(hands.engine.record, keys) if record is not None]
    if not records:
        return "not launched: the commit's status says why."
    lines = [
        f"- [`{record.run.name}`]({hands.ledger.url(record.run.key)})"
        + (f", attempt {record.run.attempt}" if record.run.attempt > 1 else "")
        for record in records[: answers.ROWS_MAX]
    ]
    return "\n".join(["launched:", "", *lines])


def nothing(verb: str, name: str) -> str:
    """The answer where a command meets nothing."""
    return f"nothing to {verb} here{f' is named {name}' if name else ''}."


def _taken(hands: Hands, order: Order, at: Heard) -> tuple[str, ...]:
    """Names that have an outcome on this commit, or are to have one: none of them may be given another meaning."""
    posted = (context.removeprefix("fyre/") for context in hands.ledger.read(order.said.repository, order.sha))
    names = (*(record.run.name for record in here(hands, order)), *at.asked.names, *posted)
    return tuple(dict.fromkeys(name.lower() for name in names))


def refused(hands: Hands, at: Heard, wanted: Sequence[Run]) -> str:
    """What the policy has against any of these: a comment gets no further than a push."""
    offences = [(one.name, hands.forbidden(one, at)) for one in wanted]
    refusal = "; ".join(f"`{name}` is refused: {offence}" for name, offence in offences if offence)
    over = hands.over(at.repository, len(wanted)) if wanted and not refusal else ""
    return f"refused: {over}" if over else refusal


def heard(hands: Hands, order: Order) -> Heard:
    """The commit, and what its message asks for, if anything. Raises ``NotFoundError``, ``TryAgainError``."""
    repository, actor = order.said.repository, order.said.actor
    found = hands.hears(repository, order.sha, order.ref, actor, order.tip)
    if found is not None:
        return found
    commit = hands.source.commit(repository, order.sha)
    return Heard(repository, commit, order.ref, actor, Asked(), hands.defaults(repository, order.sha), tip=order.tip)


def here(hands: Hands, order: Order) -> tuple[Record, ...]:
    """The runs of this SHA: its own, and those of another commit whose outcome it shares."""
    repository, wants = order.said.repository, Asked()
    with suppress(NotFoundError):  # a fork's, of which nothing ran
        wants = asked.read(hands.source.commit(repository, order.sha).message)
    shared = [r for r in hands.index.with_id(repository.id, wants.fyre_id) if order.sha in r.carried]
    return (*shared, *hands.index.at(repository.id, order.sha))


def key(order: Order, what: str) -> str:
    """What makes it this comment's run, and nothing that the comment changes: delivered again it has the same key."""
    said = order.said
    attempt = f"{'pull ' if said.pull else ''}comment {said.comment_id}"
    return runs.key(said.repository, order.sha, what, 0, attempt)


def named(name: str, wanted: str) -> bool:
    """Whether a run is meant: by its name, or because none was named."""
    return not wanted or name.lower() == wanted.lower()


def attempt(record: Record) -> int:
    """For sorting."""
    return record.run.attempt
