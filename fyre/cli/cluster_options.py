"""The options of all verbs that reach a cluster: which one, and who asks."""

from __future__ import annotations

from typing import Annotated

import typer

KubeconfigOption = Annotated[
    str | None, typer.Option("--kubeconfig", help="Which cluster.", show_default=False)
]
KubeContextOption = Annotated[
    str | None, typer.Option("--context", help="Of the kubeconfig.", show_default=False)
]
