"""Compatibility with the original Fyre: its command line without verbs, and its Python objects.

Two things are better than they were: nothing runs for a commit that can't be found, and a person's
work tree is never switched to another commit. Code at a commit runs in a clean checkout of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fyre.apps import local_run
from fyre.errors import TransientError, UserError
from fyre.git import git_command
from fyre.message import compose, credential_scan, request
from fyre.message.spec import RunSpec
from fyre.workspace import config_file, publish_check, remote, snapshot

if TYPE_CHECKING:
    from fyre.client.run_client import RunClient


@dataclass(frozen=True, slots=True)
class Batch:
    """A requested run: its commit and its name."""

    sha: str
    name: str
    remote: str
    workspace_root: Path

    def status(self) -> dict[str, Any] | None:
        """Return ``state``, ``exit_code``, ``log_url`` … of the run; None if it has no status."""
        text = git_command.git_output(
            "show", "-s", "--no-show-signature", "--encoding=UTF-8", "--format=%B", self.sha,
            cwd=self.workspace_root,
        )  # fmt: skip
        runs = self._create_client().list_runs([(self.sha, text)])
        return next((run.to_json() for run in runs if run.name.lower() == self.name.lower()), None)

    def wait(self, *, quiet: bool = False) -> int:
        """Wait for the run's end, copy its output to stdout, and return the exit code.

        With ``quiet``, the output is not copied.
        """
        from fyre.cli import follow

        if quiet:
            return follow.wait_for_end(self._create_client(), self.sha, self.name)
        return follow.print_run(self._create_client(), self.sha, self.name)

    def _create_client(self) -> RunClient:
        from fyre.client.run_client import RunClient

        return RunClient.from_remote(remote.resolve_remote(self.workspace_root, self.remote))


class Job:
    """A command to run in batch; ``command`` may be changed before it does."""

    def __init__(
        self, command: str, workspace_root: Path, *, autocommit: bool, image: str | None = None
    ) -> None:
        self.command = command
        self.workspace_root = workspace_root
        self.autocommit = autocommit
        self.image = image

    def batch_run(self) -> Batch:
        """Commit with a ``Fyre-Run`` trailer and push the branch, which starts the run.

        Raises ``UserError``; if only the push fails, the commit is kept.
        """
        from fyre.cli.commands import commit

        _reject_uncommitted(self.workspace_root, autocommit=self.autocommit)
        # a line that ends in a backslash goes on in the next one, as in the shell
        command = re.sub(r"\s*\\\n\s*", " ", self.command.strip())
        words = ["--run", command, *(["--image", self.image] if self.image else []), "--push"]
        with contextlib.chdir(self.workspace_root):
            commit.main([*words, *(["--autocommit"] if self.autocommit else [])])
            return _batch_of_head(self.workspace_root)


class Fyre:
    """A command to run in batch, on the code in ``workspace_root``.

    Its default is the current repository.

    With ``autocommit``, all changes are committed; without it, changed files are an error.
    """

    def __init__(
        self, command: str, workspace_root: str | Path | None = None, *, autocommit: bool = False
    ) -> None:
        self.command = command
        self.workspace_root = snapshot.locate_repo(workspace_root).top
        self.autocommit = autocommit
        remote.bypass_proxy_for_loopback()  # a notebook does not go through `fyre.cli.main`

    def run(self) -> Batch:
        """Do the same as ``batch_run``."""
        return self.batch_run()

    def batch_run(self) -> Batch:
        """Commit and push, so that the command runs in batch."""
        return self._make_job_object().batch_run()

    def _commit(self) -> str:
        """Commit the code without requesting a run, and return the SHA of HEAD."""
        _reject_uncommitted(self.workspace_root, autocommit=self.autocommit)
        if (
            snapshot.read_status(snapshot.locate_repo(self.workspace_root)).changed
            and self.autocommit
        ):
            git_command.run_git("add", "--all", "--", ":/", cwd=self.workspace_root)
            git_command.run_git(
                "commit", "-m", compose.compose_subject([self.command]), cwd=self.workspace_root
            )
        return git_command.git_output("rev-parse", "HEAD", cwd=self.workspace_root)

    def _fetch_latest_runtime_id(self) -> str | None:
        """Return the image that ``.fyre.yaml`` names for this run, at its current digest.

        If the registry does not give the digest, the image is returned as it is named, and the
        reason is printed to stderr. None: no image is named, so the receiver chooses one.
        """
        from fyre.runs import repo_config

        text = config_file.read_worktree_config(self.workspace_root)
        if text is None:
            return None
        image = repo_config.apply_repo_defaults(
            RunSpec(self.command), "run", repo_config.parse_repo_config(text)
        ).image
        return _pin_to_digest(image) if image else None

    def _make_job_object(self) -> Job:
        """Return the job, which is not requested yet."""
        return Job(self.command, self.workspace_root, autocommit=self.autocommit)


class FyreLocal:
    """A command to run on this machine.

    Without a ``commit``, it runs in ``workspace_root`` itself, on the code as it is. With one, it
    runs in a clean checkout of that commit, and the work tree at ``workspace_root`` stays as it is.
    """

    def __init__(
        self, command: str, commit: str | None = None, workspace_root: str | Path | None = None
    ) -> None:
        self.command = command
        self.commit = commit
        self.workspace_root = Path(workspace_root) if workspace_root else snapshot.locate_repo().top

    def run(self) -> int:
        """Run the command, its output on stdout; return its exit code, 128 + n for a signal."""
        if not self.command.strip():
            raise UserError("the command is empty", hint='write one: echo "hello world"')
        if self.commit is None:
            return self._run_in_workspace()
        repo_paths = snapshot.locate_repo(self.workspace_root)
        sha = local_run.resolve_commit(repo_paths, self.commit)
        return local_run.run_on_commit(
            repo_paths, sha, RunSpec(self.command, workdir=repo_paths.prefix.rstrip("/") or None)
        )

    def _run_in_workspace(self) -> int:
        if not self.workspace_root.is_dir():
            raise UserError(
                f"no such directory: {self.workspace_root}",
                hint="--workspace_root names the code's directory",
            )
        return local_run.run_in_place(self.command, self.workspace_root)

    def _checkout(self) -> Path:
        """Return a new clean checkout of the commit (default: HEAD).

        The caller removes its folder.
        """
        repo_paths = snapshot.locate_repo(self.workspace_root)
        return local_run.create_checkout(
            repo_paths, local_run.resolve_commit(repo_paths, self.commit or "HEAD")
        )


def main(argv: list[str]) -> int:
    """Run a command line of the original Fyre, and return the exit code; raise ``UserError``."""
    split_at = argv.index("--") if "--" in argv else len(argv)
    options, words = _create_parser().parse_args(argv[:split_at]), argv[split_at + 1 :]
    if not words:
        raise UserError(
            "nothing to run", hint='say what after two dashes: -- echo "hello world"', exit_code=2
        )
    command = compose.command_from_words(words)
    if options.batch and (options.local or options.commit is not None):
        raise UserError(
            "--batch goes with neither --local nor --commit", hint=_LEGACY_USAGE, exit_code=2
        )
    if options.local or options.commit is not None:
        if options.autocommit:
            raise UserError("--autocommit goes with --batch", hint=_LEGACY_USAGE, exit_code=2)
        return FyreLocal(command, options.commit, options.workspace_root).run()
    credential_scan.reject_credentials(command)
    batch = Fyre(command, options.workspace_root, autocommit=options.autocommit).batch_run()
    revision = f"{batch.sha[:12]}{remote.option_for(batch.remote, options.workspace_root)}"
    print(f"pushed to {batch.remote}; its output: fyre logs -f {revision}", file=sys.stderr)
    return 0


_LEGACY_USAGE = (
    "fyre --batch [--autocommit] -- CMD, "
    "or fyre [--local] [--workspace_root DIR] [--commit SHA] -- CMD"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message, hint=_LEGACY_USAGE, exit_code=2)


def _create_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fyre", usage=_LEGACY_USAGE, allow_abbrev=False)
    parser.add_argument(
        "--batch", action="store_true", help="commit, push, and have it run in batch"
    )
    parser.add_argument("--autocommit", action="store_true", help="commit all changes first")
    parser.add_argument("--local", action="store_true", help="run it here")
    parser.add_argument("--commit", help="the commit to run it on, in a clean checkout")
    parser.add_argument(
        "--workspace_root", "--workspace-root", help="the repository; the one we are in by default"
    )
    return parser


def _pin_to_digest(image: str) -> str:
    """Return the image at the current digest of its tag.

    If the registry can't be asked, the image is returned as it is: a cluster may have it.
    """
    from fyre.cli import legacy_registry
    from fyre.message import image_reference

    try:
        digest = legacy_registry.resolve_digest(
            image, credentials=legacy_registry.read_docker_credentials(image)
        )
    except (UserError, TransientError) as error:
        print(f"fyre: {error}; {image} stays as it is named", file=sys.stderr)
        return image
    return image_reference.with_digest(image, digest)


def _reject_uncommitted(root: Path, *, autocommit: bool) -> None:
    """Raise ``UserError`` if there are changes that a commit would not hold.

    The code that runs must be the code that the person sees.
    """
    repo_paths = snapshot.locate_repo(root)
    status = snapshot.read_status(repo_paths)
    changed = [path for letters, path in status.changed if letters != "??"]
    if autocommit or status.unmerged:
        snapshot.reject_unrepresentable(repo_paths, status)
        publish_check.reject_credential_files(repo_paths.top, status.new_files)
    elif changed:
        raise UserError(
            f"there are uncommitted changes: {snapshot.format_paths(changed)}",
            hint="commit them, or --autocommit",
        )


def _batch_of_head(root: Path) -> Batch:
    """Return the run that the new commit at HEAD requests."""
    sha, text = git_command.git_output(
        "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%H%n%B", cwd=root
    ).split("\n", 1)
    return Batch(
        sha, request.parse_message(text).run_names[-1], remote.default_remote_name(root), root
    )
