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
    from fyre.apps.actions_job import ActionsJob, JobEngine, WorkflowContext
    from fyre.apps.actions_summary import NotRun
    from fyre.apps.derived_keys import SecretSource
    from fyre.engines.kubernetes import KubernetesEngine
    from fyre.git.mirror_store import MirrorStore
    from fyre.runs.policy import Policy
    from fyre.runs.run import RunRecord


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
    _check_options(
        engine,
        policy,
        log_store,
        no_wait_option="--reconcile" if reconcile else "--no-wait" if later else "",
    )
    allowed = policy_file.load_policy(policy) if policy is not None else Policy()
    if engine == "local":
        allowed = policies.without_profiles(allowed)
    flow = actions_job.WorkflowContext.from_environment(os.environ)
    with tempfile.TemporaryDirectory(prefix="fyre-", dir=os.environ.get("RUNNER_TEMP")) as place:
        state = Path(place)
        clones = actions_job.create_mirror_store(flow, state)
        if engine == "local":
            machine = actions_job.create_local_engine(state, clones, jobs)
        else:
            machine = _create_cluster_engine(
                state, clones, allowed, log_store, shared_context=flow if later else None
            )
        work = _create_job(flow, clones, machine, allowed, wait=wait, reconcile=reconcile)
        try:
            records = work.run(
                lambda record: _print_escaped(
                    f"{record.run.sha[:7]} {record.run.name}: {record.run.spec.command}"
                )
            )
            undone = [] if reconcile or work.error is not None else work.find_not_run()
            nothing = (
                "No run has ended since." if reconcile else "No commit of this push asks for a run."
            )
            _write_job_results(work, records, undone, nothing)
        finally:
            work.close()
    if work.error is not None:
        raise work.error
    raise SystemExit(
        1 if actions_summary.overall_outcome(records, undone) == "failure" and not reconcile else 0
    )


def _check_options(
    engine: str, policy_path: Path | None, log_store: str, no_wait_option: str
) -> None:
    """What does not go together. ``later``: the option that has another job report the ends; "" for none."""
    if engine not in ("local", "kubernetes"):
        raise UserError(
            f"there is no engine {engine!r}",
            hint="--engine local or --engine kubernetes",
            exit_code=2,
        )
    if engine == "local" and no_wait_option:
        hint = "--engine kubernetes; or wait: a command on this machine ends with this job"
        raise UserError(f"{no_wait_option} needs engine kubernetes", hint=hint, exit_code=2)
    if engine == "local" and log_store:
        raise UserError(
            "--log-store is for engine kubernetes",
            hint="the log of this step has them",
            exit_code=2,
        )
    if engine == "kubernetes" and policy_path is None:
        raise UserError(
            "a cluster needs a policy",
            hint="--policy FILE, as deploy/policy.example.yaml",
            exit_code=2,
        )


def _create_job(
    context: WorkflowContext,
    mirrors: MirrorStore,
    job_engine: JobEngine,
    policy: Policy,
    *,
    wait: bool,
    reconcile: bool,
) -> ActionsJob:
    from fyre.apps.actions_job import ActionsJob
    from fyre.apps.actions_reconcile import ReconcileJob

    return (
        ReconcileJob(context, mirrors, job_engine, policy)
        if reconcile
        else ActionsJob(context, mirrors, job_engine, policy, wait=wait)
    )


def _create_cluster_engine(
    state: Path,
    mirrors: MirrorStore,
    policy: Policy,
    log_store: str,
    shared_context: WorkflowContext | None,
) -> JobEngine:
    """The cluster; ``of`` whose repository the jobs of all workflows find each other's runs, None where none does."""
    from fyre.apps.actions_job import JobEngine, code_finder
    from fyre.apps.derived_keys import secrets_from_folder
    from fyre.apps.kubernetes_runtime import ClusterOptions, KubernetesCluster

    under, on = state / "kubernetes", ClusterOptions(policy, log_store=log_store)
    own, code = (
        (secrets_from_folder(under), mirrors.mirror_for_run)
        if shared_context is None
        else (_repository_secrets(shared_context), code_finder(mirrors))
    )
    found = KubernetesCluster(
        on, under, secret_source=own, find_code=code, git_dir_by_id=mirrors.find_mirror
    ).engine
    return JobEngine(found, lambda key: _is_archived(found, key))


def _repository_secrets(context: WorkflowContext) -> SecretSource:
    """Names that every job of a repository makes alike, however the repository is called by then."""
    repository = context.create_client().get_repository(context.repository)
    return lambda name: (
        hashlib.sha256(f"{repository.forge} {repository.id} {name}".encode()).hexdigest().encode()
    )


def _is_archived(engine: KubernetesEngine, run_key: str) -> bool:
    """Whether end and log are kept and the statuses posted: then the Job is given its time to live."""
    from fyre.engines.kubernetes import job_labels, pod_facts

    job = engine.object_cache.find_job(run_key)
    return (
        job is None
        or {job_labels.OUTCOME_ANNOTATION, job_labels.SETTLED_ANNOTATION}
        <= pod_facts.get_annotations(job).keys()
    )


def _write_job_results(
    job: ActionsJob, records: list[RunRecord], not_run: NotRun, empty_text: str
) -> None:
    """Logs and outcomes to the step's own log, the summary and the outputs to the files that the runner named."""
    from fyre.apps import actions_summary
    from fyre.runs import commit_status

    for record in job.records_to_print():
        sys.stdout.write(f"::group::{_run_title(record)}: {record.state}\n")
        _print_raw_log(job, record)
        sys.stdout.write("::endgroup::\n")
    for record in records:
        _print_escaped(
            f"{_run_title(record)}: {commit_status.status_from_record(record).description}"
        )
    for sha, name, said in not_run:
        _print_escaped(f"{sha[:7]} {name}: {said}")
    told = actions_summary.render_summary(
        records,
        lambda record: commit_status.status_from_record(record).description,
        empty_text,
        not_run,
    )
    _append_to_file("GITHUB_STEP_SUMMARY", told)
    _append_to_file("GITHUB_OUTPUT", actions_summary.render_outputs(records, not_run))


def _run_title(record: RunRecord) -> str:
    return f"{record.run.sha[:7]} {record.run.name}"


def _print_raw_log(job: ActionsJob, record: RunRecord) -> None:
    """A log, in which the runner must see no command of its own (``::set-env`` …): off until an unguessable word."""
    word = secrets.token_hex(16)
    sys.stdout.write(f"::stop-commands::{word}\n")
    sys.stdout.flush()
    pieces = [sys.stdout.buffer.write(piece) for piece in job.engine.read_log(record.run.key)]
    if not any(pieces):
        _print_escaped("no output, or an earlier job has shown it")
    sys.stdout.write(f"\n::{word}::\n")
    sys.stdout.flush()


def _print_escaped(line: str) -> None:
    """A line that the runner takes for text, whatever stands in it."""
    sys.stdout.write(
        " ".join(line.split()).replace("::", ":\u200b:").replace("##[", "##\u200b[") + "\n"
    )
    sys.stdout.flush()


def _append_to_file(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
