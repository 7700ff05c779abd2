"""What a ``/fyre`` comment does: run, rerun, cancel, for whoever may write to the repository.

The comment's id is the attempt's identity, so a redelivered comment does nothing a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fyre import asked, images, status, units
from fyre import policy as policies
from fyre import run as runs
from fyre.asked import Asked, settle_names
from fyre.plan import Heard, Launch, Post, as_run
from fyre.receiver import comments
from fyre.receiver.comments import Command
from fyre.receiver.hands import Hands
from fyre.receiver.webhook import Said
from fyre.repofile import BadFileError, Defaults
from fyre.run import Record, Run
from fyre.spec import Spec
from fyre.status import Status

log = logging.getLogger(__name__)

MAY_WRITE = ("admin", "maintain", "write")


def obey(hands: Hands, said: Said) -> None:
    """Do what a comment asks for, or answer why not. Raises ``TryAgainError``."""
    if said.actor == hands.forge.me():
        return  # our own answers are talk
    try:
        command = comments.parse(said.body)
    except units.BadValueError as error:
        _answer(hands, said, f"{error.args[0]}: {error.hint}")
        return
    if command is None:
        return
    if hands.forge.permission(said.repository, said.actor) not in MAY_WRITE:
        _answer(hands, said, f"`/fyre {command.verb}` needs write permission on {said.repository.name}.")
        return
    act = {"run": _run, "rerun": _rerun, "cancel": _cancel}[command.verb]
    refusal = act(hands, said, command)
    if refusal:
        _answer(hands, said, refusal)


def _run(hands: Hands, said: Said, command: Command) -> str:
    """Launch a command that stands in no commit."""
    heard = _heard(hands, said)
    if isinstance(heard.defaults, BadFileError):
        return f"not launched: {heard.defaults}"
    key = _key(said, Spec(command.text).digest)
    if hands.engine.record(key) is not None:
        return ""
    taken = [record.run.name for record in _here(hands, said)]
    name = settle_names((*taken, *heard.asked.names, ""))[-1]
    run = as_run(heard, Spec(command.text), name, hands.policy, key=key, now=hands.clock())
    refused = _refused(hands, heard, [run])
    if not refused:
        hands.do(said.repository, Launch(run))
    return refused


def _rerun(hands: Hands, said: Said, command: Command) -> str:
    """Launch again what ran or was asked for on this commit: all of it, or the run of that name.

    The policy judges the image as it was asked for: what an allowed tag led to may run again.
    """
    heard = _heard(hands, said)
    if heard.asked.problems:
        return f"not launched: line {heard.asked.problems[0].line}: {heard.asked.problems[0].message}"
    if isinstance(heard.defaults, BadFileError):
        return f"not launched: {heard.defaults}"
    newest = {record.run.name.lower(): record for record in sorted(_here(hands, said), key=_attempt)}
    again = [run for run in _candidates(hands, said, heard, newest) if _named(run.name, command.text)]
    if not again:
        return f"nothing to rerun here{f' is named {command.text}' if command.text else ''}."
    again = [run for run in again if hands.engine.record(run.key) is None]  # else this very comment, delivered again
    refused = _refused(hands, heard, again)
    if refused:
        return refused
    for run in again:
        before = newest.get(run.name.lower())
        if before is not None and not before.state.final:
            return f"`{run.name}` has not ended yet; `/fyre cancel {run.name}` ends it."
        hands.do(said.repository, Launch(_held(hands, run, before) if before and not command.latest else run))
    _forgive(hands, said)
    return ""


def _refused(hands: Hands, heard: Heard, wanted: Sequence[Run]) -> str:
    """What the policy has against any of these: a comment gets no further than a push."""
    offences = [(run.name, hands.forbidden(run, heard)) for run in wanted]
    refused = "; ".join(f"`{name}` is refused: {offence}" for name, offence in offences if offence)
    over = hands.over(heard.repository, len(wanted)) if wanted and not refused else ""
    return f"refused: {over}" if over else refused


def _cancel(hands: Hands, said: Said, command: Command) -> str:
    """End what has not ended on this commit: all of it, or the run of that name."""
    found = [record for record in _here(hands, said) if _named(record.run.name, command.text)]
    open_ = [record for record in found if not record.state.final]
    for record in open_:
        hands.engine.cancel(record.run.key, said.actor)
    if open_ or any(record.cancelled_by for record in found):
        return ""
    return f"nothing to cancel here{f' is named {command.text}' if command.text else ''}."


def _candidates(hands: Hands, said: Said, heard: Heard, newest: dict[str, Record]) -> Iterable[Run]:
    """A next attempt of each run of this commit; the spec of one that ran before is taken from its record."""
    asked_for = zip(heard.asked.names, heard.asked.runs, strict=True)
    specs = {record.run.name: record.run.spec for record in newest.values()}
    specs |= {name: spec for name, spec in asked_for if name.lower() not in newest}
    for name, spec in specs.items():
        before = newest.get(name.lower())
        attempt = before.run.attempt + 1 if before else 2
        key = _key(said, f"rerun {name.lower()}")
        as_asked = replace(spec, image=_image_asked(heard, name))
        yield as_run(heard, as_asked, name, hands.policy, key=key, now=hands.clock(), attempt=attempt)


def _image_asked(heard: Heard, name: str) -> str | None:
    """The image that the message names for a run, never the digest that an earlier rerun held it at."""
    asked_for = zip(heard.asked.names, heard.asked.runs, strict=True)
    return next((spec.image for other, spec in asked_for if _named(other, name)), None)


def _held(hands: Hands, run: Run, before: Record) -> Run:
    """The run on the digest that ran before; as asked where that can't be pulled again."""
    profiles = policies.profile_of(hands.policy, run.spec).image
    if not (run.spec.image or profiles):
        return run
    # The profile may name another tag today, so that a digest of then is shown without one.
    image = run.spec.image or images.parse(profiles).repository
    held = images.pinned(image, before.image_id or before.run.spec.image or "")
    return replace(run, spec=replace(run.spec, image=held)) if held != image else run


