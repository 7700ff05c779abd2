"""Open pull requests, comment on them, and wait for Fyre's replies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from tests.support.person import NAME, Person
from tests.support.waiting import LONGEST_PAUSE

ADA = "user:ada"


def until(true: Callable[[], Any], shown: Callable[[], Any] = lambda: "") -> None:
    deadline, pause = time.monotonic() + 30, 0.01
    while not true():
        assert time.monotonic() < deadline, shown()
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)


def opened(person: Person, head: str) -> int:
    return int(person.api("/pulls", title="Faster", head=head, base="main")["number"])


def say(person: Person, pull: int, body: str, token: str = ADA) -> int:
    return int(person.api(f"/issues/{pull}/comments", body=body, token=token)["id"])


def talk(person: Person, pull: int) -> list[str]:
    """Return the comments on a pull request, as people see them."""
    said = person.api(f"/issues/{pull}/comments?per_page=100")
    return [one["body"].partition("\n\n<!-- fyre: ")[0] for one in said]


def answer(person: Person, pull: int, body: str, token: str = ADA) -> str:
    """Comment, wait for the reply, and return it."""
    before = len(talk(person, pull))
    say(person, pull, body, token)
    until(lambda: len(talk(person, pull)) > before + 1, lambda: talk(person, pull))
    return talk(person, pull)[-1]


def redeliver(person: Person) -> None:
    """Redeliver every delivery of the webhook."""
    hook = person.api("/hooks")[0]["id"]
    where = f"{person.up.url}/api/repos/{NAME}/hooks/{hook}/deliveries"
    for delivery in person.api(f"/hooks/{hook}/deliveries?per_page=100"):
        headers = {"Authorization": f"token {ADA}"}
        assert (
            requests.post(f"{where}/{delivery['id']}/attempts", headers=headers).status_code == 202
        )


def ran(person: Person, sha: str) -> list[str]:
    return [command for at, command in person.ran() if at == sha]
