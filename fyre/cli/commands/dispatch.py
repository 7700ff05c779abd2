"""``fyre dispatch``: run and report what the event of a GitHub workflow requests."""

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

from fyre.cli import engine_options
from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.apps.actions_job import ActionsJob, WorkflowContext
    from fyre.apps.actions_summary import NotRun
    from fyre.engines.capabilities import Capabilities
    from fyre.engines.factory import EngineContext, EngineOptions, EngineRuntime, SecretSource
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
    """Run what a push asks for, post the statuses, and write the job's summary and outputs.

    Exits with 1 when a run failed. Everything comes from the runner's own variables
    (GITHUB_EVENT_PATH, GITHUB_TOKEN …); see action/action.yml.
    """
    from fyre.apps import actions_job, actions_summary
    from fyre.apps.engine_registry import find_engine, profile_sections
    from fyre.engines.factory import EngineOptions
    from fyre.runs import policy_file
    from fyre.runs.policy import Policy

    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    no_wait = reconcile or not wait
    factory = find_engine(engine)
    _check_options(
        engine,
        factory.capabilities,
        policy,
        log_store,
        no_wait_option="--reconcile" if reconcile else "--no-wait" if no_wait else "",
    )
    run_policy = (
        policy_file.load_policy(policy, profile_sections()) if policy is not None else Policy()
    )
    run_policy = factory.capabilities.applicable_policy(run_policy)
    workflow = actions_job.WorkflowContext.from_environment(os.environ)
    with tempfile.TemporaryDirectory(prefix="fyre-", dir=os.environ.get("RUNNER_TEMP")) as folder:
        state = Path(folder)
        mirrors = actions_job.create_mirror_store(workflow, state)
        options = EngineOptions(jobs=jobs, log_store=log_store)
        runtime = factory.create(
            _engine_context(
                state, mirrors, run_policy, options, shared_context=workflow if no_wait else None
            )
        )
        job = _create_job(workflow, mirrors, runtime, run_policy, wait=wait, reconcile=reconcile)
        runtime.start()
        try:
            records = job.run(
                lambda record: _print_escaped(
                    f"{record.run.sha[:7]} {record.run.name}: {record.run.spec.command}"
                )
            )
            not_run = [] if reconcile or job.error is not None else job.find_not_run()
            empty_text = (
                "No run has ended since." if reconcile else "No commit of this push asks for a run."
            )
            _write_job_results(job, records, not_run, empty_text)
        finally:
            job.close()
            runtime.stop()
    if job.error is not None:
        raise job.error
    raise SystemExit(
        1 if actions_summary.overall_outcome(records, not_run) == "failure" and not reconcile else 0
    )


def _check_options(
    engine: str,
    capabilities: Capabilities,
    policy_path: Path | None,
    log_store: str,
    no_wait_option: str,
) -> None:
    """Raise ``UserError`` for options that the engine can't honour, or that it lacks.

    ``no_wait_option`` is the option that leaves the results to another job; "" for none.
    """
    if no_wait_option and not capabilities.remote:
        raise UserError(
            f"{no_wait_option} has no effect with engine {engine}: its runs end with this job",
            hint=f"{engine_options.options_of_engines_with('remote')}; or wait for the runs",
            exit_code=2,
        )
    engine_options.reject_unused_options(
        engine,
        capabilities,
        {"--log-store": log_store},
        advice="; or read the log of this step",
    )
    if capabilities.profiles and policy_path is None:
        raise UserError(
            f"engine {engine} needs a policy",
            hint="--policy FILE, as deploy/policy.example.yaml",
            exit_code=2,
        )


def _create_job(
    context: WorkflowContext,
    mirrors: MirrorStore,
    runtime: EngineRuntime,
    policy: Policy,
    *,
    wait: bool,
    reconcile: bool,
) -> ActionsJob:
    from fyre.apps.actions_job import ActionsJob
    from fyre.apps.actions_reconcile import ReconcileJob

    return (
        ReconcileJob(context, mirrors, runtime, policy)
        if reconcile
        else ActionsJob(context, mirrors, runtime, policy, wait=wait)
    )


def _engine_context(
    state: Path,
    mirrors: MirrorStore,
    policy: Policy,
    options: EngineOptions,
    shared_context: WorkflowContext | None,
) -> EngineContext:
    """Return what the engine is made with.

    With a ``shared_context``, the jobs of all workflows of its repository find each other's runs.
    """
    from fyre.apps.actions_job import code_finder
    from fyre.engines.factory import EngineContext

    return EngineContext(
        state,
        policy,
        find_git_dir=mirrors.mirror_dir,
        find_code=mirrors.mirror_for_run if shared_context is None else code_finder(mirrors),
        find_git_dir_by_id=mirrors.find_mirror,
        fetch_commit=mirrors.fetch_wanted,
        options=options,
        secret_source=None if shared_context is None else _repository_secrets(shared_context),
        job_secret=None if shared_context is None else _shared_job_secret(),
    )


def _shared_job_secret() -> bytes:
    """Return what the Jobs of all workflows of a repository are signed with; empty without a key.

    Nothing that these workflows share is a secret, unless somebody gives them one.
    """
    from fyre.apps.derived_keys import JOB_SECRET, secrets_from_key
    from fyre.apps.secret_file import Secret

    key = os.environ.get("FYRE_KEY", "").strip()
    if not key:
        return b""
    return secrets_from_key(Secret("the key of the workflows", "FYRE_KEY", value=key))(JOB_SECRET)


def _repository_secrets(context: WorkflowContext) -> SecretSource:
    """Return a source of secrets that is the same in all jobs of a repository, even if renamed."""
    repository = context.create_client().get_repository(context.repository)
    return lambda name: (
        hashlib.sha256(f"{repository.forge} {repository.id} {name}".encode()).hexdigest().encode()
    )


def _write_job_results(
    job: ActionsJob, records: list[RunRecord], not_run: NotRun, empty_text: str
) -> None:
    """Print logs and outcomes to the step's log, and write the summary and output files."""
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
    for sha, name, description in not_run:
        _print_escaped(f"{sha[:7]} {name}: {description}")
    summary = actions_summary.render_summary(
        records,
        lambda record: commit_status.status_from_record(record).description,
        empty_text,
        not_run,
    )
    _append_to_file("GITHUB_STEP_SUMMARY", summary)
    _append_to_file("GITHUB_OUTPUT", actions_summary.render_outputs(records, not_run))


def _run_title(record: RunRecord) -> str:
    return f"{record.run.sha[:7]} {record.run.name}"


def _print_raw_log(job: ActionsJob, record: RunRecord) -> None:
    """Print a log, in which the runner must not see workflow commands (``::set-env`` …).

    They are switched off until a word that nobody can guess.
    """
    word = secrets.token_hex(16)
    sys.stdout.write(f"::stop-commands::{word}\n")
    sys.stdout.flush()
    pieces = [sys.stdout.buffer.write(piece) for piece in job.engine.read_log(record.run.key)]
    if not any(pieces):
        _print_escaped("no output, or an earlier job has shown it")
    sys.stdout.write(f"\n::{word}::\n")
    sys.stdout.flush()


def _print_escaped(line: str) -> None:
    """Print a line that the runner takes for text, whatever is in it."""
    sys.stdout.write(
        " ".join(line.split()).replace("::", ":\u200b:").replace("##[", "##\u200b[") + "\n"
    )
    sys.stdout.flush()


def _append_to_file(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
