"""``fyre pull``: get the files that a run kept."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from fyre.artifacts.manifest import Artifact
from fyre.cli import output_target
from fyre.cli.output_target import RunArgument
from fyre.cli.run_target import AttemptOption, RemoteOption
from fyre.client.outputs import OutputDownload
from fyre.runs.results import format_bytes


def main(
    run: RunArgument = "",
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files or folders of the run; without any, all.", show_default=False),
    ] = None,
    *,
    folder: Annotated[
        Path, typer.Option("-o", "--output-dir", help="The folder that gets them.")
    ] = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that are different.")
    ] = False,
    attempt: AttemptOption = None,
    remote: RemoteOption = "",
) -> None:
    """Get the files that a run kept, each at its own path below the folder.

    What is there already is not fetched again; a broken download goes on where it ended. Each file
    is checked by its SHA-256.
    """
    file_hint = f"for a file of what was started last: fyre pull last {shlex.quote(run)}"
    found = output_target.require_outputs(
        output_target.find_run(run, remote, attempt, file_hint=file_hint)
    )
    artifacts = found.select(paths or [])
    download = OutputDownload(found, folder, force, _Progress(artifacts).add_bytes)
    download.run(artifacts)
    count, size = len(artifacts), format_bytes(sum(one.size for one in artifacts))
    already = f", {len(download.kept)} of them were there" if download.kept else ""
    sys.stderr.write(f"fyre: {count} file{'s' * (count != 1)}, {size}{already}, in {folder}\n")
    if found.manifest.results.is_partial and artifacts:
        sys.stderr.write("fyre: the run did not succeed: these files may be incomplete\n")


class _Progress:
    """A line at the terminal that says how much has come."""

    def __init__(self, artifacts: list[Artifact]) -> None:
        self._total = sum(one.size for one in artifacts)
        self._done = self._shown = 0
        self._lock = threading.Lock()
        self._is_terminal = sys.stderr.isatty()

    def add_bytes(self, count: int) -> None:
        """Count bytes that have come; show each per cent once."""
        with self._lock:
            self._done += count
            percent = min(100, 100 * self._done // max(1, self._total))
            if self._is_terminal and percent > self._shown:
                self._shown = percent
                end = "\n" if percent == 100 else ""
                sys.stderr.write(f"\rfyre: {percent:3} % of {format_bytes(self._total)}{end}")
                sys.stderr.flush()
