"""``fyre doctor``: find what keeps Fyre from working, and print how to fix it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fyre.cli import engine_options
from fyre.cli.cluster_options import KubeconfigOption, KubeContextOption
from fyre.cli.run_target import JsonOption, RemoteOption


def main(
    *,
    remote: RemoteOption = "",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at the cluster as well.")
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: KubeContextOption = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="The admin's policy.", show_default=False)
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            help="The namespace of the Jobs; without it that of the policy, or default.",
        ),
    ] = "",
    relay: Annotated[
        bool,
        typer.Option(
            "--relay",
            help="Pods fetch the code, so no right to exec is needed. It takes no address.",
        ),
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
    """Look at git, this repository, its forge, and with --cluster at the cluster.

    With --server, look at what `fyre serve` uses: configuration, policy, credential, webhook,
    relay, cluster. Exits with 1 when there is something to fix.
    """
    from fyre.cli.doctor import checks, server_checks

    engine_options.reject_lonely_options(
        "--cluster",
        is_given=cluster,
        given={
            "--kubeconfig": kubeconfig,
            "--context": context,
            "--policy": policy,
            "--namespace": namespace,
            "--relay": relay,
        },
    )
    if namespace:
        engine_options.validate_namespace(namespace)
    findings = list(
        server_checks.check_server(config, os.environ) if server else checks.check_clone(remote)
    )
    if cluster:
        findings += checks.check_cluster(
            kubeconfig, context, policy, namespace, exec_mode=not relay
        )
    if json_:
        json.dump(
            [{**asdict(finding), "well": finding.is_ok} for finding in findings],
            sys.stdout,
            indent=2,
            ensure_ascii=False,
        )
        sys.stdout.write("\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{'ok  ' if finding.is_ok else 'fix '}  {finding.what}\n")
            if not finding.is_ok:
                sys.stdout.write(f"      → {finding.fix}\n")
    raise SystemExit(0 if all(finding.is_ok for finding in findings) else 1)
