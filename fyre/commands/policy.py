"""``fyre policy explain``: what the admin's policy makes of a message, with no forge and no cluster to ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from fyre import access, asked, plan, policyfile, repofile, units
from fyre import policy as policies
from fyre.access import Fact, Facts, Load
from fyre.errors import UserError
from fyre.plan import Heard, Observed, Post
from fyre.policy import Policy
from fyre.repofile import BadFileError, Defaults
from fyre.run import Commit, Repository, Run
from fyre.status import Status
from fyre.status_text import NOT_LAUNCHED

_SHA = "0" * 40  # of the commit that the message would be of
_LACKS = {Fact.ROLE: "--permission", Fact.TEAM: "--team", Fact.SIGNATURE: "--verified or --unverified"}
"""The option that says a fact."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What would become of one run.

    ``outcome`` is launch, refused, malformed, nothing (Fyre is silent), or depends (on what ``reason`` names).
    """

    name: str
    command: str
    outcome: str
    reason: str = ""
    namespace: str = ""
    profile: str = ""
    image: str = ""
    resources: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    timeout: int | None = None  # seconds
    retries: int = 0


def main(
    what: Annotated[str, typer.Argument(metavar="explain", help="The one thing to do with a policy.")],
    message: Annotated[str, typer.Argument(metavar="[FILE|-]", help="A commit message; - for stdin.")] = "-",
    *,
    file: Annotated[Path, typer.Option("--policy", help="The admin's file, as deploy/policy.example.yaml.")],
    repo: Annotated[str, typer.Option("--repo", metavar="OWNER/NAME", help="Where it would be pushed.")],
    ref: Annotated[str, typer.Option("--ref", help="The branch.")] = "main",
    actor: Annotated[str, typer.Option("--actor", help="Who would push, by login; '' for nobody.")],
    permission: Annotated[
        str, typer.Option("--permission", help=f"Theirs there: {', '.join(access.ROLES)}.", show_default=False)
    ] = "",
    team: Annotated[
        list[str] | None, typer.Option("--team", help="A team of theirs, as org/team; repeatable.", show_default=False)
    ] = None,
    verified: Annotated[
        bool | None,
        typer.Option(
            "--verified/--unverified", help="Whether the forge has verified the signature.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The .fyre.yaml of the commit.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a message would launch, and where, or why not; a repository without runs is taken for granted.

    Exits with 1 when anything would not be launched.
    """
    if what != "explain":
        raise UserError(f"there is no `fyre policy {what[:40]}`", hint="write `fyre policy explain …`", code=2)
    policy = policyfile.load(file)
    facts = _facts(policies.of(policy, repo), permission, team, verified)
    heard = _heard(repo, ref, actor, _read(message), _defaults(config))
    answers = explain(heard, facts, policy, time.time())
    _print(answers, as_json=as_json)
    if any(answer.outcome != "launch" for answer in answers):
        raise SystemExit(1)


def explain(heard: Heard, facts: Facts, policy: Policy, now: float) -> list[Answer]:
    """What would become of each run of a commit that is new to Fyre, by the very code that decides it."""
    heard = replace(heard, commit=replace(heard.commit, committed_at=now))
    asked_for = zip(heard.asked.names, heard.asked.runs, strict=True)
    runs = [plan.as_run(heard, spec, name, policy, key="", now=now) for name, spec in asked_for]
    silent = _silence(heard, policy)
    if silent:
        return [Answer(run.name, run.spec.command, "nothing", silent) for run in runs]
    if heard.asked.problems or isinstance(heard.defaults, BadFileError):
        return list(_malformed(heard, policy, now))
    over = access.over(policies.of(policy, heard.repository.name), len(runs), Load())
    return [_answer(run, replace(heard, over=over), facts, policy, now) for run in runs]


def _silence(heard: Heard, policy: Policy) -> str:
    """Why Fyre would not even answer."""
    if not policies.serves(policy, heard.repository.name):
        return f"{heard.repository.name} is not among the policy's repositories: Fyre is silent there"
    if plan.only_passing_by(heard, policy):
        return "on a notebook's branch only commits with a Fyre-From launch"
    return ""


