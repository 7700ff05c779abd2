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

PERMISSIONS = {
    "contents": "read",  # commits, pushes, activity; also to answer on a commit, which GitHub does not count as writing
    "metadata": "read",
    "statuses": "write",
    "pull_requests": "write",  # to answer in a pull request
    "issues": "read",  # a pull request's conversation is an issue's: GitHub tells of its comments by this right
}
"""What a receiver takes, as the manifest has it."""

EVENTS = ("push", "commit_comment", "issue_comment")
"""What a receiver hears of."""

NAME_MAX = 34
"""Characters of an App's name; GitHub refuses more."""

_GITHUB = ("github.com", "https://github.com")


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of App is to be."""

    host: str = "https://github.com"
    org: str = ""  # whose it will be; "" for the person who registers it
    url: str = ""  # of the receiver; "" where no webhook reaches it
    name: str = "fyre"
    checks: bool = False
    teams: bool = False  # whether the policy names teams


@dataclass(frozen=True, slots=True)
class App:
    """What the forge answered: kept secret but for the first three."""

    id: int
    slug: str
    page: str
    key: str = field(repr=False)
    webhook_secret: str = field(repr=False)  # "" where the App has no webhook


def host(text: str) -> str:
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
        raise UserError(f"--host {text!r} is no forge's address", hint=hint, code=2)
    if "@" in parts.netloc or not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc):
        raise UserError(
            f"--host {text!r} is no forge's address", hint="host, and port if any", code=2
        )
    return f"{parts.scheme}://{parts.netloc}"


def wish(host_: str, org: str, url: str, name: str, *, checks: bool, teams: bool) -> Wish:
    """What was said, checked. Raises ``UserError``."""
    if url and not re.fullmatch(r"https?://[^\s/?#@]+/?", url):  # as the receiver takes its own
        hint = "as the forge reaches it: --url https://fyre.example.org"
        raise UserError(f"--url {url!r} is no address of a receiver", hint=hint, code=2)
    if org and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,99})", org):
        raise UserError(
            f"--org {org!r} is no organisation", hint="its name in the address of its page", code=2
        )
    name = name or (f"fyre {org}"[:NAME_MAX].strip() if org else "fyre")
    if len(name) > NAME_MAX:
        raise UserError(
            f"--name has {len(name)} characters, at most {NAME_MAX}", hint="a shorter one", code=2
        )
    return Wish(host(host_), org, url.rstrip("/"), name, checks, teams)


def permissions(*, checks: bool, teams: bool) -> dict[str, str]:
    """What an App takes for check runs, and for a policy that names teams, besides ``PERMISSIONS``."""
    return (
        PERMISSIONS
        | ({"checks": "write"} if checks else {})
        | ({"members": "read"} if teams else {})
    )


def events(*, checks: bool) -> tuple[str, ...]:
    """What it hears of: a click on Re-run as well, where there are check runs."""
    return (*EVENTS, "check_run") if checks else EVENTS


def manifest(wanted: Wish, redirect_url: str) -> dict[str, Any]:
    """What the App will be: exactly what a receiver needs, for its owner's eyes alone."""
    return {
        "name": wanted.name,
        "url": wanted.url or wanted.host,
        "hook_attributes": {
            "url": f"{wanted.url or wanted.host}/webhook",
            "active": bool(wanted.url),
        },
        "redirect_url": redirect_url,
        "public": False,
        "default_permissions": permissions(checks=wanted.checks, teams=wanted.teams),
        "default_events": [*events(checks=wanted.checks)] if wanted.url else [],
        "description": "Runs what commits ask for, and says on them how it ended.",
    }


def form_address(wanted: Wish, state: str) -> str:
    """Where the browser sends the manifest."""
    place = f"/organizations/{wanted.org}" if wanted.org else ""
    return f"{wanted.host}{place}/settings/apps/new?state={quote(state, safe='')}"


def code_of(answer: str, state: str) -> str | None:
    """The code in what somebody pasted: the address that the browser came back to, or the code itself.

    None where the address bears another state: it is not the answer to this question.
    """
    answer = answer.strip()
    if "?" not in answer:
        return answer or None
    found = parse_qs(urlsplit(answer).query)
    (code,), (given,) = (found.get(name, [""])[:1] for name in ("code", "state"))
    return code if code and hmac.compare_digest(given.encode(), state.encode()) else None


def read(answer: object) -> App:
    """What the exchange answered. Raises ``UserError`` where that is no App's registration; nothing of it is shown."""
    if not isinstance(answer, dict):
        raise _senseless("it is no object")
    for name, kind in (("id", int), ("slug", str), ("html_url", str), ("pem", str)):
        if not isinstance(answer.get(name), kind):
            raise _senseless(f"it has no {name}")
    if "PRIVATE KEY" not in answer["pem"]:
        raise _senseless("its pem is no private key")
    secret = answer.get("webhook_secret")
    return App(
        answer["id"],
        answer["slug"],
        answer["html_url"],
        answer["pem"],
        secret if isinstance(secret, str) else "",
    )


def lines(wanted: Wish, app: App, key: str, webhook_secret: str) -> str:
    """The lines for the configuration of ``fyre serve``, which name the files and hold no secret."""
    told = [f"forge: {wanted.host}"] if wanted.host != _GITHUB[1] else []
    told += [f"url: {wanted.url}"] if wanted.url else []
    told += [f"appId: {app.id}", f"appPrivateKeyFile: {_quoted(key)}"]
    told += [f"webhookSecretFile: {_quoted(webhook_secret)}"] if webhook_secret else ["poll: true"]
    return "\n".join([*told, *(["checks: true"] if wanted.checks else [])]) + "\n"


def _quoted(text: str) -> str:
    """A YAML scalar: plain where that means the text itself, else in double quotes, as JSON has them."""
    return text if re.fullmatch(r"/[\w./-]*", text) else json.dumps(text)


def _senseless(why: str) -> UserError:
    hint = "the App may be there: its settings page makes a new private key, and takes a webhook secret of your own"
    return UserError(f"the forge's answer is no App's registration: {why}", hint=hint)
