"""The floor of the local engine: the loop over commits that a person would write in shell."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRIPT = """work=$(mktemp -d) && git clone -q --shared --no-checkout "$1" "$work/w" &&
cd "$work/w" && git checkout -q "$2" && sh -c "$3"; code=$?; cd / && rm -rf "$work"; exit $code"""


def run_commands(git_dir: Path, commands: Sequence[tuple[str, str]], jobs: int) -> list[int]:
    """Clone, check out, run and remove for each SHA and command, so many at a time.

    Return the exit codes, in the order of the commands.
    """

    def run_command(sha_and_command: tuple[str, str]) -> int:
        argv = ["sh", "-c", SCRIPT, "loop", str(git_dir), *sha_and_command]
        return subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run_command, commands))