def _malformed(heard: Heard, policy: Policy, now: float) -> Iterator[Answer]:
    commands = {f"fyre/{name}": spec.command for name, spec in zip(heard.asked.names, heard.asked.runs, strict=True)}
    said = [one.status for one in plan.plan(heard, Observed(posted={}), policy, now) if isinstance(one, Post)]
    for status in said:
        yield Answer(status.context.removeprefix("fyre/"), commands.get(status.context, ""), *_words(status))


def _words(status: Status) -> tuple[str, str]:
    return "malformed", status.description.removeprefix(NOT_LAUNCHED)


def _answer(run: Run, heard: Heard, facts: Facts, policy: Policy, now: float) -> Answer:
    profile = policies.profile_of(policy, run.spec)
    reason = plan.refusal(run, heard, facts, policy, now)
    outcome = "refused" if reason else "launch"
    if isinstance(reason, Fact):
        outcome, reason = "depends", f"what is said with {_LACKS[reason]}"
    return Answer(
        run.name,
        run.spec.command,
        outcome,
        reason,
        namespace=policies.namespace_of(policy, run.repository.name, profile),
        profile=profile.name,
        image=run.spec.image or profile.image,
        resources={**dict(profile.resources), **dict(run.spec.resources)},
        secrets=tuple(dict.fromkeys((*profile.secrets, *run.spec.secrets))),
        timeout=run.spec.timeout,
        retries=run.spec.retries or 0,
    )


def _facts(here: Policy, permission: str, teams: list[str] | None, verified: bool | None) -> Facts:  # noqa: FBT001 - an option
    """What the options say of who pushes and of the commit; what they leave out is not known."""
    if permission not in ("", *access.ROLES):
        raise UserError(f"{permission[:40]!r} is no permission", hint=f"one of {', '.join(access.ROLES)}", code=2)
    wanted = [one.lower() for one in here.teams]
    return Facts(
        role=permission or None,
        team=None if teams is None else any(one.lower() in wanted for one in teams),
        signature=None if verified is None else access.VALID if verified else "unverified",
    )


def _heard(repo: str, ref: str, actor: str, text: str, defaults: Defaults | BadFileError) -> Heard:
    """The message as the newest commit of a push."""
    branch = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
    commit = Commit(_SHA, _SHA, (), text, 0.0)
    return Heard(Repository("", 0, repo), commit, branch, actor, asked.read(text), defaults, tip=_SHA)


def _read(message: str) -> str:
    if message == "-":
        return sys.stdin.buffer.read().decode(errors="surrogateescape")
    try:
        return Path(message).read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise UserError(f"the message can't be read: {message}: {error.strerror}", hint="give a FILE, or -") from error


def _defaults(config: Path | None) -> Defaults | BadFileError:
    if config is None:
        return Defaults()
    try:
        return repofile.read(config.read_bytes().decode(errors="replace"))
    except OSError as error:
        raise UserError(f"{config} can't be read: {error.strerror}", hint="--config .fyre.yaml") from error
    except BadFileError as error:
        return error


def _print(answers: list[Answer], *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps([asdict(answer) for answer in answers], indent=2))
        return
    for answer in answers:
        print(f"{answer.name}: {' '.join(answer.command.split())}".encode(errors="replace").decode())
        print(f"  {answer.outcome}{' · ' if answer.reason else ''}{answer.reason}")
        if answer.outcome in ("launch", "depends"):
            print(f"  {_place(answer)}")
    if not answers:
        print("the message asks for no run", file=sys.stderr)


def _place(answer: Answer) -> str:
    """Where it would run and what it would have, on a line."""
    parts = [
        f"namespace {answer.namespace}",
        f"profile {answer.profile}",
        f"image {answer.image}" if answer.image else "",
        " ".join(f"{key}={quantity}" for key, quantity in answer.resources.items()),
        f"secrets {', '.join(answer.secrets)}" if answer.secrets else "",
        f"timeout {units.written(answer.timeout)}" if answer.timeout else "",
        f"retries {answer.retries}" if answer.retries else "",
    ]
    return " · ".join(part for part in parts if part)
