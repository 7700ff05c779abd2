"""Build a GitHub App's manifest, and read what GitHub answers: the flow without its requests. Pure.

GitHub's facts: the manifest is POSTed by the person's browser, as the field ``manifest`` of a form;
the browser comes back to ``redirect_url`` with ``code`` and ``state``; within the hour the code is
exchanged, once, for the App's id, key and webhook secret. The lists that GitHub's documentation is
made of say which request takes which permission.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from fyre.errors import UserError

BASE_PERMISSIONS = {
    # Commits, pushes, activity; also replies on a commit, which GitHub does not count as writing.
    "contents": "read",
    "metadata": "read",
    "statuses": "write",
    "pull_requests": "write",  # to reply in a pull request
    # A pull request's conversation is an issue's: GitHub sends its comments for this right.
    "issues": "read",
}
"""Permissions that a receiver needs, as the manifest has them."""

BASE_EVENTS = ("push", "commit_comment", "issue_comment")
"""Events that a receiver needs."""

APP_NAME_MAX = 34
"""Characters of an App's name; GitHub refuses more."""

_GITHUB = ("github.com", "https://github.com")


@dataclass(frozen=True, slots=True)
class AppOptions:
    """Options of an App that is to be registered."""

    host: str = "https://github.com"
    org: str = ""  # its owner; "" for the person who registers it
    receiver_url: str = ""  # "" if no webhook can reach the receiver
    name: str = "fyre"
    checks: bool = False
    teams: bool = False  # true if the policy names teams


@dataclass(frozen=True, slots=True)
class CreatedApp:
    """The App that GitHub has created: all but the first three fields are kept secret."""

    id: int
    slug: str
    html_url: str
    private_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)  # "" if the App has no webhook


def parse_host(text: str) -> str:
    """Return the forge's address: https://github.com, or the base URL of an Enterprise Server.

    Raises ``UserError`` for text that is no address, and for an address to which a key would come
    unencrypted.
    """
    if text.lower().rstrip("/") in _GITHUB:
        return _GITHUB[1]
    parts = urlsplit(text if "://" in text else f"https://{text}")
    is_local_http = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if (
        not (parts.scheme == "https" or is_local_http)
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
    ):
        hint = "--host github.com, or https://github.example.org of an Enterprise Server"
        raise UserError(f"--host {text!r} is not the address of a forge", hint=hint, exit_code=2)
    if "@" in parts.netloc or not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc):
        raise UserError(
            f"--host {text!r} is not the address of a forge",
            hint="host, and port if any",
            exit_code=2,
        )
    return f"{parts.scheme}://{parts.netloc}"


def parse_options(
    host_text: str, org: str, url: str, name: str, *, checks: bool, teams: bool
) -> AppOptions:
    """Return the options, checked. Raises ``UserError``."""
    if url and not re.fullmatch(r"https?://[^\s/?#@]+/?", url):  # the receiver has the same rule
        hint = "as the forge reaches it: --url https://fyre.example.org"
        raise UserError(f"--url {url!r} is not the address of a receiver", hint=hint, exit_code=2)
    if org and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,99})", org):
        raise UserError(
            f"--org {org!r} is not an organisation",
            hint="its name in the address of its page",
            exit_code=2,
        )
    name = name or (f"fyre {org}"[:APP_NAME_MAX].strip() if org else "fyre")
    if len(name) > APP_NAME_MAX:
        raise UserError(
            f"--name has {len(name)} characters, at most {APP_NAME_MAX}",
            hint="a shorter one",
            exit_code=2,
        )
    return AppOptions(parse_host(host_text), org, url.rstrip("/"), name, checks, teams)


def app_permissions(*, checks: bool, teams: bool) -> dict[str, str]:
    """Return the permissions of an App.

    They are ``BASE_PERMISSIONS``, and more for check runs and for a policy that names teams.
    """
    return (
        BASE_PERMISSIONS
        | ({"checks": "write"} if checks else {})
        | ({"members": "read"} if teams else {})
    )


