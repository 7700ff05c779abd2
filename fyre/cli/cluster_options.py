"""The options of all verbs that reach a cluster: which one, and who asks."""

from __future__ import annotations

from typing import Annotated

import typer

KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig", help="File that names the cluster, as kubectl's.", show_default=False
    ),
]
KubeContextOption = Annotated[
    str | None,
    typer.Option("--context", help="Which context of the kubeconfig to use.", show_default=False),
]
