"""``fyre up``: forge, receiver and engine in one process on this machine."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fyre.errors import UserError


def main(
    *,
    root: Annotated[Path | None, typer.Option("--root", help="Where all state lives.", show_default=False)] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8020,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    engine: Annotated[str, typer.Option("--engine", help="What runs the commands: local.")] = "local",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Commands that run at once.")] = os.cpu_count() or 2,
    keep: Annotated[bool, typer.Option("--keep-checkouts", help="Leave what ran under ROOT/engine/work.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False,
) -> None:
    """A small forge, the receiver and the local engine, here: push to it, and what the commits ask for runs."""
    from fyre import wiring  # the heavy half of Fyre

    if engine != "local":
        raise UserError(f"there is no engine {engine!r}", hint="--engine local", code=2)
    if host not in (wiring.LOOPBACK, "localhost"):
        sys.stderr.write(f"warning: whoever reaches {host}:{port} can run commands here as you\n")
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    wiring.Up(root or _default_root(), host, port, jobs, keep_checkouts=keep).serve()


def _default_root() -> Path:
    """``$XDG_STATE_HOME/fyre``, as the XDG base directory specification has it."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fyre"
