"""``fyre doctor``: what keeps Fyre from working here, each finding with its mend."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fyre.cli.run_target import JsonOption, RemoteOption


def main(
    *,
    remote: RemoteOption = "",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at the cluster as well.")
    ] = False,
    kubeconfig: Annotated[
        str | None, typer.Option("--kubeconfig", help="Which cluster.", show_default=False)
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="Of the kubeconfig.", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="The admin's policy.", show_default=False)
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", help="Instead of the policy's, or default.")
    ] = "",
    relay: Annotated[
        bool, typer.Option("--relay", help="Pods fetch the code: no right to exec is needed.")
    ] = False,
    server: Annotated[
        bool, typer.Option("--server", help="Look at a receiver instead: FYRE_CONFIG, FYRE_….")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Of --server: its file.", envvar="FYRE_CONFIG", show_default=False
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Look at git, this repository, its forge, and with --cluster at the cluster; 1 where something is to be mended.

    With --server, look at what `fyre serve` is told: configuration, policy, credential, webhook, relay, cluster.
    """
    from fyre.cli.doctor import checks, server_checks

    found = list(
        server_checks.check_server(config, os.environ) if server else checks.check_clone(remote)
    )
    if cluster:
        found += checks.check_cluster(kubeconfig, context, policy, namespace, exec_mode=not relay)
    if json_:
        json.dump(
            [{**asdict(one), "well": one.is_ok} for one in found],
            sys.stdout,
            indent=2,
            ensure_ascii=False,
        )
        sys.stdout.write("\n")
    else:
        for one in found:
            sys.stdout.write(f"{'ok  ' if one.is_ok else 'mend'}  {one.what}\n")
            if not one.is_ok:
                sys.stdout.write(f"      → {one.fix}\n")
    raise SystemExit(0 if all(one.is_ok for one in found) else 1)
