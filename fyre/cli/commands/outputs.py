"""``fyre outputs``: list the files that a run kept."""

from __future__ import annotations

import json as json_
import sys

from fyre.cli import output_target, table
from fyre.cli.output_target import RunArgument
from fyre.cli.run_target import AttemptOption, JsonOption, RemoteOption
from fyre.runs.results import format_bytes


def main(
    run: RunArgument = "",
    *,
    attempt: AttemptOption = None,
    remote: RemoteOption = "",
    json: JsonOption = False,
) -> None:
    """List the files that a run kept: what it wrote to $FYRE_OUTPUTS, and its declared outputs."""
    file_hint = "without a name it lists the files of what was started last"
    found = output_target.require_outputs(
        output_target.find_run(run, remote, attempt, file_hint=file_hint)
    )
    artifacts = found.manifest.artifacts
    if json:
        rows = [
            {"path": _text(one.path), "size": one.size, "sha256": one.sha256} for one in artifacts
        ]
        json_.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    width = max((len(format_bytes(one.size)) for one in artifacts), default=0)
    for one in artifacts:
        shown = table.escape_unprintable(_text(one.path))
        sys.stdout.write(f"{format_bytes(one.size):>{width}}  {shown}\n")
    if not artifacts:
        sys.stderr.write("fyre: no files\n")
    results = found.manifest.results
    for problem in results.problems:
        sys.stderr.write(f"fyre: {table.escape_unprintable(problem)}\n")
    if results.is_partial and artifacts:
        sys.stderr.write("fyre: the run did not succeed: these files may be incomplete\n")


def _text(path: str) -> str:
    return path.encode(errors="replace").decode()
