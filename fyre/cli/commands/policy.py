"""``fyre policy explain``: explain what a policy makes of a message, without forge and cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from fyre.apps.engine_registry import profile_sections
from fyre.engines.kubernetes import kubernetes_profile
from fyre.errors import UserError
from fyre.message import request as message_request
from fyre.message import value_parsers
from fyre.runs import access, plan, policy_file, repo_config
from fyre.runs import policy as policies
from fyre.runs.access import Allowed, AuthFact, AuthFacts, CommitOrigin, Denied, FactNeeded, Usage
from fyre.runs.commit_status import CommitStatus
from fyre.runs.plan import CommitEvent, Decision, ObservedState, PostStatus
from fyre.runs.policy import Policy
from fyre.runs.repo_config import RepoConfigError, RunDefaults
from fyre.runs.run import Commit, Repository, Run
from fyre.runs.status_text import NOT_LAUNCHED
from fyre.runs.trigger import Trigger, TriggerKind

_PLACEHOLDER_SHA = "0" * 40  # of the commit that the message would be of
_OPTIONS = {
    AuthFact.ROLE: "--permission",
    AuthFact.TEAM: "--team",
    AuthFact.SIGNATURE: "--verified or --unverified",
}
"""The option for each fact.

There is none for the branches that contain the commit: it is always the tip of its branch. Who
wrote the message is always known: ``--writer``, else who pushes.
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The fate of one run, as it is printed in JSON.

    ``outcome`` is launch, refused, malformed, nothing (Fyre is silent), or depends (on what
    ``reason`` names).
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
    action: Annotated[
        str, typer.Argument(metavar="explain", help="The one thing to do with a policy.")
    ],
    message: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="A commit message; - for stdin.")
    ] = "-",
    *,
    file: Annotated[
        Path, typer.Option("--policy", help="The admin's file, as deploy/policy.example.yaml.")
    ],
    repo: Annotated[
        str, typer.Option("--repo", metavar="OWNER/NAME", help="Where it would be pushed.")
    ],
    ref: Annotated[str, typer.Option("--ref", help="The branch.")] = "main",
    actor: Annotated[str, typer.Option("--actor", help="Who would push, by login; '' for nobody.")],
    permission: Annotated[
        str,
        typer.Option(
            "--permission", help=f"Theirs there: {', '.join(access.ROLES)}.", show_default=False
        ),
    ] = "",
    team: Annotated[
        list[str] | None,
        typer.Option(
            "--team", help="A team of theirs, as org/team; repeatable.", show_default=False
        ),
    ] = None,
    verified: Annotated[
        bool | None,
        typer.Option(
            "--verified/--unverified",
            help="Whether the forge has verified the signature.",
            show_default=False,
        ),
    ] = None,
    writer: Annotated[
        str,
        typer.Option(
            "--writer",
            metavar="LOGIN",
            help="Who wrote the message, if it came by a fork's pull request.",
            show_default=False,
        ),
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The .fyre.yaml of the commit.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a message would launch, and where, or why not, in a repository without other runs.

    Exits with 1 when anything would not be launched.
    """
    if action != "explain":
        raise UserError(
            f"there is no `fyre policy {action[:40]}`",
            hint="write `fyre policy explain …`",
            exit_code=2,
        )
    policy = policy_file.load_policy(file, profile_sections())
    own_policy = policies.for_repository(policy, repo)
    facts = _facts_from_options(own_policy, permission, team, verified)
    facts = replace(facts, origin=CommitOrigin(writer))
    event = _commit_event(repo, ref, actor, _read_message(message), _read_defaults(config))
    explanations = explain_commit(event, facts, policy, time.time())
    _print_explanations(explanations, as_json=as_json)
    if any(explanation.outcome != "launch" for explanation in explanations):
        raise SystemExit(1)


def explain_commit(
    event: CommitEvent, facts: AuthFacts, policy: Policy, now: float
) -> list[Explanation]:
    """Explain what would become of each run of a new commit, by the same code that decides it."""
    event, request = replace(event, commit=replace(event.commit, committed_at=now)), event.request
    requested = zip(request.run_names, request.runs, strict=True)
    runs = [plan.build_run(event, spec, name, policy, key="", now=now) for name, spec in requested]
    silent = _silence_reason(event, policy)
    if silent:
        return [Explanation(run.name, run.spec.command, "nothing", silent) for run in runs]
    if request.problems or isinstance(event.defaults, RepoConfigError):
        return list(_explain_malformed(event, policy, now))
    own_policy = policies.for_repository(policy, event.repository.name)
    event = replace(event, quota=access.check_quota(own_policy, len(runs), Usage()))
    return [_explain_run(run, event, facts, policy, now) for run in runs]


def _silence_reason(event: CommitEvent, policy: Policy) -> str:
    """Return the reason why Fyre would not even answer; "" if it would."""
    name = event.repository.name
    if not policies.serves_repository(policy, name):
        return f"{name} is not among the policy's repositories: Fyre is silent there"
    if plan.is_lab_ancestor(event, policy):
        return "on a lab branch only commits with a Fyre-From launch"
    return ""


def _explain_malformed(event: CommitEvent, policy: Policy, now: float) -> Iterator[Explanation]:
    requested = zip(event.request.run_names, event.request.runs, strict=True)
    commands = {f"fyre/{name}": spec.command for name, spec in requested}
    for status in _planned_statuses(event, policy, now):
        context, reason = status.context, status.description.removeprefix(NOT_LAUNCHED)
        command = commands.get(context, "")
        yield Explanation(context.removeprefix("fyre/"), command, "malformed", reason)


def _planned_statuses(event: CommitEvent, policy: Policy, now: float) -> list[CommitStatus]:
    match plan.plan(event, ObservedState(own_statuses={}), policy, now):
        case Decision(actions):
            return [action.status for action in actions if isinstance(action, PostStatus)]
        case _:
            return []


def _explain_run(
    run: Run,
    event: CommitEvent,
    facts: AuthFacts,
    policy: Policy,
    now: float,
) -> Explanation:
    profile = policies.select_profile(policy, run.spec)
    match plan.authorize_push(run, event, facts, policy, now):
        case Allowed():
            outcome, reason = "launch", ""
        case Denied() as denied:
            outcome, reason = "refused", denied.text
        case FactNeeded(fact):
            outcome, reason = "depends", f"what is said with {_OPTIONS[fact]}"
    return Explanation(
        run.name,
        run.spec.command,
        outcome,
        reason,
        namespace=kubernetes_profile.select_namespace(policy, run.repository.name, profile),
        profile=profile.name,
        image=run.spec.image or profile.image,
        resources={**dict(profile.resources), **dict(run.spec.resources)},
        secrets=tuple(dict.fromkeys((*profile.secrets, *run.spec.secrets))),
        timeout=run.spec.timeout,
        retries=run.spec.retries or 0,
    )


def _facts_from_options(
    policy: Policy,
    permission: str,
    teams: list[str] | None,
    verified: bool | None,  # noqa: FBT001 - an option
) -> AuthFacts:
    """Return what the options say of who pushes and of the commit.

    What they leave out is not known.
    """
    if permission not in ("", *access.ROLES):
        hint = f"one of {', '.join(access.ROLES)}"
        raise UserError(f"{permission[:40]!r} is no permission", hint=hint, exit_code=2)
    policy_teams = [team.lower() for team in policy.teams]
    return AuthFacts(
        role=permission or None,
        team=None if teams is None else any(team.lower() in policy_teams for team in teams),
        signature=None if verified is None else access.VALID if verified else "unverified",
    )


def _commit_event(
    repo: str,
    ref: str,
    actor: str,
    text: str,
    defaults: RunDefaults | RepoConfigError,
) -> CommitEvent:
    """Return the message as the newest commit of a push."""
    branch = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
    trigger = Trigger(TriggerKind.PUSH, actor, branch, _PLACEHOLDER_SHA)
    commit = Commit(_PLACEHOLDER_SHA, _PLACEHOLDER_SHA, (), text, 0.0)
    return CommitEvent(
        Repository("", 0, repo), commit, trigger, message_request.parse_message(text), defaults
    )


def _read_message(message: str) -> str:
    if message == "-":
        return sys.stdin.buffer.read().decode(errors="surrogateescape")
    try:
        return Path(message).read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise UserError(
            f"the message can't be read: {message}: {error.strerror}", hint="give a FILE, or -"
        ) from error


def _read_defaults(config_path: Path | None) -> RunDefaults | RepoConfigError:
    if config_path is None:
        return RunDefaults()
    try:
        return repo_config.parse_repo_config(config_path.read_bytes().decode(errors="replace"))
    except OSError as error:
        raise UserError(
            f"{config_path} can't be read: {error.strerror}", hint="--config .fyre.yaml"
        ) from error
    except RepoConfigError as error:
        return error


def _print_explanations(explanations: list[Explanation], *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps([asdict(explanation) for explanation in explanations], indent=2))
        return
    for explanation in explanations:
        print(
            f"{explanation.name}: {' '.join(explanation.command.split())}".encode(
                errors="replace"
            ).decode()
        )
        print(f"  {explanation.outcome}{' · ' if explanation.reason else ''}{explanation.reason}")
        if explanation.outcome in ("launch", "depends"):
            print(f"  {_format_placement(explanation)}")
    if not explanations:
        print("the message asks for no run", file=sys.stderr)


def _format_placement(explanation: Explanation) -> str:
    """Return one line: the namespace, profile, image and limits that the run would have."""
    parts = [
        f"namespace {explanation.namespace}",
        f"profile {explanation.profile}",
        f"image {explanation.image}" if explanation.image else "",
        " ".join(f"{key}={quantity}" for key, quantity in explanation.resources.items()),
        f"secrets {', '.join(explanation.secrets)}" if explanation.secrets else "",
        f"timeout {value_parsers.format_exact_duration(explanation.timeout)}"
        if explanation.timeout
        else "",
        f"retries {explanation.retries}" if explanation.retries else "",
    ]
    return " · ".join(part for part in parts if part)
