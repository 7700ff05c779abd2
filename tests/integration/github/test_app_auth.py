"""A GitHub App against a small real server that checks the JWT's signature and hands out
installation tokens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fyre.errors import TransientError
from fyre.github.app_auth import GitHubApp, GitHubAppClient, create_app_auth
from fyre.github.errors import DeniedError
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository
from tests.support import apps
from tests.support.apps import APP_ID, HOUR, GitHub, pem, private_key
from tests.support.waiting import until


@pytest.fixture
def github() -> Iterator[GitHub]:
    with apps.github() as found:
        yield found


@dataclass
class Clock:
    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


def app(github: GitHub, clock: Any = time.time, key: Any = None) -> GitHubApp:
    return GitHubApp(github.url, APP_ID, lambda: pem(key or private_key()), clock)


def at(github: GitHub, name: str) -> Repository:
    return Repository(github.url, 1, name)


def test_each_account_is_served_with_a_token_of_its_own_whatever_its_length(github: GitHub) -> None:
    forge = GitHubAppClient(app(github))
    assert [one.name for one in forge.list_repositories()] == ["acme/a", "acme/b", "Ada/lab"]
    for name in ("acme/a", "acme/b", "Ada/lab", "acme/a"):
        forge.create_status(
            at(github, name), "a" * 40, CommitStatus("fyre/run", "success", "exit 0")
        )
    assert [one["installation"] for one in github.minted] == [11, 22]
    assert forge.own_login() == "fyre-acme[bot]"
    assert forge.remaining_requests() is None


def test_a_repository_finds_its_installation_by_itself(github: GitHub) -> None:
    GitHubAppClient(app(github)).create_status(
        at(github, "acme/a"), "a" * 40, CommitStatus("fyre/run", "success", "exit 0")
    )
    assert github.seen == [
        "GET /repos/acme/a/installation",
        "POST /app/installations/11/access_tokens",
        f"POST /repos/acme/a/statuses/{'a' * 40}",
    ]


@pytest.mark.parametrize("skew", [0.0, 1200.0])
def test_a_token_is_renewed_before_it_expires_and_a_connection_takes_the_new_one(
    github: GitHub, skew: float
) -> None:
    clock = Clock()
    github.skew = skew  # our clock is behind: the token seems to live longer than it does
    ours = app(github, clock)
    forge = GitHubAppClient(ours)
    first = ours.installation_token("acme/a")
    forge.create_status(
        at(github, "acme/a"), "a" * 40, CommitStatus("fyre/run", "pending", "queued")
    )
    clock.now += HOUR - 400
    github.skew += HOUR - 400
    assert ours.installation_token("acme/a") == first
    clock.now += 150
    second = ours.installation_token("acme/a")
    assert second != first
    del github.tokens[first]
    forge.create_status(
        at(github, "acme/a"), "a" * 40, CommitStatus("fyre/run", "success", "exit 0")
    )
    assert len(github.minted) == 2


def test_git_gets_a_token_of_its_own(github: GitHub) -> None:
    ours = app(github)
    assert ours.installation_token("acme/a", for_clone=True) != ours.installation_token("acme/a")
    assert ours.installation_token("acme/b", for_clone=True) == ours.installation_token(
        "acme/a", for_clone=True
    )


def test_an_uninstalled_app_is_denied_in_words_and_found_again_once_it_is_installed_anew(
    github: GitHub,
) -> None:
    ours = app(github)
    forge = GitHubAppClient(ours)
    forge.list_repositories()
    del github.installed["acme"]
    assert [one.name for one in forge.list_repositories()] == ["Ada/lab"]
    with pytest.raises(DeniedError, match="the App is not installed on acme/a") as caught:
        forge.create_status(
            at(github, "acme/a"), "a" * 40, CommitStatus("fyre/run", "success", "exit 0")
        )
    assert "installs the App" in caught.value.hint
    github.installed["acme"] = 33
    forge.create_status(
        at(github, "acme/a"), "a" * 40, CommitStatus("fyre/run", "success", "exit 0")
    )
    assert github.minted[-1] == {"installation": 33}


def test_an_installation_that_was_replaced_unseen_is_looked_up_again(github: GitHub) -> None:
    clock = Clock()
    ours = app(github, clock)
    ours.installation_token("acme/a")
    github.installed["acme"] = 33
    clock.now += HOUR
    assert github.tokens[ours.installation_token("acme/a")] == "acme"


def test_a_suspended_installation_is_left_out_and_the_others_go_on(github: GitHub) -> None:
    github.suspended = {"acme"}
    ours = app(github)
    assert [one.name for one in GitHubAppClient(ours).list_repositories()] == ["Ada/lab"]
    with pytest.raises(DeniedError, match="suspended"):
        ours.installation_token("acme/a")


def test_an_installation_that_met_its_limit_is_left_out_and_the_others_go_on(
    github: GitHub,
) -> None:
    github.limited = {"acme"}
    forge = GitHubAppClient(app(github))
    assert [one.name for one in forge.list_repositories()] == ["Ada/lab"]
    github.limited = set()
    assert [one.name for one in forge.list_repositories()] == ["acme/a", "acme/b", "Ada/lab"]


@pytest.mark.parametrize("account", [None, {"slug": "acme", "name": "Acme"}])
def test_an_installation_on_an_enterprise_or_on_nobody_is_left_out_and_the_others_go_on(
    github: GitHub, account: object
) -> None:
    github.odd = {"acme": account}
    assert [one.name for one in GitHubAppClient(app(github)).list_repositories()] == ["Ada/lab"]


def test_a_key_that_github_does_not_know_is_denied_with_what_to_look_at(github: GitHub) -> None:
    with pytest.raises(DeniedError, match="HTTP 401") as caught:
        app(github, key=private_key(1)).bot_login()
    assert f"check that {APP_ID} is the App's id" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        pem(ec.generate_private_key(ec.SECP256R1())),
        "-----BEGIN RSA PRIVATE KEY-----\n",
    ],
)
def test_a_key_that_is_none_is_said_to_be_none_and_not_shown(text: str) -> None:
    with pytest.raises(DeniedError, match="is not an RSA private key") as caught:
        create_app_auth(APP_ID, text)
    assert not text or text not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_a_forge_that_is_away_is_tried_again() -> None:
    away = GitHubApp("http://127.0.0.1:9", APP_ID, lambda: pem(private_key()))
    with pytest.raises(TransientError):
        away.installation_token("acme/a")
    with pytest.raises(TransientError):
        GitHubAppClient(away).remaining_requests()


def test_one_signature_serves_for_minutes_and_a_rotated_key_holds_at_once(github: GitHub) -> None:
    clock, keys = Clock(), [pem(private_key())]
    ours = GitHubApp(github.url, APP_ID, lambda: keys[0], clock)
    first = ours._current_app_auth().token
    clock.now += 200
    assert ours._current_app_auth().token == first
    keys[0] = pem(private_key(1))
    second = ours._current_app_auth().token
    assert second != first
    clock.now += 300
    third = ours._current_app_auth()
    assert ours._current_app_auth() is third
    keys[0] = pem(private_key())
    assert ours._current_app_auth() is not third


@pytest.mark.parametrize("code", [401, 403])
def test_9_13_a_token_that_is_refused_is_renewed_once_at_once(github: GitHub, code: int) -> None:
    ours = app(github)
    forge = GitHubAppClient(ours)
    status = CommitStatus("fyre/run", "success", "exit 0")
    forge.create_status(at(github, "acme/a"), "a" * 40, status)
    old = ours.installation_token("acme/a")
    github.refused[old] = code
    forge.create_status(at(github, "acme/a"), "b" * 40, status)
    assert ours.installation_token("acme/a") != old
    assert [one["installation"] for one in github.minted] == [11, 11]
    github.refused[ours.installation_token("acme/a")] = code  # the right is missing
    for _ in range(3):
        with pytest.raises(DeniedError):
            forge.create_status(at(github, "acme/a"), "c" * 40, status)
    assert len(github.minted) == 2
    clone_token = ours.installation_token("acme/a", for_clone=True)
    assert ours.renew_token("acme/a", clone_token, for_clone=True)
    assert ours.installation_token("acme/a", for_clone=True) != clone_token
    github.refused.clear()
    github.limited.add("acme")  # a rate limit is no refusal
    with pytest.raises(TransientError):
        forge.create_status(at(github, "acme/b"), "d" * 40, status)
    assert len(github.minted) == 4  # two of them for git


def test_9_12_nobody_waits_for_the_token_of_another_account(github: GitHub) -> None:
    ours = app(github)
    ours.installation_token("acme/a")
    ours._tokens.clear()
    with github.holding(11) as waiting:
        thread = threading.Thread(target=ours.installation_token, args=("acme/a",))
        thread.start()
        until(waiting.is_set)
        assert ours.installation_token("Ada/lab")
    thread.join()
