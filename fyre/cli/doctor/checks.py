"""What keeps Fyre from working here, found by asking each part in turn; every finding comes with its mend."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fyre.errors import TryAgainError, UserError
from fyre.git import git_command
from fyre.message import request
from fyre.workspace import worktree

if TYPE_CHECKING:
    from fyre.engines.kubernetes.api_client import Api
    from fyre.runs.policy import Policy
    from fyre.workspace.remote import Remote

GIT_MIN = (2, 34)
SKEW_MAX = 60.0
"""Seconds between our clock and the forge's; ten minutes ahead, and what is committed is refused."""

STALE = 3600.0
"""Seconds after which an ended run should have been reported."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``fix`` is empty where all is well."""

    what: str
    fix: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing has to be done."""
        return not self.fix


def here(remote_name: str = "") -> Iterator[Finding]:
    """git, this repository, and the forge behind its remote."""
    found = _git()
    yield found
    if shutil.which("git") is None:
        return
    yield from _identity()
    try:
        worktree.required()
    except UserError as error:
        yield Finding(error.message, error.hint)
        return
    yield from _repository()
    from fyre.workspace import remote

    try:
        where = remote.of(name=remote_name or None)
    except UserError as error:
        yield Finding(error.message, error.hint)
        return
    yield from _remote(where)
    yield from _forge(where)


def on_cluster(
    kubeconfig: str | None,
    context: str | None,
    file: Path | None,
    namespace: str,
    *,
    exec_mode: bool,
) -> Iterator[Finding]:
    """A cluster: is it there, does it let us, would it take a Job of each profile, was anything left behind."""
    from fyre.apps import kubernetes_runtime
    from fyre.engines.kubernetes.api_client import Api
    from fyre.runs import policy as policies
    from fyre.runs import policy_file

    try:
        policy = policy_file.chosen(file, namespace, else_image="busybox")
        api = Api(kubeconfig, context)
    except UserError as error:
        yield Finding(error.message, error.hint)
        return
    try:
        kubernetes_runtime.check_rights(api, policy, exec_mode=exec_mode)
        yield Finding(f"the cluster at {api.host} lets us do what a run takes")
        for space in policies.namespaces(policy):
            yield from _left(api, space)
        for name in policy.profiles or {}:
            yield _profile(api, policy, name)
    except UserError as error:
        yield Finding(error.message, error.hint)
    except TryAgainError as error:
        yield Finding(str(error), "check `kubectl get jobs` with the same kubeconfig and context")
    finally:
        api.close()


def _git() -> Finding:
    try:
        said = git_command.ask("version") or ""
    except UserError as error:
        return Finding(error.message, error.hint)
    found = re.search(r"(\d+)\.(\d+)", said)
    wanted = ".".join(map(str, GIT_MIN))
    if found is None or (int(found[1]), int(found[2])) < GIT_MIN:
        return Finding(f"git is {said or 'not there'}", f"install git {wanted} or newer")
    return Finding(said)


def _identity() -> Iterator[Finding]:
    for key in ("user.name", "user.email"):
        if not git_command.ask("config", key):
            yield Finding(f"git does not know your {key}", f"git config --global {key} …")


def _repository() -> Iterator[Finding]:
    """The hooks, the files, the newest commit."""
    from fyre.cli.commands import check

    yield _hooks()
    top = git_command.ask("rev-parse", "--show-toplevel")
    file = Path(top or ".") / check.FILE
    if file.is_file():
        for wrong in check.of_config(file.read_text(encoding="utf-8", errors="replace")):
            yield Finding(
                f"{check.FILE} line {wrong.line}: {wrong.message}", wrong.hint or "mend that line"
            )
    if git_command.ask("rev-parse", "--verify", "--quiet", "HEAD"):
        message = git_command.out("log", "-1", "--format=%B", "HEAD")
        for wrong in check.of_message(message, request.read(message)):
            yield Finding(
                f"HEAD's message, line {wrong.line}: {wrong.message}",
                wrong.hint or "git commit --amend",
            )


def _hooks() -> Finding:
    """Our hooks: all of them, where git looks, with a Python that is there; or none, which is good as well."""
    from fyre import hooks
    from fyre.hooks import stubs

    missing, gone = stubs.missing(), stubs.orphaned()
    path = git_command.ask("config", "core.hooksPath")
    if gone:
        return Finding(
            f"the hooks call {gone}, which is gone, and check nothing", "fyre init --hooks"
        )
    if not missing:
        return Finding("the hooks are in place")
    if path and stubs.passed_by():
        fix = "fyre init --hooks writes them there too; or git config --unset core.hooksPath"
        return Finding(
            f"core.hooksPath leads git to {path}, past the hooks of this repository", fix
        )
    if len(missing) < len(hooks.NAMES):
        return Finding(f"hooks are missing: {', '.join(missing)}", "fyre init --hooks")
    return Finding("no hooks of Fyre's (fyre init --hooks has them)")


def _remote(where: Remote) -> Iterator[Finding]:
    from fyre.cli.commands.init import REFSPEC

    specs = (
        git_command.ask("config", "--get-all", f"remote.{where.name}.fetch") or ""
    ).splitlines()
    if REFSPEC not in specs:
        yield Finding(
            f"a fetch from {where.name} brings everybody's lab notebooks along", "fyre init"
        )
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    done = git_command.run("ls-remote", "--quiet", where.name, "HEAD", env=quiet, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or [
            "git ls-remote failed"
        ]
        yield Finding(f"{where.name} does not answer: {words[-1]}", f"git ls-remote {where.name}")
    else:
        yield Finding(f"{where.name} is {where.repository} on {where.host}")


def _forge(where: Remote) -> Iterator[Finding]:
    """The API behind the remote: token, repository, rights, clock."""
    import os

    from fyre.workspace import remote

    if not remote.token(where, os.environ):
        yield Finding(
            f"there is no token for {where.host}", "set FYRE_TOKEN, or log in with `gh auth login`"
        )
        return
    forge = where.forge()
    try:
        me = forge.me()
        repository = forge.repository(where.repository)
        may = forge.permission(repository, me)
    except (UserError, TryAgainError) as error:
        hint = (
            getattr(error, "hint", "")
            or f"is {where.api} right, and the token good for {where.repository}?"
        )
        yield Finding(f"the forge does not let us look: {error}", hint)
        return
    yield Finding(f"the forge knows you as {me}, with {may} permission")
    if may not in ("admin", "maintain", "write"):
        yield Finding(
            f"{me} may not push to {repository.name}", "ask whoever owns it for write permission"
        )
    yield from clock(where.api)
    from fyre.cli.doctor import webhook_checks

    with suppress(TryAgainError):
        yield from webhook_checks.of_repository(forge, repository)


def clock(api: str) -> Iterator[Finding]:
    """Whether this clock is the forge's."""
    import requests

    try:
        told = requests.head(api, timeout=10).headers.get("Date", "")
        skew = time.time() - parsedate_to_datetime(told).timestamp()
    except (requests.RequestException, ValueError, TypeError):
        return
    if abs(skew) > SKEW_MAX:
        side = "ahead of" if skew > 0 else "behind"
        fix = "set the clock: what is made far ahead is refused"
        yield Finding(f"this clock is {abs(skew):.0f} s {side} the forge's", fix)


