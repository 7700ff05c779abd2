"""``fyre dispatch``: what the event of a GitHub workflow asks for, run and reported by the workflow itself."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.apps.actions_job import Dispatch, Machine, Workflow
    from fyre.apps.actions_summary import Undone
    from fyre.apps.derived_keys import Own
    from fyre.engines.kubernetes import KubernetesEngine
    from fyre.git.mirror_store import Clones
    from fyre.runs.policy import Policy
    from fyre.runs.run import Record


def main(
    *,
    engine: Annotated[
        str, typer.Option("--engine", help="local, on this machine; kubernetes, by KUBECONFIG.")
    ] = "local",
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="As deploy/policy.example.yaml.", show_default=False),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Commands that run at once here.")
    ] = os.cpu_count() or 2,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="To the end of every command, or only until each has begun."
        ),
    ] = True,
    reconcile: Annotated[
        bool,
        typer.Option(
            "--reconcile",
            help="Report what jobs with --no-wait have left: for a scheduled workflow.",
        ),
    ] = False,
    log_store: Annotated[
        str,
        typer.Option(
            "--log-store",
            help="Of a cluster: where logs are kept, a folder or a URL (s3://, gs:// …).",
        ),
    ] = "",
) -> None:
    """Run what a push asks for, post the statuses, write the job's summary and outputs; exits 1 when a run did badly.

    Everything comes from the runner's own variables (GITHUB_EVENT_PATH, GITHUB_TOKEN …); see action/action.yml.
    """
    from fyre.apps import actions_job, actions_summary
    from fyre.runs import policy as policies
    from fyre.runs import policy_file
    from fyre.runs.policy import Policy

    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    later = reconcile or not wait
    _check(
        engine,
        policy,
        log_store,
        later="--reconcile" if reconcile else "--no-wait" if later else "",
    )
    allowed = policy_file.load(policy) if policy is not None else Policy()
    if engine == "local":
        allowed = policies.without_profiles(allowed)
    flow = actions_job.Workflow.read(os.environ)
    with tempfile.TemporaryDirectory(prefix="fyre-", dir=os.environ.get("RUNNER_TEMP")) as place:
        state = Path(place)
        clones = actions_job.mirrors(flow, state)
        if engine == "local":
            machine = actions_job.local(state, clones, jobs)
        else:
            machine = _on_cluster(state, clones, allowed, log_store, of=flow if later else None)
        work = _work(flow, clones, machine, allowed, wait=wait, reconcile=reconcile)
        try:
            records = work.run(
                lambda record: _say(
                    f"{record.run.sha[:7]} {record.run.name}: {record.run.spec.command}"
                )
            )
            undone = [] if reconcile or work.trouble is not None else work.undone()
            nothing = (
                "No run has ended since." if reconcile else "No commit of this push asks for a run."
            )
            _report(work, records, undone, nothing)
        finally:
            work.close()
    if work.trouble is not None:
        raise work.trouble
    raise SystemExit(
        1 if actions_summary.outcome(records, undone) == "failure" and not reconcile else 0
    )


def _check(engine: str, policy: Path | None, log_store: str, later: str) -> None:
    """What does not go together. ``later``: the option that has another job report the ends; "" for none."""
    if engine not in ("local", "kubernetes"):
        raise UserError(
            f"there is no engine {engine!r}", hint="--engine local or --engine kubernetes", code=2
        )
    if engine == "local" and later:
        hint = "--engine kubernetes; or wait: a command on this machine ends with this job"
        raise UserError(f"{later} needs engine kubernetes", hint=hint, code=2)
    if engine == "local" and log_store:
        raise UserError(
            "--log-store is for engine kubernetes", hint="the log of this step has them", code=2
        )
    if engine == "kubernetes" and policy is None:
        raise UserError(
            "a cluster needs a policy", hint="--policy FILE, as deploy/policy.example.yaml", code=2
        )


def _work(
    flow: Workflow, clones: Clones, machine: Machine, policy: Policy, *, wait: bool, reconcile: bool
) -> Dispatch:
    from fyre.apps.actions_job import Dispatch
    from fyre.apps.actions_reconcile import Reconcile

    return (
        Reconcile(flow, clones, machine, policy)
        if reconcile
        else Dispatch(flow, clones, machine, policy, wait=wait)
    )


def _on_cluster(
    state: Path, clones: Clones, policy: Policy, log_store: str, of: Workflow | None
) -> Machine:
    """The cluster; ``of`` whose repository the jobs of all workflows find each other's runs, None where none does."""
    from fyre.apps.actions_job import Machine, code_of_all
    from fyre.apps.derived_keys import kept_in
    from fyre.apps.kubernetes_runtime import Cluster, OnCluster

    under, on = state / "kubernetes", OnCluster(policy, store=log_store)
    own, code = (kept_in(under), clones.of) if of is None else (_shared(of), code_of_all(clones))
    found = Cluster(on, under, own=own, code=code, by_id=clones.find).engine
    return Machine(found, lambda key: _is_kept(found, key))


def _shared(flow: Workflow) -> Own:
    """Names that every job of a repository makes alike, however the repository is called by then."""
    repository = flow.forge().repository(flow.repository)
    return lambda name: (
        hashlib.sha256(f"{repository.forge} {repository.id} {name}".encode()).hexdigest().encode()
    )


def _is_kept(engine: KubernetesEngine, key: str) -> bool:
    """Whether end and log are kept and the statuses posted: then the Job is given its time to live."""
    from fyre.engines.kubernetes import job_labels, pod_facts

    job = engine.known.job(key)
    return job is None or {job_labels.OUTCOME, job_labels.SETTLED} <= pod_facts.notes(job).keys()


def _report(work: Dispatch, records: list[Record], undone: Undone, nothing: str) -> None:
    """Logs and outcomes to the step's own log, the summary and the outputs to the files that the runner named."""
    from fyre.apps import actions_summary
    from fyre.runs import commit_status

    for record in work.logs():
        sys.stdout.write(f"::group::{_title(record)}: {record.state}\n")
        _raw(work, record)
        sys.stdout.write("::endgroup::\n")
    for record in records:
        _say(f"{_title(record)}: {commit_status.of(record).description}")
    for sha, name, said in undone:
        _say(f"{sha[:7]} {name}: {said}")
    told = actions_summary.summary(
        records, lambda record: commit_status.of(record).description, nothing, undone
    )
    _append("GITHUB_STEP_SUMMARY", told)
    _append("GITHUB_OUTPUT", actions_summary.outputs(records, undone))


def _title(record: Record) -> str:
    return f"{record.run.sha[:7]} {record.run.name}"


def _raw(work: Dispatch, record: Record) -> None:
    """A log, in which the runner must see no command of its own (``::set-env`` …): off until an unguessable word."""
    word = secrets.token_hex(16)
    sys.stdout.write(f"::stop-commands::{word}\n")
    sys.stdout.flush()
    pieces = [sys.stdout.buffer.write(piece) for piece in work.engine.log(record.run.key)]
    if not any(pieces):
        _say("no output, or an earlier job has shown it")
    sys.stdout.write(f"\n::{word}::\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    """A line that the runner takes for text, whatever stands in it."""
    sys.stdout.write(
        " ".join(line.split()).replace("::", ":\u200b:").replace("##[", "##\u200b[") + "\n"
    )
    sys.stdout.flush()


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
