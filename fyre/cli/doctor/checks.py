"""Checks of git, a clone, its forge and a cluster; each finding says how to fix it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fyre import http_session
from fyre.cli.doctor.finding import Finding
from fyre.errors import TransientError, UserError
from fyre.git import git_command
from fyre.message import request
from fyre.workspace import config_file, worktree

if TYPE_CHECKING:
    from fyre.engines.kubernetes.api_client import KubernetesClient
    from fyre.github.client import GitHubClient
    from fyre.runs.policy import Policy
    from fyre.runs.run import Repository
    from fyre.workspace.remote import Remote

MIN_GIT_VERSION = (2, 34)

MAX_CLOCK_SKEW = 60.0
"""Seconds between this clock and the forge's.

Commits that are made ten minutes in the future are refused.
"""

STALE_SECONDS = 3600.0
"""Seconds after which an ended run should have been reported."""


def check_clone(remote_name: str = "") -> Iterator[Finding]:
    """Check git, this repository, and the forge behind its remote."""
    finding = _check_git()
    yield finding
    if shutil.which("git") is None:
        return
    yield from _check_identity()
    try:
        worktree.require_repository()
    except UserError as error:
        yield Finding(error.message, error.hint)
        return
    yield from _check_repository()
    from fyre.workspace import remote

    try:
        remote_info = remote.resolve_remote(name=remote_name or None)
    except UserError as error:
        yield Finding(error.message, error.hint)
        return
    yield from _check_remote(remote_info)
    yield from _check_forge(remote_info)


def check_cluster(
    kubeconfig: str | None,
    context: str | None,
    policy_path: Path | None,
    namespace: str,
    *,
    exec_mode: bool,
) -> Iterator[Finding]:
    """Check a cluster: can it be reached, are the rights there, does it accept each profile's Job.

    Jobs that were left behind are found, too.
    """
    from fyre.apps import kubernetes_runtime
    from fyre.apps.engine_registry import profile_sections
    from fyre.engines.kubernetes import kubernetes_profile
    from fyre.engines.kubernetes.api_client import KubernetesClient
    from fyre.runs import policy_file

    try:
        policy = policy_file.policy_with_options(
            policy_path, profile_sections(), namespace, default_image="busybox"
        )
        api = KubernetesClient(kubeconfig, context)
    except UserError as error:
        yield Finding(error.message, error.hint)
        return
    try:
        kubernetes_runtime.check_cluster_rights(api, policy, exec_mode=exec_mode)
        kubernetes_runtime.check_namespaces(api, policy)
        yield Finding(f"the cluster at {api.host} grants every right that a run needs")
        for each_namespace in kubernetes_profile.all_namespaces(policy):
            yield from _check_orphaned_jobs(api, each_namespace)
        for name in policy.profiles or {}:
            yield _check_profile(api, policy, name)
    except UserError as error:
        yield Finding(error.message, error.hint)
    except TransientError as error:
        yield Finding(str(error), "check `kubectl get jobs` with the same kubeconfig and context")
    finally:
        api.close()


def _check_git() -> Finding:
    try:
        version = git_command.git_output_or_none("version") or ""
    except UserError as error:
        return Finding(error.message, error.hint)
    match = re.search(r"(\d+)\.(\d+)", version)
    needed = ".".join(map(str, MIN_GIT_VERSION))
    if match is None or (int(match[1]), int(match[2])) < MIN_GIT_VERSION:
        return Finding(f"git is {version or 'not there'}", f"install git {needed} or newer")
    return Finding(version)


def _check_identity() -> Iterator[Finding]:
    for key in ("user.name", "user.email"):
        if not git_command.git_output_or_none("config", key):
            yield Finding(f"git does not know your {key}", f"git config --global {key} …")


def _check_repository() -> Iterator[Finding]:
    """Check the hooks, .fyre.yaml and the newest commit."""
    from fyre.cli.commands import check

    yield _check_hooks()
    top = git_command.git_output_or_none("rev-parse", "--show-toplevel")
    try:
        config = config_file.read_worktree_config(Path(top or "."))
    except UserError as error:
        yield Finding(error.message, error.hint)
        config = None
    if config is not None:
        for diagnostic in check.diagnose_config(config):
            yield Finding(
                f"{config_file.CONFIG_FILE} line {diagnostic.line}: {diagnostic.message}",
                diagnostic.hint or "fix that line",
            )
    if git_command.git_output_or_none("rev-parse", "--verify", "--quiet", "HEAD"):
        message = git_command.git_output("log", "-1", "--encoding=UTF-8", "--format=%B", "HEAD")
        for diagnostic in check.diagnose_message(message, request.parse_message(message)):
            yield Finding(
                f"HEAD's message, line {diagnostic.line}: {diagnostic.message}",
                diagnostic.hint or "git commit --amend",
            )


def _check_hooks() -> Finding:
    """Check that all hooks, or none, are where git looks, and that their Python exists."""
    from fyre import hooks
    from fyre.hooks import stubs

    missing, missing_python = stubs.missing_hooks(), stubs.missing_interpreter()
    path = git_command.git_output_or_none("config", "core.hooksPath")
    if missing_python:
        return Finding(
            f"the hooks call {missing_python}, which is gone, and check nothing",
            "fyre init --hooks",
        )
    if not missing:
        return Finding("the hooks are in place")
    if path and stubs.are_hooks_bypassed():
        fix = "fyre init --hooks writes them there too; or git config --unset core.hooksPath"
        return Finding(
            f"core.hooksPath leads git to {path}, past the hooks of this repository", fix
        )
    if len(missing) < len(hooks.HOOK_NAMES):
        return Finding(f"hooks are missing: {', '.join(missing)}", "fyre init --hooks")
    return Finding("no hooks of Fyre's (fyre init --hooks has them)")


def _check_remote(remote_info: Remote) -> Iterator[Finding]:
    from fyre.cli.commands.init import LAB_EXCLUDE_REFSPEC

    specs = (
        git_command.git_output_or_none("config", "--get-all", f"remote.{remote_info.name}.fetch")
        or ""
    ).splitlines()
    if LAB_EXCLUDE_REFSPEC not in specs:
        yield Finding(
            f"a fetch from {remote_info.name} fetches everybody's lab branches", "fyre init"
        )
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    result = git_command.run_git(
        "ls-remote", "--quiet", remote_info.name, "HEAD", env=quiet, check=False
    )
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines() or [
            "git ls-remote failed"
        ]
        yield Finding(
            f"{remote_info.name} does not answer: {lines[-1]}", f"git ls-remote {remote_info.name}"
        )
    else:
        yield Finding(f"{remote_info.name} is {remote_info.repository} on {remote_info.host}")


def _check_forge(remote_info: Remote) -> Iterator[Finding]:
    """Check the API behind the remote: token, repository, rights, clock."""
    import os

    from fyre.workspace import remote

    if not remote.lookup_token(remote_info, os.environ):
        yield Finding(
            f"there is no token for {remote_info.host}",
            "set FYRE_TOKEN, or log in with `gh auth login`",
        )
        return
    forge = remote_info.create_client()
    try:
        login = forge.own_login()
        repository = forge.get_repository(remote_info.repository)
        permission = forge.get_permission(repository, login)
    except (UserError, TransientError) as error:
        hint = (
            getattr(error, "hint", "")
            or f"is {remote_info.api_url} right, and the token good for {remote_info.repository}?"
        )
        yield Finding(f"the forge does not let us look: {error}", hint)
        return
    yield Finding(f"the forge knows you as {login}, with {permission} permission")
    if permission not in ("admin", "maintain", "write"):
        yield Finding(
            f"{login} may not push to {repository.name}", "ask its owner for write permission"
        )
    yield from check_clock(remote_info.api_url)
    yield from check_merge_queue(forge, repository)
    from fyre.cli.doctor import webhook_checks

    with suppress(TransientError):
        yield from webhook_checks.check_repository_webhook(forge, repository)


def check_merge_queue(forge: GitHubClient, repository: Repository) -> Iterator[Finding]:
    """Check that no check of Fyre's is required where a merge queue would wait for it for ever."""
    from urllib.parse import quote

    from fyre.message import merge_hints

    description = f"the rules of {repository.name}"
    path = f"/repos/{repository.name}/rules/branches/{quote(repository.default_branch, safe='')}"
    try:
        rules = forge.get_json(description, repository, path)
    except (UserError, TransientError):
        return  # a forge without rules has no merge queue
    if not isinstance(rules, list) or not any(rule.get("type") == "merge_queue" for rule in rules):
        return
    parameters = [rule.get("parameters") or {} for rule in rules]
    checks = [check for one in parameters for check in one.get("required_status_checks") or ()]
    required = [one["context"] for one in checks if str(one.get("context")).startswith("fyre/")]
    if required:
        fix = f"take {', '.join(required)} out of the required checks"
        yield Finding(f"{repository.name} has a merge queue: {merge_hints.MERGE_QUEUE}", fix)
    else:
        yield Finding(f"no fyre/… check is required by the merge queue of {repository.name}")


