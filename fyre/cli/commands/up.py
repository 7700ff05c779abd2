"""``fyre up``: run a forge, the receiver and an engine in one process on this machine."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fyre.cli.cluster_options import KubeconfigOption, KubeContextOption
from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.engines.protocol import Engine

DEFAULT_IMAGE = "python:3.12"
"""Image of a run if neither the run nor the policy names one."""


def main(
    *,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            help="Folder of all state; ~/.local/state/fyre. A log keeps 64 MiB: head and tail.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")
    ] = 8020,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    engine: Annotated[
        str, typer.Option("--engine", help="What runs the commands: local, kubernetes.")
    ] = "local",
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Commands that run at once.")
    ] = os.cpu_count() or 2,
    keep: Annotated[
        bool, typer.Option("--keep-checkouts", help="Leave what ran under ROOT/engine/work.")
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: KubeContextOption = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="Profiles and bounds, as deploy/policy.example.yaml.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            help="Where Jobs go, else the policy's, else default.",
            show_default=False,
        ),
    ] = "",
    image: Annotated[
        str,
        typer.Option(
            "--image",
            help=f"Where a run names none, else the policy's, else {DEFAULT_IMAGE}.",
            show_default=False,
        ),
    ] = "",
    checkout_image: Annotated[
        str, typer.Option("--checkout-image", help="Has git and sh.")
    ] = "alpine/git:v2.49.1",
    relay: Annotated[
        str,
        typer.Option(
            "--relay",
            metavar="HOST:PORT",
            help="Where pods reach us for the code; without it the code is streamed into them.",
        ),
    ] = "",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False,
) -> None:
    """Run a small forge and the receiver here: pushed commits run here or on a cluster."""
    from fyre.apps import up  # the heavy half of Fyre
    from fyre.apps.engine_registry import find_engine, profile_sections
    from fyre.engines.factory import EngineOptions

    capabilities = find_engine(engine).capabilities
    if host not in (up.LOOPBACK_ADDRESS, "localhost"):
        sys.stderr.write(
            f"warning: anybody who reaches {host}:{port} can run commands here as you\n"
        )
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    run_policy = None
    if capabilities.profiles:
        from fyre.runs import policy_file

        run_policy = capabilities.applicable_policy(
            policy_file.policy_with_options(
                policy, profile_sections(), namespace, image, default_image=DEFAULT_IMAGE
            )
        )
    server = up.FyreUp(
        _create_root(root or _default_state_root()),
        host,
        port,
        engine=engine,
        policy=run_policy,
        options=EngineOptions(
            jobs=jobs,
            keep_checkouts=keep,
            kubeconfig=kubeconfig,
            context=context,
            checkout_image=checkout_image,
            relay=relay,
        ),
    )
    try:
        server.serve()
    finally:
        _report_unfinished_runs(server.engine)


def _report_unfinished_runs(engine: Engine) -> None:
    """Say that the runs that have not ended go on without this process."""
    from fyre.runs.run_query import RunQuery
    from fyre.runs.state import PENDING_STATES

    count = len(engine.query_runs(RunQuery(states=PENDING_STATES)))
    if count:
        sys.stderr.write(
            f"fyre: {count} run{'s' * (count > 1)} not ended: what was started goes on, "
            "and the next fyre up on this root finds it\n"
        )


def _create_root(root: Path) -> Path:
    """Create the folder of all state; raise ``UserError`` if it can't be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError as error:
        raise UserError(
            f"no state can be kept in {root}: {error.strerror}", hint="--root names a folder"
        ) from error


def _default_state_root() -> Path:
    """Return ``$XDG_STATE_HOME/fyre``, with the default of the XDG base directory specification.

    Raises ``UserError`` if the user has no home.
    """
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fyre"
    except RuntimeError as error:  # a pod may run as a user that has no name
        raise UserError(
            "this user has no home, so no state can be kept there", hint="--root names a folder"
        ) from error
