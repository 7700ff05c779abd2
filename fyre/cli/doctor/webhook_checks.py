"""Checks that webhooks arrive, by what the forge says of those of a repository or an App."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fyre.cli.doctor.finding import Finding
from fyre.errors import UserError
from fyre.github import app_manifest

if TYPE_CHECKING:
    from fyre.github.app_auth import GitHubApp
    from fyre.github.client import GitHubClient
    from fyre.runs.run import Repository

ApiGetter = Callable[[str], Any]
"""A function from a path of the API to its answer.

It raises ``UserError`` and ``TransientError``.
"""

_PERMISSION_LEVELS = ("none", "read", "write", "admin")

_FIX_BY_STATUS_CODE = {
    401: "the secret there and webhookSecretFile differ: put the same into both",
    404: "its address has to end in /webhook, and poll must not be set",
    413: "the delivery is larger than GitHub's own limit: the sweep finds the push",
}


def check_repository_webhook(
    forge: GitHubClient, repository: Repository, url: str = ""
) -> Iterator[Finding]:
    """Check the webhook of a repository that leads to ``url``, or to any Fyre if that is "".

    Without a ``url``, there is no finding if the token may not see webhooks.
    """
    hooks_path = f"/repos/{repository.name}/hooks"

    def get_api_path(path: str) -> Any:  # noqa: ANN401 - what JSON holds
        return forge.get_json(f"the webhooks of {repository.name}", repository, path)

    try:
        hooks = [
            hook for hook in get_api_path(f"{hooks_path}?per_page=100") if _leads_to(hook, url)
        ]
    except UserError as error:
        if url:
            yield Finding(
                f"whether {repository.name} has its webhook can't be seen: {error.message}"
            )
        return
    if not hooks and url:
        fix = (
            f"add one in its settings: {url}, application/json, the secret, pushes and comments; "
            "or set poll: true"
        )
        yield Finding(f"{repository.name} has no webhook that leads to {url}", fix)
    for hook in hooks:
        yield from _check_webhook(get_api_path, hook, f"{hooks_path}/{hook['id']}", repository.name)


def check_app(app: GitHubApp, url: str, *, checks: bool, teams: bool) -> Iterator[Finding]:
    """Check the App's permissions and events, and its webhook, which must lead to ``url``.

    ``checks`` is True if check runs are wanted, ``teams`` if the policy names any.
    """

    def get_api_path(path: str) -> Any:  # noqa: ANN401 - what JSON holds
        return app.get_app_json("the App", path)

    app_facts, settings = get_api_path("/app"), f"the App's settings on {app.url}"
    granted = app_facts.get("permissions") or {}
    for name, level in app_manifest.app_permissions(checks=checks, teams=teams).items():
        granted_level = granted.get(name, "none")
        if granted_level not in _PERMISSION_LEVELS[_PERMISSION_LEVELS.index(level) :]:
            yield Finding(
                f"the App has {name}: {granted_level}, and needs {level}",
                f"{settings}, and each owner accepts it",
            )
    if not url:
        return
    for event in sorted(
        set(app_manifest.app_events(checks=checks)) - set(app_facts.get("events", ()))
    ):
        yield Finding(f"the App does not hear of {event}", f"subscribe to it in {settings}")
    hook_url = get_api_path("/app/hook/config").get("url") or "nowhere"
    if hook_url != url:
        yield Finding(
            f"the App's webhook leads to {hook_url}, and not to {url}",
            f"fix it in {settings}, or fix url",
        )
    yield _check_last_delivery(get_api_path("/app/hook/deliveries?per_page=30"), "the App")


def _leads_to(hook: Any, url: str) -> bool:  # noqa: ANN401 - what JSON holds
    hook_url = str((hook.get("config") or {}).get("url", ""))
    return hook_url == url if url else hook_url.endswith("/webhook")


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
            f"the webhook of {repository_name} does not send pushes",
            "tick Pushes in its settings",
        )
    if (hook.get("config") or {}).get("content_type") != "json":
        yield Finding(
            f"the webhook of {repository_name} does not send JSON",
            "choose application/json in its settings",
        )
    yield _check_last_delivery(get_api_path(f"{hook_path}/deliveries?per_page=30"), repository_name)


def _check_last_delivery(deliveries: list[Any], hook_owner: str) -> Finding:
    """Check the newest delivery.

    Older failures are over: the sweep has found the pushes that they were about.
    """
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
