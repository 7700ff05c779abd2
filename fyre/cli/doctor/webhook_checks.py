"""Whether webhooks arrive: what the forge says of them, for a repository or for an App. Part of ``fyre doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fyre.cli.doctor.checks import Finding
from fyre.errors import UserError
from fyre.github import app_manifest

if TYPE_CHECKING:
    from fyre.github.app_auth import GitHubApp
    from fyre.github.client import GitHubClient
    from fyre.runs.run import Repository

ApiGetter = Callable[[str], Any]
"""A path of the API → what it answers. Raises ``UserError`` and ``TryAgainError``."""

_PERMISSION_LEVELS = ("none", "read", "write", "admin")

_FIX_BY_STATUS_CODE = {
    401: "the secret there and webhookSecretFile are two: put the same into both",
    404: "its address has to end in /webhook, and poll must not be set",
    413: "the delivery is larger than GitHub's own limit: the sweep finds the push",
}


def check_repository_webhook(
    forge: GitHubClient, repository: Repository, url: str = ""
) -> Iterator[Finding]:
    """The webhook of a repository that leads to ``url``, or to any Fyre; nothing where it is not shown to us."""
    at = f"/repos/{repository.name}/hooks"

    def get_api_path(path: str) -> Any:  # noqa: ANN401 - what JSON holds
        return forge.get_json(f"the webhooks of {repository.name}", repository, path)

    try:
        hooks = [one for one in get_api_path(f"{at}?per_page=100") if _leads_to(one, url)]
    except UserError as error:
        if url:
            yield Finding(
                f"whether {repository.name} has its webhook can't be seen: {error.message}"
            )
        return
    if not hooks and url:
        fix = f"add one in its settings: {url}, application/json, the secret, pushes and comments; or set poll: true"
        yield Finding(f"{repository.name} has no webhook that leads to {url}", fix)
    for hook in hooks:
        yield from _check_webhook(get_api_path, hook, f"{at}/{hook['id']}", repository.name)


def check_app(app: GitHubApp, url: str, *, checks: bool, teams: bool) -> Iterator[Finding]:
    """The App's permissions and events, and its webhook, which is to lead to ``url``.

    ``checks``: whether check runs are wanted; ``teams``: whether the policy names any.
    """

    def get_api_path(path: str) -> Any:  # noqa: ANN401 - what JSON holds
        return app.get_app_json("the App", path)

    facts, settings = get_api_path("/app"), f"the App's settings on {app.url}"
    held = facts.get("permissions") or {}
    for name, level in app_manifest.app_permissions(checks=checks, teams=teams).items():
        has = held.get(name, "none")
        if has not in _PERMISSION_LEVELS[_PERMISSION_LEVELS.index(level) :]:
            yield Finding(
                f"the App has {name}: {has}, and needs {level}",
                f"{settings}, and each owner accepts it",
            )
    if not url:
        return
    for event in sorted(set(app_manifest.app_events(checks=checks)) - set(facts.get("events", ()))):
        yield Finding(f"the App does not hear of {event}", f"subscribe to it in {settings}")
    leads = get_api_path("/app/hook/config").get("url") or "nowhere"
    if leads != url:
        yield Finding(
            f"the App's webhook leads to {leads}, and not to {url}",
            f"mend it in {settings}, or mend url",
        )
    yield _check_last_delivery(get_api_path("/app/hook/deliveries?per_page=30"), "the App")


def _leads_to(hook: Any, url: str) -> bool:  # noqa: ANN401 - what JSON holds
    leads = str((hook.get("config") or {}).get("url", ""))
    return leads == url if url else leads.endswith("/webhook")


def _check_webhook(
    get_api_path: ApiGetter,
    hook: Any,  # noqa: ANN401
    hook_path: str,
    repository_name: str,
) -> Iterator[Finding]:
    if not hook["active"]:
        yield Finding(
            f"the webhook of {repository_name} is switched off", "tick Active in its settings"
        )
    if not {"push", "*"} & set(hook["events"]):
        yield Finding(
            f"the webhook of {repository_name} does not tell of pushes",
            "tick Pushes in its settings",
        )
    if (hook.get("config") or {}).get("content_type") != "json":
        yield Finding(
            f"the webhook of {repository_name} does not send JSON",
            "choose application/json in its settings",
        )
    yield _check_last_delivery(get_api_path(f"{hook_path}/deliveries?per_page=30"), repository_name)


def _check_last_delivery(deliveries: list[Any], hook_owner: str) -> Finding:
    """What the newest delivery says; older failures are over, and the sweep has found what they were about."""
    if not deliveries:
        return Finding(f"no webhook of {hook_owner} was delivered yet")
    code, status = deliveries[0].get("status_code") or 0, str(deliveries[0].get("status", ""))[:100]
    if 200 <= code < 300:
        return Finding(f"webhooks of {hook_owner} are delivered")
    fix = _FIX_BY_STATUS_CODE.get(
        code, "look at the answer in its settings, and at the receiver's log"
    )
    fix = (
        fix
        if code
        else "the forge has to reach the receiver from outside; where it can't, set poll: true"
    )
    return Finding(
        f"the newest webhook of {hook_owner} failed: {code or 'no answer'} {status}", fix
    )