def _left(api: Api, space: str) -> Iterator[Finding]:
    """Jobs that ended long ago and were never reported: their receiver is gone."""
    from fyre.engines.kubernetes import job_labels, pod_facts

    old = time.time() - STALE
    forgotten = [
        job["metadata"]["name"]
        for job in api.managed(space, kinds=("Job",))
        if job_labels.SETTLED not in pod_facts.notes(job)
        and (pod_facts.job_ended_at(job) or old) < old
    ]
    if forgotten:
        fix = f"start the Fyre that launched them, or see `fyre manifests --delete --namespace {space}`"
        yield Finding(
            f"{len(forgotten)} ended Jobs in {space} were never reported, {forgotten[0]} first", fix
        )


def _profile(api: Api, policy: Policy, name: str) -> Finding:
    """Whether the API server would take a Job of a profile, by a dry run."""
    from fyre.engines.kubernetes import job_manifest
    from fyre.message.spec import Spec
    from fyre.runs import policy as policies
    from fyre.runs.run import Repository, Run

    profile = (policy.profiles or {})[name]
    run = Run("0" * 26, Repository("doctor", 0, "doctor/doctor"), "0" * 40, "", (), "", "doctor", "doctor",
              Spec("true", image=profile.image or "busybox"), "")  # fmt: skip
    space = policies.namespace_of(policy, "", profile)
    place = job_manifest.Place("fyre-doctor", space, profile.checkout.image or "busybox")
    try:
        api.create_job(space, job_manifest.job(run, profile, place), dry_run=True)
    except UserError as error:
        return Finding(
            f"profile {name}: {error.message}", "mend the policy, or the namespace that it names"
        )
    return Finding(f"profile {name} is good for {space}")
