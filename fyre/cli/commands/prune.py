"""``fyre prune``: delete the outputs that the policy's rules do not keep."""

from __future__ import annotations

import json as json_
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fyre.errors import UserError
from fyre.message import value_parsers
from fyre.runs.results import format_bytes

if TYPE_CHECKING:
    from fyre.artifacts.artifact_store import ArtifactStore
    from fyre.artifacts.pruning import PruneReport


def main(
    *,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            help="Of fyre up: the folder of its state; the same default.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Of fyre serve: its configuration file, which names store and policy.",
            show_default=False,
        ),
    ] = None,
    artifact_store: Annotated[
        str,
        typer.Option(
            "--artifact-store",
            metavar="URL",
            help="The store, where it is not under the root: a folder, s3://BUCKET/PREFIX.",
            show_default=False,
        ),
    ] = "",
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="The policy, whose keepOutputs says what is kept; without it all that runs kept.",
            show_default=False,
        ),
    ] = None,
    unused_for: Annotated[
        str,
        typer.Option(
            "--unused-for",
            metavar="DURATION",
            help="Delete contents that no run has named for so long; at least the longest upload.",
        ),
    ] = "24h",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete the outputs of runs that no rule of the policy keeps, then contents that none names.

    It may be done while the receiver works, by a timer for example. Contents that runs share stay
    as long as one of them is kept. What no run names is deleted a day later, since it may belong to
    an upload that goes on.
    """
    from fyre.artifacts.pruning import Pruner

    store = _open_store(root, config, artifact_store, policy)
    pruner = Pruner(store, store.policy.keep_outputs, _parse_duration(unused_for))
    try:
        report = pruner.preview() if dry_run else pruner.prune()
    except OSError as error:
        raise UserError(
            f"the artifact store can't be pruned now: {error.strerror or error}",
            hint="what was deleted stays deleted; fyre prune again goes on",
        ) from error
    if json:
        print(json_.dumps(_describe(report) | {"dry_run": dry_run}))
    else:
        _print_report(report, is_dry=dry_run, unused_for=unused_for)


def _open_store(
    root: Path | None, config: Path | None, place: str, policy_path: Path | None
) -> ArtifactStore:
    from fyre.apps import config as configs
    from fyre.apps.engine_registry import profile_sections
    from fyre.artifacts.artifact_store import open_store
    from fyre.cli.commands import up
    from fyre.runs import policy_file
    from fyre.runs.policy import Policy

    policy, folder = Policy(), None
    if config is not None:
        loaded = configs.load_config(config, os.environ, {})
        policy, folder = loaded.policy, Path(loaded.get("state"))
        place = place or loaded.get("artifactStore") or ""
    elif not place:
        folder = root or up.default_state_root()
    if policy_path is not None:
        policy = policy_file.load_policy(policy_path, profile_sections())
    if not place and folder is not None:
        if not folder.is_dir():
            raise UserError(f"there is no {folder}", hint="--root, --config or --artifact-store")
        place = str(folder / "artifacts")
    return open_store(place, policy)


def _parse_duration(text: str) -> float:
    try:
        return float(value_parsers.parse_duration(text)) if text not in ("0", "0s") else 0.0
    except value_parsers.BadValueError as error:
        raise UserError(f"--unused-for: {error.args[0]}", hint=error.hint, exit_code=2) from error


def _describe(report: PruneReport) -> dict[str, Any]:
    return {
        "runs": [
            {
                "repository": one.repository.name,
                "sha": one.sha,
                "name": one.run_name,
                "attempt": one.attempt,
                "sealed_at": one.sealed_at,
                "outputs": one.results.output_count,
                "bytes": one.results.output_bytes,
            }
            for one in report.dropped
        ],
        "kept_runs": report.kept_runs,
        "deleted": {"count": report.deleted_blobs, "bytes": report.deleted_bytes},
        "waiting": {"count": report.waiting_blobs, "bytes": report.waiting_bytes},
        "unreadable": report.unreadable,
    }


def _print_report(report: PruneReport, *, is_dry: bool, unused_for: str) -> None:
    for one in report.dropped:
        day = time.strftime("%Y-%m-%d", time.gmtime(one.sealed_at))
        size = format_bytes(one.results.output_bytes)
        print(f"{day}  {one.repository.name}  {one.sha[:7]}  {one.run_name}  {size}")
    would = "would delete" if is_dry else "deleted"
    deleted = _describe_blobs(report.deleted_blobs, report.deleted_bytes)
    runs = f"{len(report.dropped)} run{'s' * (len(report.dropped) != 1)}"
    kept = f"kept those of {report.kept_runs}"
    sys.stderr.write(f"fyre: {would} the outputs of {runs}, {kept}; {would} {deleted}\n")
    if report.waiting_blobs:
        waiting = _describe_blobs(report.waiting_blobs, report.waiting_bytes)
        sys.stderr.write(f"fyre: {waiting}, wait until no run has named them for {unused_for}\n")
    if report.unreadable:
        sys.stderr.write(
            f"fyre: {len(report.unreadable)} manifests can't be read, so no content is deleted: "
            f"{', '.join(report.unreadable[:3])}\n"
        )


def _describe_blobs(count: int, size: int) -> str:
    return f"{count} content{'s' * (count != 1)}, {format_bytes(size)}"
