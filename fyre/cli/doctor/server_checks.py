"""Checks of a receiver: its configuration, credential, webhook, relay and cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fyre import http_session
from fyre.cli.doctor import checks, webhook_checks
from fyre.cli.doctor.finding import Finding
from fyre.errors import TransientError, UserError
from fyre.runs.run import ZERO_SHA

if TYPE_CHECKING:
    from fyre.apps.config import Config
    from fyre.github.app_auth import GitHubApp
    from fyre.github.client import GitHubClient
    from fyre.runs.run import Repository

MAX_REPOSITORIES = 20
"""Number of repositories that are checked; their rights are mostly alike."""

REQUEST_TIMEOUT = 10.0
"""Seconds to wait for an answer."""


def check_server(config_path: Path | None, env: Mapping[str, str]) -> Iterator[Finding]:
    """Check all that ``fyre serve`` would use, and whether it could work with that."""
    from fyre.apps import config as configs
    from fyre.apps.engine_registry import find_engine

    try:
        config = configs.load_config(config_path, env, {})
    except UserError as error:
        yield Finding(
            error.message, error.hint or "`fyre serve --check-config` says what is used and why"
        )
        return
    yield Finding("the configuration is good, and so is the policy")
    yield from checks.check_clock(config.api_url)
    yield from _with_forge_errors(_check_credential(config))
    yield from _check_receiver(config)
    if config.get("relay"):
        yield _check_relay(config.get("relayUrl") or f"http://{config.get('relay')}")
    if find_engine(config.get("engine")).capabilities.cluster and config.get("policy"):
        cluster, policy_path = (
            (config.get("kubeconfig"), config.get("context")),
            Path(config.get("policy")),
        )
        yield from checks.check_cluster(
            *cluster, policy_path, "", exec_mode=not config.get("relay")
        )


def _with_forge_errors(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings, and a last one if an error of the forge ends them."""
    try:
        yield from findings
    except (UserError, TransientError) as error:
        hint = getattr(error, "hint", "") or "is the forge there, and `api` its REST API?"
        yield Finding(f"the forge does not let us look: {error}", hint)


def _check_credential(config: Config) -> Iterator[Finding]:
    """Check the credential and its rights."""
    from fyre.github.app_auth import GitHubApp, GitHubAppClient
    from fyre.github.client import GitHubClient
    from fyre.runs import policy as policies

    webhook_url = (
        f"{str(config.get('url')).rstrip('/')}/webhook" if config.webhook_secret is not None else ""
    )
    app: GitHubApp | None = None
    if config.app_key is not None:
        app = GitHubApp(config.api_url, config.get("appId"), config.app_key.read_secret)
        forge: GitHubClient = GitHubAppClient(app)
    elif config.token is not None:
        forge = GitHubClient(config.api_url, config.token.read_secret)
    yield Finding(f"the forge knows us as {forge.own_login()}")
    if app is not None:
        overrides = dict(config.policy.overrides).values()
        teams = bool(config.policy.teams) or any(item.get("teams") for item in overrides)
        yield from webhook_checks.check_app(
            app, webhook_url, checks=config.get("checks"), teams=teams
        )
    if not config.get("checks"):
        yield Finding(
            "on pull requests nothing is said before a merge: that takes an App and `checks: true`"
        )
    served = [
        item
        for item in forge.list_repositories()
        if policies.serves_repository(config.policy, item.name)
    ]
    if not served:
        fix = (
            "install the App there, or let the token see one; "
            "the policy's `repositories` says which are served"
        )
        yield Finding("we see no repository that the policy serves", fix)
    for repository in served[:MAX_REPOSITORIES]:
        yield from _check_repository_rights(forge, repository)
        yield from checks.check_merge_queue(forge, repository)
        if app is None and webhook_url:
            yield from webhook_checks.check_repository_webhook(forge, repository, webhook_url)


