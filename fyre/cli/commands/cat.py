"""``fyre cat``: print a file that a run kept."""

from __future__ import annotations

import hashlib
from typing import Annotated

import typer

from fyre import http_session
from fyre.cli import follow, output_target
from fyre.cli.output_target import RunArgument
from fyre.cli.run_target import AttemptOption, RemoteOption
from fyre.client.outputs import request_blob
from fyre.errors import TransientError, UserError

_CHUNK_SIZE = 256 * 1024  # bytes


def main(
    run: RunArgument,
    path: Annotated[
        str,
        typer.Argument(
            help="A file of the run: `fyre outputs` lists them. A path alone is one of what was "
            "started last.",
            show_default=False,
        ),
    ] = "",
    *,
    attempt: AttemptOption = None,
    remote: RemoteOption = "",
) -> None:
    """Print a file that a run kept, byte for byte."""
    import requests

    if not path:
        if output_target.names_run(run):
            raise UserError(
                "missing argument 'path'", hint=f"fyre outputs {run} lists the files", exit_code=2
            )
        run, path = "", run
    found = output_target.require_outputs(output_target.find_run(run, remote, attempt))
    artifact = found.manifest.find_artifact(path.removeprefix("./"))
    if artifact is None:
        raise UserError(f"this run has no output {path}", hint="`fyre outputs` lists them")
    output, digest = follow.stdout_sink(), hashlib.sha256()
    try:
        with http_session.open_session() as session:
            response = request_blob(session, found.page_url, artifact)
            for chunk in response.iter_content(_CHUNK_SIZE):
                digest.update(chunk)
                output.write(chunk)
            output.flush()
    except requests.RequestException as error:
        raise TransientError(http_session.describe_failure(error)) from error
    if digest.hexdigest() != artifact.sha256:
        raise UserError(f"{path}: the content in the store is damaged: its SHA-256 is another one")
