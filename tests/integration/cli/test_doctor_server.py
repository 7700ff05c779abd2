"""``fyre doctor --server``: each part of a receiver, broken on purpose, is found with its fix."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.apps import config as configs
from fyre.apps.kubernetes_runtime import RelayServer
from fyre.apps.serve import FyreServe
from fyre.cli.main import main
from fyre.github import app_manifest
from tests.conftest import git
from tests.support import apps
from tests.support.forge_troubles import Front
from tests.support.local_forge import Served, served
from tests.support.waiting import until

NAME = "ada/lab"


@dataclass
class World:
    """A forge and a ``fyre serve`` for which all is well, told what is in ``env``."""

    front: Front
    forge: Served
    env: dict[str, str]

    def as_app(self) -> dict[str, str]:
        """The same as a GitHub App, whose webhook is good."""
        github = self.front.github
        github.installed, github.hook = {"ada": 11}, f"{self.env['FYRE_URL']}/webhook"
        github.deliveries = [{"status_code": 202, "status": "OK"}]
        key = {
            "FYRE_APP_ID": str(apps.APP_ID),
            "FYRE_APP_PRIVATE_KEY": apps.pem(apps.private_key()),
        }
        return {**{key: value for key, value in self.env.items() if key != "FYRE_TOKEN"}, **key}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root, fronts = tmp_path_factory.mktemp("world"), []

    def front(app: Any, forge: Any) -> Front:
        fronts.append(Front(app, forge))
        return fronts[0]

    with served(root / "forge", front=front) as forge:
        door = socket.create_server(("127.0.0.1", 0))
        env = {
            "FYRE_URL": f"http://127.0.0.1:{door.getsockname()[1]}",
            "FYRE_STATE": str(root / "state"), "FYRE_FORGE": forge.base,
            "FYRE_API": f"{forge.base}/api", "FYRE_TOKEN": forge.forge.service_token,
            "FYRE_WEBHOOK_SECRET": forge.forge.webhook_secret,
        }  # fmt: skip
        serve = FyreServe(configs.load_config(None, env, {}), door)
        thread = threading.Thread(target=serve.serve)
        thread.start()
        forge.forge.start(f"{serve.listen_url}/webhook")
        until(
            lambda: requests.get(f"{serve.listen_url}/readyz").status_code == 200
        )  # the first sweep is over
        yield World(fronts[0], forge, env)
        serve.stop()
        thread.join(30)


@pytest.fixture
def push(world: World, repo: Path) -> Callable[[], None]:
    """Pushes something, once its webhook has had its answer."""
    git("remote", "add", "origin", f"{world.forge.base}/{NAME}.git", cwd=repo)
    git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)

    def push() -> None:
        before = delivered()
        git("commit", "-q", "--allow-empty", "-m", f"At {time.monotonic()}", cwd=repo)
        git("push", "-q", "-f", "origin", "main", cwd=repo)
        until(lambda: delivered() != before)

    def delivered() -> list[Any]:
        found = world.forge.forge.database.fetch_rows(
            "select id, status_code from deliveries order by id desc limit 1"
        )
        return [tuple(one) for one in found]

    return push


@pytest.fixture
def found(
    world: World,
    push: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, str]]:
    """What is to be mended, and how; variables may be set otherwise."""
    if world.forge.forge.repositories.find_repo(NAME) is None:
        push()

    def ask(env: dict[str, str] | None = None, **said: str) -> dict[str, str]:
        for key, value in {**(env or world.env), **said}.items():
            monkeypatch.setenv(key, value)
        capsys.readouterr()
        code = main(["doctor", "--server", "--json"])
        shown = capsys.readouterr().out
        assert not [
            one
            for one in (world.env["FYRE_TOKEN"], world.env["FYRE_WEBHOOK_SECRET"])
            if one in shown
        ]
        bad = {one["what"]: one["fix"] for one in json.loads(shown) if not one["well"]}
        assert code == bool(bad)
        return bad

    return ask


Found = Callable[..., dict[str, str]]


def refused(code: int, method: str = "", part: str = "") -> Callable[[Any], Any]:
    told = code, {"message": "Resource not accessible by personal access token"}
    return lambda asked: (
        told if method in asked.method and part in asked.path and not asked.git else None
    )


def test_all_is_well(world: World, found: Found) -> None:
    assert found() == {}


def test_all_is_well_with_an_app(world: World, found: Found) -> None:
    assert found(world.as_app()) == {}


def test_a_configuration_or_a_policy_that_can_not_be_taken(
    world: World, found: Found, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("runsPerPush: many\n")
    ((what, fix),) = found(FYRE_POLICY=str(tmp_path / "policy.yaml")).items()
    assert f"{tmp_path}/policy.yaml line 1: 'runsPerPush: many': runsPerPush" in what
    assert fix
    ((what, fix),) = found(FYRE_POLICY="", FYRE_SWEEP_EVERY="often").items()
    assert what.startswith("FYRE_SWEEP_EVERY: sweepEvery: 'often'")


def test_a_token_that_is_wrong(world: World, found: Found) -> None:
    with world.front.trouble(refused(401)):
        ((what, fix),) = (
            (what, fix) for what, fix in found().items() if "the forge does not let us look" in what
        )
    assert "HTTP 401" in what
    assert fix == "check the token and its permissions"


@pytest.mark.parametrize("code", [403, 404])
def test_a_token_that_may_write_no_statuses(world: World, found: Found, code: int) -> None:
    with world.front.trouble(refused(code, "POST", "/statuses/")):
        ((what, fix),) = found().items()
    assert what == f"we may not write commit statuses in {NAME}"
    assert "ermission" in fix or "Commit statuses: write" in fix


def test_9_a5_a_token_that_may_not_reply_in_a_pull_request(world: World, found: Found) -> None:
    with world.front.trouble(refused(403, "POST", "/issues/")):
        ((what, fix),) = found().items()
    assert what == f"we may not reply to commands in pull requests of {NAME}"
    assert "`Pull requests: write` and `Issues: read`" in fix


def test_9_b19_a_check_of_ours_that_a_merge_queue_would_wait_for(
    world: World, found: Found
) -> None:
    check = {"context": "fyre/run"}
    rules = [
        {"type": "merge_queue", "parameters": {}},
        {"type": "required_status_checks", "parameters": {"required_status_checks": [check]}},
    ]
    with world.front.trouble(
        lambda asked: (200, rules) if "/rules/branches/main" in asked.path else None
    ):
        ((what, fix),) = found().items()
        assert "has a merge queue: nothing is posted on a merge queue's own branches" in what
        assert fix == "take fyre/run out of the required checks"
        check["context"] = "ci"
        assert found() == {}


def test_a_token_that_may_read_no_contents(world: World, found: Found) -> None:
    with world.front.trouble(refused(403, "GET", "/commits/main")):
        assert [*found()] == [f"we may not read the contents of {NAME}"]


def test_a_forge_that_is_away(found: Found) -> None:
    assert "can't be reached" in "".join(found(FYRE_API="http://127.0.0.1:9"))


def test_a_webhook_that_leads_elsewhere_and_a_receiver_that_is_not_there(found: Found) -> None:
    missing, away = found(FYRE_URL="http://127.0.0.1:9").items()
    assert missing[0] == f"{NAME} has no webhook that leads to http://127.0.0.1:9/webhook"
    assert "poll: true" in missing[1]
    assert away[0] == "no receiver answers at http://127.0.0.1:9"


class Ingress(BaseHTTPRequestHandler):
    """As the chart's: only the webhook's endpoint is open, not the cluster's own pages."""

    behind = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._say(
            requests.post(self.behind + self.path, data=body).status_code
            if self.path == "/webhook"
            else 404
        )

    def do_GET(self) -> None:
        self._say(404)

    def _say(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("poll", ["", "true"])
def test_an_address_that_shows_only_what_must_be_reached_from_outside(
    world: World, found: Found, poll: str
) -> None:
    env = world.as_app()
    Ingress.behind = env["FYRE_URL"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Ingress) as ingress:
        thread = threading.Thread(target=ingress.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{ingress.server_address[1]}"
        world.front.github.hook = f"{url}/webhook"
        said = found(env, FYRE_URL=url, FYRE_POLL=poll)
        ingress.shutdown()
        thread.join()
    assert said == {}


def test_webhooks_that_are_refused_for_their_secret(
    world: World, push: Callable[[], None], found: Found
) -> None:
    outbox = world.forge.forge.outbox
    good, outbox.webhook_secret = outbox.webhook_secret, b"another"
    try:
        push()
        ((what, fix),) = found().items()
    finally:
        outbox.webhook_secret = good
        push()
    assert what.startswith(f"the newest webhook of {NAME} failed: 401")
    assert "webhookSecretFile" in fix


def test_a_policy_that_serves_nobody(found: Found, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("repositories: [acme/*]\n")
    assert [*found(FYRE_POLICY=str(tmp_path / "policy.yaml"))] == [
        "we see no repository that the policy serves"
    ]


def test_a_clock_that_is_off(world: World, found: Found) -> None:
    date = {"Date": formatdate(time.time() - 400, usegmt=True)}
    with world.front.trouble(lambda asked: (200, "", date) if asked.method == "HEAD" else None):
        ((what, fix),) = found().items()
    assert what.endswith(" s ahead of the forge's")
    assert fix.startswith("set the clock")


def test_an_app_without_a_permission_an_event_its_webhook_or_its_key(
    world: World, found: Found
) -> None:
    env, github = world.as_app(), world.front.github
    github.permissions = {**app_manifest.BASE_PERMISSIONS, "statuses": "read"}
    github.events = tuple(one for one in app_manifest.BASE_EVENTS if one != "push")
    github.hook, github.deliveries = (
        "https://elsewhere/webhook",
        [{"status_code": 0, "status": "timed out"}],
    )
    own_url = f"{env['FYRE_URL']}/webhook"
    assert [*found(env)] == [
        "the App has statuses: read, and needs write",
        "the App does not hear of push",
        f"the App's webhook leads to https://elsewhere/webhook, and not to {own_url}",
        "the newest webhook of the App failed: no answer timed out",
    ]
    other = apps.pem(apps.private_key(1))
    ((what, fix),) = found(env, FYRE_APP_PRIVATE_KEY=other).items()
    assert "the forge does not let us look: the App: HTTP 401" in what
    assert "private key is not revoked" in fix


def test_an_app_without_what_check_runs_and_teams_take(
    world: World, found: Found, tmp_path: Path
) -> None:
    env, github = world.as_app(), world.front.github
    github.permissions, github.events = (
        dict(app_manifest.BASE_PERMISSIONS),
        app_manifest.BASE_EVENTS,
    )
    (tmp_path / "policy.yaml").write_text("overrides: {other/*: {teams: [other/ml]}}\n")
    assert [*found(env, FYRE_CHECKS="true", FYRE_POLICY=str(tmp_path / "policy.yaml"))] == [
        "the App has checks: none, and needs write",
        "the App has members: none, and needs read",
        "the App does not hear of check_run",
        "the App does not hear of pull_request",
    ]


def test_a_relay_and_a_cluster_that_are_not_there(found: Found, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("profiles: {default: {image: busybox}}\n")
    on = {
        "FYRE_ENGINE": "kubernetes",
        "FYRE_POLICY": f"{tmp_path}/policy.yaml",
        "FYRE_KUBECONFIG": f"{tmp_path}/none",
    }
    relay, cluster = found(**on, FYRE_RELAY="127.0.0.1:9").items()
    assert relay[0] == "the relay at http://127.0.0.1:9 can't be reached"
    assert "relayUrl" in relay[1]
    assert cluster[0].startswith("no cluster")
    there = RelayServer("127.0.0.1:0", b"secret", lambda _: None)
    there.start()
    try:
        assert [
            what.split()[0] for what in found(**on, FYRE_RELAY=there.url.removeprefix("http://"))
        ] == ["no"]
    finally:
        there.stop()