def app_events(*, checks: bool) -> tuple[str, ...]:
    """Return the events of an App.

    With check runs these are also a click on Re-run, and a pull request that is new or changes: a
    check run there says what its merge does to its runs.
    """
    return (*BASE_EVENTS, "check_run", "pull_request") if checks else BASE_EVENTS


def build_manifest(options: AppOptions, redirect_url: str) -> dict[str, Any]:
    """Return the App's manifest: exactly what a receiver needs, and visible to its owner alone."""
    return {
        "name": options.name,
        "url": options.receiver_url or options.host,
        "hook_attributes": {
            "url": f"{options.receiver_url or options.host}/webhook",
            "active": bool(options.receiver_url),
        },
        "redirect_url": redirect_url,
        "public": False,
        "default_permissions": app_permissions(checks=options.checks, teams=options.teams),
        "default_events": [*app_events(checks=options.checks)] if options.receiver_url else [],
        "description": "Runs what commits ask for, and says on them how it ended.",
    }


def registration_url(options: AppOptions, state: str) -> str:
    """Return the URL to which the browser sends the manifest."""
    account_path = f"/organizations/{options.org}" if options.org else ""
    return f"{options.host}{account_path}/settings/apps/new?state={quote(state, safe='')}"


def extract_code(answer: str, state: str) -> str | None:
    """Return the code in a pasted text.

    The text is the address that the browser came back to, or the code itself. None if the address
    has another state: it is not the answer to this question.
    """
    answer = answer.strip()
    if "?" not in answer:
        return answer or None
    query = parse_qs(urlsplit(answer).query)
    (code,), (given_state,) = (query.get(name, [""])[:1] for name in ("code", "state"))
    return code if code and hmac.compare_digest(given_state.encode(), state.encode()) else None


def parse_created_app(answer: object) -> CreatedApp:
    """Return the App in the response to the exchange.

    Raises ``UserError`` if that is no App's registration; nothing of it is shown.
    """
    if not isinstance(answer, dict):
        raise _unexpected_answer("it is not an object")
    for name, kind in (("id", int), ("slug", str), ("html_url", str), ("pem", str)):
        if not isinstance(answer.get(name), kind):
            raise _unexpected_answer(f"it has no {name}")
    if "PRIVATE KEY" not in answer["pem"]:
        raise _unexpected_answer("its pem is not a private key")
    secret = answer.get("webhook_secret")
    return CreatedApp(
        answer["id"],
        answer["slug"],
        answer["html_url"],
        answer["pem"],
        secret if isinstance(secret, str) else "",
    )


def config_lines(
    options: AppOptions, app: CreatedApp, key_file: str, webhook_secret_file: str
) -> str:
    """Return the lines for the configuration of ``fyre serve``.

    They name the files and hold no secret.
    """
    lines = [f"forge: {options.host}"] if options.host != _GITHUB[1] else []
    lines += [f"url: {options.receiver_url}"] if options.receiver_url else []
    lines += [f"appId: {app.id}", f"appPrivateKeyFile: {_yaml_scalar(key_file)}"]
    lines += (
        [f"webhookSecretFile: {_yaml_scalar(webhook_secret_file)}"]
        if webhook_secret_file
        else ["poll: true"]
    )
    return "\n".join([*lines, *(["checks: true"] if options.checks else [])]) + "\n"


def _yaml_scalar(text: str) -> str:
    """Return a YAML scalar.

    It is plain if that means the text itself, else in double quotes, as JSON has them.
    """
    return text if re.fullmatch(r"/[\w./-]*", text) else json.dumps(text)


def _unexpected_answer(reason: str) -> UserError:
    """Return the error for a response that is no App's registration."""
    hint = (
        "the App may be there: its settings page makes a new private key, "
        "and takes a webhook secret of your own"
    )
    return UserError(f"the forge's answer is not an App registration: {reason}", hint=hint)
