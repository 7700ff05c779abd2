"""``fyre init``: what a clone needs once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fyre.errors import UserError
from fyre.git import git_command
from fyre.workspace import remote as remotes
from fyre.workspace import worktree

REFSPEC = "^refs/heads/fyre/*"
"""Keeps a plain `git fetch` from bringing everybody's lab notebooks along (git 2.29 and newer)."""

CONFIG = """\
# What every run of this repository begins with; a commit's own trailers override it.
# image: python:3.12
# timeout: 2h
# resources: cpu=4 memory=16Gi
# env:
#   EPOCHS: "10"
# setup:
#   - pip install -r requirements.txt
"""

WORKFLOW = """\
# .github/workflows/fyre.yml of a repository that wants its commits' runs, and has no receiver.
name: Fyre
on:
  push:
    branches: ["**"]
permissions: {}
concurrency:
  group: fyre-${{ github.ref }}-${{ github.sha }} # one workflow a push: none waits for another, none is dropped
jobs:
  fyre:
    name: Run what the commits ask for
    runs-on: ubuntu-latest
    timeout-minutes: 360
    permissions:
      contents: read # the commits
      statuses: write # the outcomes
    steps:
      - uses: OWNER/fyre/action@v0.1.0 # pin it to a commit's SHA
"""
"""The same as action/example.yml."""


def main(
    *,
    hooks: Annotated[
        bool, typer.Option("--hooks", help="Write git hooks that check messages and pushes.")
    ] = False,
    config: Annotated[
        bool, typer.Option("--config", help="Write a commented .fyre.yaml if there is none.")
    ] = False,
    workflow: Annotated[
        bool,
        typer.Option(
            "--workflow", help="Write a GitHub workflow that runs the Action, if there is none."
        ),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="With --hooks: take them away again.")
    ] = False,
) -> None:
    """Set up this repository: what is fetched, the hooks, a first .fyre.yaml, a workflow. Safe to repeat."""
    if remove and not hooks:
        raise UserError("--remove goes with --hooks", hint="fyre init --hooks --remove", code=2)
    worktree.required()
    if hooks:
        _hooks(remove=remove)
    if config:
        _write(".fyre.yaml", CONFIG)
    if workflow and _write(".github/workflows/fyre.yml", WORKFLOW):
        _say(
            "  put the Action's own repository in OWNER's place, at a commit's SHA, then commit and push it"
        )
    if not remove:
        _refspec()


def _hooks(*, remove: bool) -> None:
    from fyre.hooks import stubs

    changed = stubs.remove() if remove else stubs.install()
    for path in changed:
        _say(f"{'removed' if remove else 'wrote'} {path}")
    if not changed:
        _say("no hooks of Fyre's here" if remove else "the hooks are in place")
    if not remove and git_command.ask("config", "core.hooksPath"):
        _say("note: core.hooksPath is set, so every repository that shares it has these hooks now")


def _write(name: str, text: str) -> bool:
    """Write a file of the repository; False, and nothing done, where there is one."""
    top = git_command.ask("rev-parse", "--show-toplevel")
    if not top:
        raise UserError("this repository has no work tree here", hint="go to a clone of it")
    path = Path(top) / name
    if path.exists() or path.is_symlink():
        _say(f"{name} is there already")
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{name} can't be written: {error.strerror}", hint="is something else in its place?"
        ) from error
    _say(f"wrote {name}")
    return True


def _refspec() -> None:
    """Add the negative refspec to the remote that notebooks are pushed to, else ``origin``."""
    try:
        remote = remotes.default_name()
    except UserError:
        remote = "origin"
    key = f"remote.{remote}.fetch"
    specs = (git_command.ask("config", "--get-all", key) or "").splitlines()
    if not specs:
        _say(
            f"no remote {remote!r} yet: ask again once there is one, so that lab branches are not fetched"
        )
    elif REFSPEC not in specs:
        git_command.run("config", "--add", key, REFSPEC)
        _say(f"{remote}: lab branches (fyre/*) are no longer fetched")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
