"""``fyre dispatch``: what the event of a GitHub workflow asks for, run and reported by the workflow itself."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.dispatching import Dispatch
    from fyre.engines import Engine
    from fyre.policy import Policy
    from fyre.receiver.clones import Clones
    from fyre.run import Record


def main(
    *,
    engine: Annotated[
        str, typer.Option("--engine", help="local, on this machine; kubernetes, by KUBECONFIG.")
    ] = "local",
    policy: Annotated[
        Path | None, typer.Option("--policy", help="As deploy/policy.example.yaml.", show_default=False)
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Commands that run at once here.")] = os.cpu_count() or 2,
) -> None:
    """Run what a push asks for, post the statuses, write the job's summary and outputs; exits 1 when a run did badly.

    Everything comes from the runner's own variables (GITHUB_EVENT_PATH, GITHUB_TOKEN …); see action/action.yml.
    """
    from fyre import dispatching, policyfile
    from fyre.policy import Policy

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if engine not in ("local", "kubernetes"):
        raise UserError(f"there is no engine {engine!r}", hint="--engine local or --engine kubernetes", code=2)
    if engine == "kubernetes" and policy is None:
        raise UserError("a cluster needs a policy", hint="--policy FILE, as deploy/policy.example.yaml", code=2)
    allowed = policyfile.load(policy) if policy is not None else Policy()
    flow = dispatching.Workflow.read(os.environ)
    with tempfile.TemporaryDirectory(prefix="fyre-", dir=os.environ.get("RUNNER_TEMP")) as place:
        state = Path(place)
        make = dispatching.local(state, jobs) if engine == "local" else _on_cluster(state, allowed)
        work = dispatching.Dispatch(flow, state, make, allowed)
        try:
            records = work.run(
                lambda record: _say(f"{record.run.sha[:7]} {record.run.name}: {record.run.spec.command}")
            )
            _report(work, records)
        finally:
            work.close()
    raise SystemExit(0 if all(record.state == "succeeded" for record in records) else 1)


def _on_cluster(state: Path, policy: Policy) -> Callable[[Clones], Engine]:
    from fyre.clusters import Cluster, OnCluster
    from fyre.ownsecrets import kept_in

    under = state / "kubernetes"
    own = kept_in(under)
    return lambda clones: Cluster(OnCluster(policy), under, own=own, code=clones.of, by_id=clones.find).engine


def _report(work: Dispatch, records: list[Record]) -> None:
    """Logs and outcomes to the step's own log, the summary and the outputs to the files that the runner named."""
    from fyre import dispatching, status

    for record in records:
        description = status.of(record).description
        sys.stdout.write(f"::group::{_title(record)}: {record.state}\n")
        _raw(work, record)
        sys.stdout.write("::endgroup::\n")
        _say(f"{_title(record)}: {description}")
    _append("GITHUB_STEP_SUMMARY", dispatching.summary(records, lambda record: status.of(record).description))
    _append("GITHUB_OUTPUT", dispatching.outputs(records))


def _title(record: Record) -> str:
    return f"{record.run.sha[:7]} {record.run.name}"


def _raw(work: Dispatch, record: Record) -> None:
    """A log, in which the runner must see no command of its own (``::set-env`` …): off until an unguessable word."""
    word = secrets.token_hex(16)
    sys.stdout.write(f"::stop-commands::{word}\n")
    sys.stdout.flush()
    for piece in work.engine.log(record.run.key):
        sys.stdout.buffer.write(piece)
    sys.stdout.write(f"\n::{word}::\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    """A line that the runner takes for text, whatever stands in it."""
    sys.stdout.write(" ".join(line.split()).replace("::", ":\u200b:").replace("##[", "##\u200b[") + "\n")
    sys.stdout.flush()


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