def _heard(hands: Hands, said: Said) -> Heard:
    found = hands.hears(said.repository, said.sha, "", said.actor)
    if found is not None:
        return found
    commit = hands.source.commit(said.repository, said.sha)
    defaults: Defaults | BadFileError = hands.defaults(said.repository, said.sha)
    return Heard(said.repository, commit, "", said.actor, Asked(), defaults)


def _here(hands: Hands, said: Said) -> tuple[Record, ...]:
    """The runs of this SHA: its own, and those of another commit whose outcome it shares."""
    wants = asked.read(hands.source.commit(said.repository, said.sha).message)
    shared = [r for r in hands.index.with_id(said.repository.id, wants.fyre_id) if said.sha in r.carried]
    return (*shared, *hands.index.at(said.repository.id, said.sha))


def _key(said: Said, what: str) -> str:
    """What makes it this comment's run, and nothing that the comment changes: delivered again it has the same key."""
    return runs.key(said.repository, said.sha, what, 0, f"comment {said.comment_id}")


def _named(name: str, wanted: str) -> bool:
    return not wanted or name.lower() == wanted.lower()


def _attempt(record: Record) -> int:
    return record.run.attempt


def _forgive(hands: Hands, said: Said) -> None:
    """A rerun on a moved commit is what ``fyre/moved`` asked for: take its red away."""
    if status.MOVED_CONTEXT in hands.ledger.read(said.repository, said.sha):
        answered = Status(status.MOVED_CONTEXT, "success", f"run here by {said.actor}")
        hands.do(said.repository, Post(said.sha, answered))


def _answer(hands: Hands, said: Said, text: str) -> None:
    log.info("answered %s on %s: %s", said.actor, said.sha, text)
    hands.forge.comment(said.repository, said.sha, text)