def check_clock(api_url: str) -> Iterator[Finding]:
    """Check that this clock agrees with the forge's."""
    import requests

    try:
        with http_session.open_session() as session:
            date = session.head(api_url, timeout=10).headers.get("Date", "")
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (requests.RequestException, ValueError, TypeError):
        return
    if abs(skew) > MAX_CLOCK_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        fix = "set the clock: commits made far in the future are refused"
        yield Finding(f"this clock is {abs(skew):.0f} s {side} the forge's", fix)


def _check_orphaned_jobs(api: KubernetesClient, namespace: str) -> Iterator[Finding]:
    """Find Jobs that ended long ago and were never reported: their receiver is gone."""
    from fyre.engines.kubernetes import job_labels, pod_facts

    oldest = time.time() - STALE_SECONDS
    forgotten = [
        job["metadata"]["name"]
        for job in api.list_managed_objects(namespace, kinds=("Job",))
        if job_labels.SETTLED_ANNOTATION not in pod_facts.get_annotations(job)
        and (pod_facts.job_ended_at(job) or oldest) < oldest
    ]
    if forgotten:
        fix = (
            "start the Fyre that launched them, "
            f"or see `fyre manifests --delete --namespace {namespace}`"
        )
        yield Finding(
            f"{len(forgotten)} ended Jobs in {namespace} were never reported, {forgotten[0]} first",
            fix,
        )


def _check_profile(api: KubernetesClient, policy: Policy, profile_name: str) -> Finding:
    """Check, by a dry run, that the API server would accept a Job of a profile."""
    from fyre.engines.kubernetes import job_manifest, kubernetes_profile
    from fyre.message.spec import RunSpec
    from fyre.runs.run import Repository, Run

    profile = (policy.profiles or {})[profile_name]
    repository = Repository("doctor", 0, "doctor/doctor")
    spec = RunSpec("true", image=profile.image or "busybox")
    run = Run("0" * 26, repository, "0" * 40, "", (), "", "doctor", "doctor", spec, "")
    namespace = kubernetes_profile.select_namespace(policy, "", profile)
    job_context = job_manifest.JobContext(
        "fyre-doctor", namespace, profile.checkout.image or "busybox"
    )
    try:
        api.create_job(namespace, job_manifest.build_job(run, profile, job_context), dry_run=True)
    except UserError as error:
        return Finding(
            f"profile {profile_name}: {error.message}",
            "fix the policy, or the namespace that it names",
        )
    return Finding(f"profile {profile_name} is good for {namespace}")
