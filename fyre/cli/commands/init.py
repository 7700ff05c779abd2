"""``fyre init``: set up a clone once: fetch rules, hooks, .fyre.yaml, a workflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fyre.errors import UserError
from fyre.git import git_command
from fyre.workspace import remote as remotes
from fyre.workspace import worktree

LAB_EXCLUDE_REFSPEC = "^refs/heads/fyre/*"
"""Keeps a plain `git fetch` from fetching everybody's lab branches (git 2.29 and newer)."""

CONFIG_TEMPLATE = """\
# What every run of this repository begins with; a commit's own trailers override it.
# image: python:3.12
# timeout: 2h
# resources: cpu=4 memory=16Gi
# env:
#   EPOCHS: "10"
# setup:
#   - pip install -r requirements.txt
# outputs: [model.pt, "?plots/*.png"] # kept; a ? says that it need not be there
# metrics: {val_acc: max, loss: min} # which value of $FYRE_METRICS is best
"""

WORKFLOW_TEMPLATE = """\
# .github/workflows/fyre.yml of a repository that wants its commits' runs, and has no receiver.
name: Fyre
on:
  push:
    branches: ["**"]
permissions: {}
concurrency:
  group: fyre-${{ github.ref }}-${{ github.sha }} # one workflow a push: \
none waits for another, none is dropped
jobs:
  fyre:
    name: Run what the commits ask for
    runs-on: ubuntu-latest
    timeout-minutes: 360
    permissions:
      contents: read # the commits
      pull-requests: read # which commits came from a fork
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
    """Set up this repository: fetch rules, hooks, .fyre.yaml, a workflow. Safe to repeat."""
    if remove and not hooks:
        raise UserError(
            "--remove goes with --hooks", hint="fyre init --hooks --remove", exit_code=2
        )
    worktree.require_repository()
    if hooks:
        _update_hooks(remove=remove)
    if config:
        _write_new_file(".fyre.yaml", CONFIG_TEMPLATE)
    if workflow and _write_new_file(".github/workflows/fyre.yml", WORKFLOW_TEMPLATE):
        _print_result(
            "  put the Action's own repository in OWNER's place, at a commit's SHA, "
            "then commit and push it"
        )
    if not remove and not _exclude_lab_branches() and not (hooks or config or workflow):
        _print_result(
            "nothing to do: lab branches are kept out of `git fetch` already "
            "(--hooks, --config and --workflow write more)"
        )


def _update_hooks(*, remove: bool) -> None:
    from fyre.hooks import stubs

    changed = stubs.remove_stubs() if remove else stubs.install_stubs()
    for path in changed:
        _print_result(f"{'removed' if remove else 'wrote'} {path}")
    if not changed:
        _print_result("no hooks of Fyre's here" if remove else "the hooks are in place")
    if not remove and git_command.git_output_or_none("config", "core.hooksPath"):
        _print_result(
            "note: core.hooksPath is set, so every repository that shares it has these hooks now"
        )


def _write_new_file(name: str, text: str) -> bool:
    """Write a file of the repository; return False, and do nothing, if it exists."""
    top = git_command.git_output_or_none("rev-parse", "--show-toplevel")
    if not top:
        raise UserError("this repository has no work tree here", hint="go to a clone of it")
    path = Path(top) / name
    if path.exists() or path.is_symlink():
        _print_result(f"{name} is there already")
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{name} can't be written: {error.strerror}", hint="is something else in its place?"
        ) from error
    _print_result(f"wrote {name}")
    return True


def _exclude_lab_branches() -> bool:
    """Add the negative refspec to the remote that lab branches are pushed to, else ``origin``.

    Return False, and print nothing, if it is there already.
    """
    try:
        remote = remotes.default_remote_name()
    except UserError:
        remote = "origin"
    key = f"remote.{remote}.fetch"
    specs = (git_command.git_output_or_none("config", "--get-all", key) or "").splitlines()
    if not specs:
        _print_result(
            f"no remote {remote!r} yet: run `fyre init` again once there is one, "
            "so that lab branches are not fetched"
        )
    elif LAB_EXCLUDE_REFSPEC not in specs:
        git_command.run_git("config", "--add", key, LAB_EXCLUDE_REFSPEC)
        _print_result(f"{remote}: lab branches (fyre/*) are no longer fetched")
    else:
        return False
    return True


def _print_result(line: str) -> None:
    print(line, file=sys.stderr)
