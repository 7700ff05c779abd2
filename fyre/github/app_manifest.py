"""GitHub's App manifest flow, without its requests: what is asked for, where, and what the answer means. Pure.

GitHub's facts: the manifest is POSTed by the person's browser, as the field ``manifest`` of a form; the browser comes
back to ``redirect_url`` with ``code`` and ``state``; within the hour the code is exchanged, once, for the App's id, key
and webhook secret. Whether a request takes a permission is in the lists that GitHub's documentation is made of.
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
    "contents": "read",  # commits, pushes, activity; also to answer on a commit, which GitHub does not count as writing
    "metadata": "read",
    "statuses": "write",
    "pull_requests": "write",  # to answer in a pull request
    "issues": "read",  # a pull request's conversation is an issue's: GitHub tells of its comments by this right
}
"""What a receiver takes, as the manifest has it."""

BASE_EVENTS = ("push", "commit_comment", "issue_comment")
"""What a receiver hears of."""

APP_NAME_MAX = 34
"""Characters of an App's name; GitHub refuses more."""

_GITHUB = ("github.com", "https://github.com")


@dataclass(frozen=True, slots=True)
class AppOptions:
    """What kind of App is to be."""

    host: str = "https://github.com"
    org: str = ""  # whose it will be; "" for the person who registers it
    receiver_url: str = ""  # of the receiver; "" where no webhook reaches it
    name: str = "fyre"
    checks: bool = False
    teams: bool = False  # whether the policy names teams


@dataclass(frozen=True, slots=True)
class CreatedApp:
    """What the forge answered: kept secret but for the first three."""

    id: int
    slug: str
    html_url: str
    private_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)  # "" where the App has no webhook


def parse_host(text: str) -> str:
    """The forge's address as one of ours: ``github.com``, or the base URL of an Enterprise Server.

    Raises ``UserError`` for what is none, and for one to which a key would come unencrypted.
    """
    if text.lower().rstrip("/") in _GITHUB:
        return _GITHUB[1]
    parts = urlsplit(text if "://" in text else f"https://{text}")
    plain = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if (
        not (parts.scheme == "https" or plain)
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
    ):
        hint = "--host github.com, or https://github.example.org of an Enterprise Server"
        raise UserError(f"--host {text!r} is no forge's address", hint=hint, exit_code=2)
    if "@" in parts.netloc or not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc):
        raise UserError(
            f"--host {text!r} is no forge's address", hint="host, and port if any", exit_code=2
        )
    return f"{parts.scheme}://{parts.netloc}"


def parse_options(
    host_text: str, org: str, url: str, name: str, *, checks: bool, teams: bool
) -> AppOptions:
    """What was said, checked. Raises ``UserError``."""
    if url and not re.fullmatch(r"https?://[^\s/?#@]+/?", url):  # as the receiver takes its own
        hint = "as the forge reaches it: --url https://fyre.example.org"
        raise UserError(f"--url {url!r} is no address of a receiver", hint=hint, exit_code=2)
    if org and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,99})", org):
        raise UserError(
            f"--org {org!r} is no organisation",
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
    """What an App takes for check runs, and for a policy that names teams, besides ``PERMISSIONS``."""
    return (
        BASE_PERMISSIONS
        | ({"checks": "write"} if checks else {})
        | ({"members": "read"} if teams else {})
    )


def app_events(*, checks: bool) -> tuple[str, ...]:
    """What it hears of: a click on Re-run as well, where there are check runs."""
    return (*BASE_EVENTS, "check_run") if checks else BASE_EVENTS


def build_manifest(options: AppOptions, redirect_url: str) -> dict[str, Any]:
    """What the App will be: exactly what a receiver needs, for its owner's eyes alone."""
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
    """Where the browser sends the manifest."""
    place = f"/organizations/{options.org}" if options.org else ""
    return f"{options.host}{place}/settings/apps/new?state={quote(state, safe='')}"


def extract_code(answer: str, state: str) -> str | None:
    """The code in what somebody pasted: the address that the browser came back to, or the code itself.

    None where the address bears another state: it is not the answer to this question.
    """
    answer = answer.strip()
    if "?" not in answer:
        return answer or None
    found = parse_qs(urlsplit(answer).query)
    (code,), (given,) = (found.get(name, [""])[:1] for name in ("code", "state"))
    return code if code and hmac.compare_digest(given.encode(), state.encode()) else None


def parse_created_app(answer: object) -> CreatedApp:
    """What the exchange answered. Raises ``UserError`` where that is no App's registration; nothing of it is shown."""
    if not isinstance(answer, dict):
        raise _unexpected_answer("it is no object")
    for name, kind in (("id", int), ("slug", str), ("html_url", str), ("pem", str)):
        if not isinstance(answer.get(name), kind):
            raise _unexpected_answer(f"it has no {name}")
    if "PRIVATE KEY" not in answer["pem"]:
        raise _unexpected_answer("its pem is no private key")
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
    """The lines for the configuration of ``fyre serve``, which name the files and hold no secret."""
    told = [f"forge: {options.host}"] if options.host != _GITHUB[1] else []
    told += [f"url: {options.receiver_url}"] if options.receiver_url else []
    told += [f"appId: {app.id}", f"appPrivateKeyFile: {_yaml_scalar(key_file)}"]
    told += (
        [f"webhookSecretFile: {_yaml_scalar(webhook_secret_file)}"]
        if webhook_secret_file
        else ["poll: true"]
    )
    return "\n".join([*told, *(["checks: true"] if options.checks else [])]) + "\n"


def _yaml_scalar(text: str) -> str:
    """A YAML scalar: plain where that means the text itself, else in double quotes, as JSON has them."""
    return text if re.fullmatch(r"/[\w./-]*", text) else json.dumps(text)


def _unexpected_answer(why: str) -> UserError:
    hint = "the App may be there: its settings page makes a new private key, and takes a webhook secret of your own"
    return UserError(f"the forge's answer is no App's registration: {why}", hint=hint)
