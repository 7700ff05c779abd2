"""Whether webhooks arrive: what the forge says of them, for a repository or for an App. Part of ``fyre doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fyre.cli.doctor.checks import Finding
from fyre.errors import UserError
from fyre.github import app_manifest

if TYPE_CHECKING:
    from fyre.github.app_auth import App
    from fyre.github.client import Forge
    from fyre.runs.run import Repository

Ask = Callable[[str], Any]
"""A path of the API → what it answers. Raises ``UserError`` and ``TryAgainError``."""

_LEVELS = ("none", "read", "write", "admin")

_BY_CODE = {
    401: "the secret there and webhookSecretFile are two: put the same into both",
    404: "its address has to end in /webhook, and poll must not be set",
    413: "the delivery is larger than GitHub's own limit: the sweep finds the push",
}


def of_repository(forge: Forge, repository: Repository, url: str = "") -> Iterator[Finding]:
    """The webhook of a repository that leads to ``url``, or to any Fyre; nothing where it is not shown to us."""
    at = f"/repos/{repository.name}/hooks"

    def ask(path: str) -> Any:  # noqa: ANN401 - what JSON holds
        return forge.get(f"the webhooks of {repository.name}", repository, path)

    try:
        hooks = [one for one in ask(f"{at}?per_page=100") if _leads(one, url)]
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
        yield from _of_hook(ask, hook, f"{at}/{hook['id']}", repository.name)


def of_app(app: App, url: str, *, checks: bool, teams: bool) -> Iterator[Finding]:
    """The App's permissions and events, and its webhook, which is to lead to ``url``.

    ``checks``: whether check runs are wanted; ``teams``: whether the policy names any.
    """

    def ask(path: str) -> Any:  # noqa: ANN401 - what JSON holds
        return app.get("the App", path)

    facts, settings = ask("/app"), f"the App's settings on {app.url}"
    held = facts.get("permissions") or {}
    for name, level in app_manifest.permissions(checks=checks, teams=teams).items():
        has = held.get(name, "none")
        if has not in _LEVELS[_LEVELS.index(level) :]:
            yield Finding(
                f"the App has {name}: {has}, and needs {level}",
                f"{settings}, and each owner accepts it",
            )
    if not url:
        return
    for event in sorted(set(app_manifest.events(checks=checks)) - set(facts.get("events", ()))):
        yield Finding(f"the App does not hear of {event}", f"subscribe to it in {settings}")
    leads = ask("/app/hook/config").get("url") or "nowhere"
    if leads != url:
        yield Finding(
            f"the App's webhook leads to {leads}, and not to {url}",
            f"mend it in {settings}, or mend url",
        )
    yield _delivered(ask("/app/hook/deliveries?per_page=30"), "the App")


def _leads(hook: Any, url: str) -> bool:  # noqa: ANN401 - what JSON holds
    leads = str((hook.get("config") or {}).get("url", ""))
    return leads == url if url else leads.endswith("/webhook")


def _of_hook(ask: Ask, hook: Any, at: str, name: str) -> Iterator[Finding]:  # noqa: ANN401 - what JSON holds
    if not hook["active"]:
        yield Finding(f"the webhook of {name} is switched off", "tick Active in its settings")
    if not {"push", "*"} & set(hook["events"]):
        yield Finding(
            f"the webhook of {name} does not tell of pushes", "tick Pushes in its settings"
        )
    if (hook.get("config") or {}).get("content_type") != "json":
        yield Finding(
            f"the webhook of {name} does not send JSON", "choose application/json in its settings"
        )
    yield _delivered(ask(f"{at}/deliveries?per_page=30"), name)


def _delivered(listed: list[Any], name: str) -> Finding:
    """What the newest delivery says; older failures are over, and the sweep has found what they were about."""
    if not listed:
        return Finding(f"no webhook of {name} was delivered yet")
    code, status = listed[0].get("status_code") or 0, str(listed[0].get("status", ""))[:100]
    if 200 <= code < 300:
        return Finding(f"webhooks of {name} are delivered")
    fix = _BY_CODE.get(code, "look at the answer in its settings, and at the receiver's log")
    fix = (
        fix
        if code
        else "the forge has to reach the receiver from outside; where it can't, set poll: true"
    )
    return Finding(f"the newest webhook of {name} failed: {code or 'no answer'} {status}", fix)
