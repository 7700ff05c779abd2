"""``fyre up``: run a forge, the receiver and an engine in one process on this machine."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fyre.cli import engine_options
from fyre.cli.cluster_options import KubeconfigOption, KubeContextOption
from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.apps.up import FyreUp
    from fyre.engines.capabilities import Capabilities
    from fyre.engines.protocol import Engine
    from fyre.runs.policy import Policy

DEFAULT_IMAGE = "python:3.12"
"""Image of a run if neither the run nor the policy names one."""

DEFAULT_CHECKOUT_IMAGE = "alpine/git:v2.49.1"
"""Image that checks the code out, if the option names no other."""


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
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="The address of this machine to listen on. 127.0.0.1 is reached from here alone; "
            "any other demands the token under ROOT from everybody.",
        ),
    ] = "127.0.0.1",
    engine: Annotated[
        str, typer.Option("--engine", help="What runs the commands: local, kubernetes.")
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Local engine: commands that run at once; as many as there are processors.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep-checkouts", help="Local engine: leave what ran under ROOT/engine/work."
        ),
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: KubeContextOption = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="A file that limits what may run, as deploy/policy.example.yaml; profiles, images "
            "and resources are for clusters only.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            help="Cluster: the namespace for the Jobs; without it that of the policy, or default.",
            show_default=False,
        ),
    ] = "",
    image: Annotated[
        str,
        typer.Option(
            "--image",
            help="Cluster: the image of runs that name none; without it that of the policy, or "
            f"{DEFAULT_IMAGE}.",
            show_default=False,
        ),
    ] = "",
    checkout_image: Annotated[
        str,
        typer.Option(
            "--checkout-image",
            help="Cluster: an image with git and sh, which checks the code out; "
            f"{DEFAULT_CHECKOUT_IMAGE}.",
            show_default=False,
        ),
    ] = "",
    upload_image: Annotated[
        str,
        typer.Option(
            "--upload-image",
            help="Cluster: an image with Python 3.11 and sh, by which pods upload their outputs to "
            "the relay; without it they are not kept.",
            show_default=False,
        ),
    ] = "",
    relay: Annotated[
        str,
        typer.Option(
            "--relay",
            metavar="HOST:PORT",
            help="Cluster: an address of this machine from which pods fetch the code. Without it "
            "Fyre copies the code into each pod.",
        ),
    ] = "",
    artifact_store: Annotated[
        str,
        typer.Option(
            "--artifact-store",
            metavar="URL",
            help="Where outputs are kept: a folder, or a bucket such as s3://BUCKET/PREFIX, whose "
            "credentials are in the environment; ROOT/artifacts.",
            show_default=False,
        ),
    ] = "",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False,
) -> None:
    """Run a small forge and the receiver here: pushed commits run here or on a cluster."""
    from fyre.apps import up  # the heavy half of Fyre
    from fyre.apps.engine_registry import find_engine
    from fyre.engines.factory import EngineOptions

    capabilities = find_engine(engine).capabilities
    engine_options.reject_unused_options(
        engine,
        capabilities,
        {
            "--jobs": jobs,
            "--keep-checkouts": keep,
            "--kubeconfig": kubeconfig,
            "--context": context,
            "--namespace": namespace,
            "--image": image,
            "--checkout-image": checkout_image,
            "--upload-image": upload_image,
            "--relay": relay,
            "--artifact-store": artifact_store,
        },
    )
    run_policy = _load_policy(capabilities, policy, namespace, image)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    with _private_files() as umask:
        server = up.FyreUp(
            _create_root(root or default_state_root()),
            host,
            port,
            engine=engine,
            policy=run_policy,
            options=EngineOptions(
                jobs=jobs or os.cpu_count() or 2,
                keep_checkouts=keep,
                command_umask=umask,
                kubeconfig=kubeconfig,
                context=context,
                checkout_image=checkout_image or DEFAULT_CHECKOUT_IMAGE,
                upload_image=upload_image,
                relay=relay,
                artifact_store=artifact_store,
            ),
        )
        _say_who_needs_the_token(server)
        try:
            server.serve()
        finally:
            _report_unfinished_runs(server.engine)


@contextmanager
def _private_files() -> Iterator[int]:
    """Let other users read nothing that is written here; yield the umask that commands keep."""
    umask = os.umask(0o077)
    try:
        yield umask
    finally:
        os.umask(umask)


def _say_who_needs_the_token(server: FyreUp) -> None:
    """Say where the token is, if the user who runs this needs it too."""
    from fyre.local_forge import peer_user

    reason = ""
    if server.is_open_to_network:
        reason = f"{server.url} is open to a network"
    elif peer_user.working_lookup() is None:
        reason = "this system does not say whose a connection is"
    if reason:
        sys.stderr.write(
            f"fyre: {reason}: everybody needs the token in {server.access_token_file}, "
            "as git's password or as FYRE_TOKEN\n"
        )


def _load_policy(
    capabilities: Capabilities, path: Path | None, namespace: str, image: str
) -> Policy:
    """Return the policy of the file and the options, as far as the engine has a use for it."""
    from fyre.apps.engine_registry import profile_sections
    from fyre.runs import policy_file

    return capabilities.applicable_policy(
        policy_file.policy_with_options(
            path,
            profile_sections(),
            engine_options.validate_namespace(namespace) if namespace else "",
            image,
            default_image=DEFAULT_IMAGE,
        )
    )


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
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError as error:
        raise UserError(
            f"no state can be kept in {root}: {error.strerror}", hint="--root names a folder"
        ) from error


def default_state_root() -> Path:
    """Return ``$XDG_STATE_HOME/fyre``, with the default of the XDG base directory specification.

    Raises ``UserError`` if the user has no home.
    """
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fyre"
    except RuntimeError as error:  # a pod may run as a user that has no name
        raise UserError(
            "this user has no home, so no state can be kept there", hint="--root names a folder"
        ) from error