def _check_repository_rights(forge: GitHubClient, repository: Repository) -> Iterator[Finding]:
    """Try what a run needs, in a way that changes nothing.

    GitHub has no other way to ask for the rights of a token.
    """
    from fyre.github.errors import DeniedError, NotVisibleError
    from fyre.runs.commit_status import CommitStatus

    question = CommitStatus("fyre/doctor", "error", "may we?")
    attempts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("read the contents of", lambda: forge.get_commit(repository, repository.default_branch)),
        # on a commit that no repository has
        (
            "write commit statuses in",
            lambda: forge.create_status(repository, ZERO_SHA, question),
        ),
    )
    denied = False
    for right, attempt in attempts:
        try:
            attempt()
        except NotVisibleError:
            denied = right.startswith("write")
            fix = "give the token `Commit statuses: write`"
        except DeniedError as error:
            denied, reason = True, error.message.partition(": ")[2]
            fix = f"give it in the token's or the App's permissions ({reason})"
        except UserError:
            continue
        if denied:
            yield Finding(f"we may not {right} {repository.name}", fix)
    if not denied:
        yield Finding(f"in {repository.name} we may do all that a run needs")
    if not denied:
        yield from _check_pull_right(forge, repository)
    yield from _check_replies(forge, repository)


def _check_pull_right(forge: GitHubClient, repository: Repository) -> Iterator[Finding]:
    """Ask which pull requests brought a commit, as is asked for each that is to run."""
    from fyre.github import origin_questions
    from fyre.github.errors import DeniedError

    try:
        commit = forge.get_commit(repository, repository.default_branch)
        origin_questions.list_pulls(forge, repository, commit.sha)
    except DeniedError as error:
        reason = error.message.partition(": ")[2]
        yield Finding(
            f"we may not ask for pull requests of {repository.name}: a commit that its pusher did "
            "not write is refused",
            f"give the token or the App `Pull requests: read` ({reason})",
        )
    except UserError:
        return


def _check_replies(forge: GitHubClient, repository: Repository) -> Iterator[Finding]:
    """Try to reply in a pull request that no repository has: a run does not need that."""
    from fyre.github.errors import DeniedError

    try:
        forge.create_issue_comment(repository, 0, "may we?")
    except DeniedError as error:
        reason = error.message.partition(": ")[2]
        yield Finding(
            f"we may not reply to commands in pull requests of {repository.name}",
            f"give the token or the App `Pull requests: write` and `Issues: read` ({reason})",
        )
    except UserError:
        return


def _check_receiver(config: Config) -> Iterator[Finding]:
    """Check that a receiver answers at ``url``, and is ready."""
    import requests

    url = str(config.get("url")).rstrip("/")
    try:
        with http_session.open_session() as session:
            readiness = session.get(f"{url}/readyz", timeout=REQUEST_TIMEOUT).json()
        problems = (
            {name: reason for name, reason in readiness.items() if reason != "ok"}
            if "sweep" in readiness
            else None
        )
    except (requests.RequestException, ValueError, AttributeError, TypeError):
        problems = None
    if problems is None:
        yield _check_endpoint(url, takes_webhooks=config.webhook_secret is not None)
        return
    for name, reason in problems.items():
        yield Finding(
            f"the receiver at {url} is not ready: {name}: {reason}", "its log says since when"
        )
    if not problems:
        yield Finding(f"the receiver at {url} is ready")


def _check_endpoint(url: str, *, takes_webhooks: bool) -> Finding:
    """Check that there is a receiver behind an address that does not show ``/readyz``.

    An Ingress may show only what must be reached from outside.
    """
    import requests

    with suppress(requests.RequestException), http_session.open_session() as session:
        if takes_webhooks:
            # the delivery is unsigned, so a receiver rejects it
            response = session.post(f"{url}/webhook", data=b"{}", timeout=REQUEST_TIMEOUT)
            if response.status_code == 401:
                return Finding(
                    f"the receiver at {url} answers, and whether it is ready is not shown there"
                )
        elif session.get(f"{url}/runs/", timeout=REQUEST_TIMEOUT).status_code == 404:
            return Finding(f"{url} answers, and whether a receiver is there is not shown")
    return Finding(
        f"no receiver answers at {url}", "is `fyre serve` running there, and url its address?"
    )


def _check_relay(url: str) -> Finding:
    """Check that the relay answers, as it does to a request without a key."""
    import requests

    fix = "pods fetch their code there: is `fyre serve` running, relayUrl right, the port open?"
    try:
        with http_session.open_session() as session:
            code = session.get(
                f"{url}/git/0.git/info/refs?service=git-upload-pack", timeout=REQUEST_TIMEOUT
            ).status_code
    except requests.RequestException:
        return Finding(f"the relay at {url} can't be reached", fix)
    return (
        Finding(f"the relay at {url} answers")
        if code == 401
        else Finding(f"{url} answers {code}: no relay", fix)
    )
