"""A whole ``fyre serve``, with the local forge as its GitHub: its REST API, webhooks and git."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.apps import config as configs
from fyre.apps import log_format
from fyre.apps.serve import FyreServe
from fyre.controller.events import SweepEvent
from fyre.controller.push_processor import UNREADABLE_MAX
from fyre.engines.local import LocalEngine
from fyre.errors import UserError
from fyre.git.git_command import git_output as git_out
from fyre.git.mirror_store import MirrorStore
from fyre.github.webhook import PushEvent
from fyre.runs.run import ZERO_SHA, Run
from tests.conftest import git
from tests.support import apps
from tests.support.ci_marks import long_case
from tests.support.http_json import get_json
from tests.support.local_forge import Served as EmbeddedForge
from tests.support.local_forge import served
from tests.support.waiting import until

NAME = "ada/lab"


@dataclass
class GitHub:
    """The forge, and a person with a clone of a repository there."""

    forge: EmbeddedForge
    repo: Path

    def push(self, command: str, *trailers: str) -> str:
        message = "\n".join(["Work", "", f"Fyre-Run: {command}", *trailers])
        git("commit", "-q", "--allow-empty", "-m", message, cwd=self.repo)
        git("push", "-q", "origin", "main", cwd=self.repo)
        return git("rev-parse", "HEAD", cwd=self.repo)

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        url = f"{self.forge.base}/api/repos/{NAME}/commits/{sha}/statuses"
        found: list[dict[str, Any]] = get_json(url, "user:ada")
        return found[::-1]

    def final(self, sha: str) -> dict[str, Any]:
        return until(
            lambda: next((one for one in self.statuses(sha) if one["state"] != "pending"), None)
        )


@dataclass
class Running:
    """A server in a thread."""

    serve: FyreServe
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.serve.serve)
        self.thread.start()

    def get(self, path: str) -> requests.Response:
        return requests.get(self.serve.listen_url + path)

    def ready(self) -> None:
        until(lambda: self.get("/readyz").status_code == 200)

    def stop(self) -> None:
        self.serve.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def github(tmp_path: Path, repo: Path) -> Iterator[GitHub]:
    with served(tmp_path / "forge") as forge:
        git("remote", "add", "origin", f"{forge.base}/{NAME}.git", cwd=repo)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        yield GitHub(forge, repo)


def environment(github: GitHub, tmp_path: Path, **said: str) -> dict[str, str]:
    return {
        "FYRE_LISTEN": "127.0.0.1:0",
        "FYRE_URL": "https://fyre.example.org",
        "FYRE_STATE": str(tmp_path / "state"),
        "FYRE_FORGE": github.forge.base,
        "FYRE_API": f"{github.forge.base}/api",
        "FYRE_TOKEN": github.forge.forge.service_token,
        "FYRE_WEBHOOK_SECRET": github.forge.forge.webhook_secret,
        "FYRE_JOBS": "2",
        **said,
    }


@pytest.fixture
def start(github: GitHub, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a server with some variables set otherwise."""
    running: list[Running] = []

    def begin(**said: str) -> Running:
        one = Running(
            FyreServe(configs.load_config(None, environment(github, tmp_path, **said), {}))
        )
        running.append(one)
        return one

    yield begin
    for one in running:
        one.stop()


@long_case
def test_a_push_is_told_of_before_the_forge_has_it_everywhere(
    github: GitHub, start: Callable[..., Running]
) -> None:
    """As GitHub does at times, for some seconds: https://github.com/kubernetes/test-infra/issues/12276."""
    server = start()
    server.ready()
    receiver, before = server.serve.controller, git("rev-parse", "HEAD", cwd=github.repo)
    receiver.replication_delay = (
        60.0  # a busy machine may take longer to push than GitHub to tell its servers
    )
    for command in ("true", "exit 3"):
        git("commit", "-q", "--allow-empty", "-m", f"Work\n\nFyre-Run: {command}", cwd=github.repo)
    shas = tuple(git("rev-parse", "HEAD^", "HEAD", cwd=github.repo).split())
    repository = receiver.executor.forge.get_repository(NAME)
    receiver.enqueue_event(PushEvent(repository, "refs/heads/main", before, shas[1], "ada", shas))
    receiver.enqueue_event(PushEvent(repository, "refs/heads/new", ZERO_SHA, shas[1], "ada", ()))
    until(lambda: receiver.queue_length() == 2)
    git("push", "-q", "origin", "main", cwd=github.repo)  # the forge tells nobody
    assert [github.final(sha)["description"].partition(" ·")[0] for sha in shas] == [
        "exit 0",
        "exit 3",
    ]
    until(lambda: receiver.queue_length() == 0)


@long_case
def test_what_was_there_before_waits_for_a_tip_that_is_not_there_yet(
    github: GitHub, start: Callable[..., Running]
) -> None:
    """As for a merged branch: only its head tells that its commits are below that head."""
    server = start()
    server.ready()
    receiver, before = server.serve.controller, git("rev-parse", "HEAD", cwd=github.repo)
    receiver.replication_delay = (
        60.0  # a busy machine may take longer to push than GitHub to tell its servers
    )
    for message in ("Work\n\nFyre-Run: true", "Merge"):
        git("commit", "-q", "--allow-empty", "-m", message, cwd=github.repo)
    shas = tuple(git("rev-parse", "HEAD^", "HEAD", cwd=github.repo).split())
    git(
        "push", "-q", "origin", f"{shas[0]}:refs/heads/topic", cwd=github.repo
    )  # the forge tells nobody
    repository = receiver.executor.forge.get_repository(NAME)
    assert receiver.executor.commit_reader.branches_containing(repository, shas[0]) == [
        "refs/heads/topic"
    ]
    receiver.enqueue_event(PushEvent(repository, "refs/heads/main", before, shas[1], "ada", shas))
    until(lambda: len(receiver._retries) == 1)  # it was tried
    git("push", "-q", "origin", "main", cwd=github.repo)
    assert github.final(shas[0])["description"].partition(" ·")[0] == "exit 0"


@long_case
def test_a_push_that_is_gone_costs_a_few_fetches_and_not_one_for_each_of_its_commits(
    github: GitHub, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, fetched, fetch = start(FYRE_POLL="true"), list[str](), MirrorStore._fetch_refs
    server.ready()
    server.serve.controller.replication_delay = 0.0
    monkeypatch.setattr(
        MirrorStore, "_fetch_refs", lambda *words: (fetched.append(words[1].name), fetch(*words))
    )
    for _ in range(3 * UNREADABLE_MAX):
        git("commit", "-q", "--allow-empty", "-m", "Work\n\nFyre-Run: true", cwd=github.repo)
    gone = git("rev-parse", "HEAD", cwd=github.repo)
    git("push", "-q", "origin", "main", cwd=github.repo)
    git("push", "-q", "--force", "origin", f"main~{3 * UNREADABLE_MAX}:main", cwd=github.repo)
    server.serve.controller.enqueue_event(SweepEvent())
    assert "the forge no longer has it on any branch or tag" in github.final(gone)["description"]
    until(lambda: server.serve.controller.queue_length() == 0)
    assert len(fetched) <= UNREADABLE_MAX + 1


@long_case
def test_what_is_left_of_a_push_whose_tip_was_taken_back_runs(
    github: GitHub, start: Callable[..., Running]
) -> None:
    server = start(FYRE_POLL="true")
    server.ready()
    server.serve.controller.replication_delay = 0.0  # else the push waits for its tip first
    for command in ("true", "exit 3"):
        git("commit", "-q", "--allow-empty", "-m", f"Work\n\nFyre-Run: {command}", cwd=github.repo)
    git("push", "-q", "origin", "main", cwd=github.repo)
    git("push", "-q", "--force", "origin", "main^:main", cwd=github.repo)
    server.serve.controller.enqueue_event(SweepEvent())
    assert github.final(git("rev-parse", "main^", cwd=github.repo))["description"].startswith(
        "exit 0"
    )


def test_a_push_is_heard_by_webhook_run_and_reported(
    github: GitHub, start: Callable[..., Running]
) -> None:
    server = start()
    server.ready()
    github.forge.forge.start(f"{server.serve.listen_url}/webhook")
    sha = github.push('echo "hello from $FYRE_SHA"')
    status = github.final(sha)
    assert (status["state"], status["creator"]["login"]) == ("success", "fyre[bot]")
    page = status["target_url"].removeprefix("https://fyre.example.org")
    assert server.get(page + "/log").text == f"hello from {sha}\n"
    assert server.get(page).status_code == 200
    assert 'href="/"' not in server.get(page).text  # 9 A5: there is no list of all runs
    assert [
        server.get(path).status_code for path in ("/", "/runs.json", "/runs/x", "/api/user")
    ] == [404] * 4
    pins = lambda: list(server.serve.mirrors.list_pins())  # noqa: E731 - asked again and again
    until(lambda: not pins())
    figures = server.get("/metrics").text
    assert 'fyre_deliveries_total{code="202",event="push"} ' in figures
    assert 'fyre_runs{state="succeeded"} 1.0' in figures
    assert 'fyre_ready{check="forge"} 1.0' in figures
    assert "fyre_forge_requests_remaining " in figures
    assert "fyre_delivery_seconds_bucket" in figures


def test_what_runs_is_pinned_in_its_mirror_until_it_has_ended(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    server = start()
    github.forge.forge.start(f"{server.serve.listen_url}/webhook")
    gate = tmp_path / "gate"
    sha = github.push(f"until test -e {gate}; do sleep 0.02; done")
    ((_, key),) = until(lambda: list(server.serve.mirrors.list_pins()))
    record = until(lambda: server.serve.engine.get_record(key))  # the pin comes first
    mirror = server.serve.mirrors.mirror_dir(record.run.repository)
    assert git_out("--git-dir", str(mirror), "rev-parse", f"refs/fyre/{key}") == sha
    server.stop()
    gate.touch()
    server.serve.mirrors.ensure_commit(record.run.repository, sha, "neverlaunched")
    again = start()
    assert github.final(sha)["state"] == "success"
    until(lambda: not list(again.serve.mirrors.list_pins()))


@long_case
def test_what_is_held_is_pinned_until_it_was_released_and_has_ended(
    github: GitHub, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = LocalEngine.launch

    def hold(engine: LocalEngine, run: Run, **_: object) -> bool:
        return launch(engine, run, hold=True)

    server = start()
    github.forge.forge.start(f"{server.serve.listen_url}/webhook")
    with monkeypatch.context() as patched:
        patched.setattr(LocalEngine, "launch", hold)
        sha = github.push("true")
        until(lambda: github.statuses(sha))
    ((_, key),) = server.serve.mirrors.list_pins()
    assert 'fyre_runs{state="waiting"} 1.0' in server.get("/metrics").text
    server.stop()
    again = start()
    assert [pinned for _, pinned in again.serve.mirrors.list_pins()] == [key]
    assert again.serve.engine.release(key)
    assert github.final(sha)["state"] == "success"
    until(lambda: not list(again.serve.mirrors.list_pins()))


@long_case
def test_what_runs_is_fetched_again_where_the_disk_is_another_one(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    server = start()
    github.forge.forge.start(f"{server.serve.listen_url}/webhook")
    gate = tmp_path / "gate"
    sha = github.push(f"until test -e {gate}; do sleep 0.02; done")
    until(lambda: github.statuses(sha))
    held = list(server.serve.mirrors.list_pins())
    server.stop()
    shutil.rmtree(tmp_path / "state" / "mirrors")
    again = start()
    assert until(lambda: list(again.serve.mirrors.list_pins())) == held
    gate.touch()
    assert github.final(sha)["state"] == "success"
    until(lambda: not list(again.serve.mirrors.list_pins()))


def test_a_policy_asks_no_image_of_a_run_on_this_machine(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("refs: [main]\ntimeoutMax: 1h\n")
    sha = github.push("true")
    start(FYRE_POLL="true", FYRE_POLICY=str(policy))
    assert github.final(sha)["state"] == "success"


def test_what_was_pushed_while_nobody_listened_is_found_by_the_first_sweep(
    github: GitHub, start: Callable[..., Running]
) -> None:
    sha = github.push("true")
    server = start(FYRE_POLL="true")
    assert github.final(sha)["state"] == "success"
    server.ready()
    assert requests.post(server.serve.listen_url + "/webhook").status_code == 404


def test_a_delivery_with_a_wrong_secret_is_refused_and_the_sweep_finds_the_push(
    github: GitHub, start: Callable[..., Running]
) -> None:
    server = start(FYRE_WEBHOOK_SECRET="another")
    server.ready()
    for headers in (
        {},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature": "sha1=0"},
    ):
        answer = requests.post(
            server.serve.listen_url + "/webhook",
            b"{}",
            headers={"X-GitHub-Event": "push", **headers},
        )
        assert answer.status_code == 401
    assert 'fyre_deliveries_total{code="401",event="push"} 3.0' in server.get("/metrics").text
    server.stop()
    sha = github.push("true")
    start()
    assert github.final(sha)["state"] == "success"


def test_a_secret_may_be_replaced_while_both_are_taken(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("the next one\n")
    server = start(FYRE_WEBHOOK_SECRET="", FYRE_WEBHOOK_SECRET_FILE=str(path))
    server.ready()
    path.write_text(f"the next one\n{github.forge.forge.webhook_secret}\n")
    github.forge.forge.start(f"{server.serve.listen_url}/webhook")
    assert github.final(github.push("true"))["state"] == "success"


def test_it_is_not_ready_while_the_forge_is_away_and_says_why(tmp_path: Path) -> None:
    env = {
        "FYRE_LISTEN": "127.0.0.1:0",
        "FYRE_URL": "https://x",
        "FYRE_STATE": str(tmp_path / "state"),
    }
    env |= {"FYRE_FORGE": "http://127.0.0.1:9", "FYRE_TOKEN": "t", "FYRE_WEBHOOK_SECRET": "s"}
    server = Running(FyreServe(configs.load_config(None, env, {})))
    try:
        said = until(
            lambda: (one := server.get("/readyz").json())["forge"] != "not checked yet" and one
        )
        assert server.get("/readyz").status_code == 503
        assert "can't be reached" in said["forge"]
        assert said["sweep"] == "initial sweep not finished"
        assert server.get("/healthz").status_code == 200
        assert 'fyre_ready{check="sweep"} 0.0' in server.get("/metrics").text
    finally:
        server.stop()


def test_an_address_that_is_no_api_is_never_ready(
    github: GitHub, start: Callable[..., Running]
) -> None:
    server = start(FYRE_API=f"{github.forge.base}/nothing")
    said = until(
        lambda: (one := server.get("/readyz").json())["forge"] != "not checked yet" and one
    )
    assert said["sweep"] == "initial sweep not finished"


@pytest.fixture
def github_of_apps() -> Iterator[apps.GitHub]:
    with apps.github() as found:
        yield found


@pytest.fixture
def as_app(github_of_apps: apps.GitHub, tmp_path: Path) -> Callable[[], FyreServe]:
    """A server that is a GitHub App."""
    env = {
        "FYRE_LISTEN": "127.0.0.1:0",
        "FYRE_URL": "https://x",
        "FYRE_STATE": str(tmp_path / "state"),
    }
    env |= {"FYRE_FORGE": github_of_apps.url, "FYRE_API": github_of_apps.url, "FYRE_POLL": "yes"}
    env |= {"FYRE_APP_ID": str(apps.APP_ID), "FYRE_APP_PRIVATE_KEY": apps.pem(apps.private_key())}
    return lambda: FyreServe(configs.load_config(None, env, {}))


def test_as_an_app_it_sweeps_every_installation_and_is_ready(
    github_of_apps: apps.GitHub, as_app: Callable[[], FyreServe]
) -> None:
    server = Running(as_app())
    try:
        server.ready()
    finally:
        server.stop()
    asked = [one.partition("?")[0] for one in github_of_apps.seen if "activity" in one]
    assert asked == [f"GET /repos/{name}/activity" for name in ("acme/a", "acme/b", "Ada/lab")]


def test_it_stops_in_the_middle_of_a_long_sweep(
    github_of_apps: apps.GitHub, as_app: Callable[[], FyreServe]
) -> None:
    github_of_apps.repositories["acme"] = [f"r{n}" for n in range(5000)]
    server = Running(as_app())
    until(lambda: any("activity" in one for one in github_of_apps.seen))
    server.stop()
    assert sum("activity" in one for one in github_of_apps.seen) < 5000
    assert server.serve.controller.last_sweep_at == 0


def test_one_directory_is_one_servers(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    start()
    with pytest.raises(UserError, match="another fyre serve uses"):
        start()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be used: Not a directory"):
        start(FYRE_STATE=str(tmp_path / "file" / "x"))
    with pytest.raises(UserError, match="can't be had"):
        start(
            FYRE_STATE=str(tmp_path / "other"),
            FYRE_LISTEN=f"127.0.0.1:{github.forge.base.rpartition(':')[2]}",
        )


def test_pods_are_told_the_relays_public_address() -> None:
    from fyre.apps.kubernetes_runtime import RelayServer

    for url, told in (
        ("http://fyre-relay.fyre.svc:8021/", "http://fyre-relay.fyre.svc:8021"),
        ("", "http://127.0.0.1:"),
    ):
        relay = RelayServer("127.0.0.1:0", b"secret", lambda _: None, url=url)
        assert relay.url.startswith(told)
        relay.stop()


def test_a_relay_may_have_an_address_of_ipv6() -> None:
    from fyre.apps.kubernetes_runtime import RelayServer

    addresses = Path("/proc/net/if_inet6")
    if not addresses.exists() or f"{1:032}" not in addresses.read_text():
        pytest.skip("this machine has no IPv6")
    relay = RelayServer("[::1]:0", b"secret", lambda _: None)
    assert relay.url.startswith("http://[::1]:")
    relay.stop()


@long_case
def test_as_a_process_it_stops_when_told_with_code_0_and_logs_json(
    github: GitHub, tmp_path: Path
) -> None:
    env = {**os.environ, **environment(github, tmp_path, FYRE_LOG_FORMAT="")}
    env["FYRE_CONFIG"] = str(tmp_path / "fyre.yaml")
    (tmp_path / "fyre.yaml").write_text("logFormat: json\n")
    with subprocess.Popen(
        [sys.executable, "-m", "fyre", "serve"], env=env, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        lines = [server.stderr.readline() for _ in range(2)]
        url = next(line for line in lines if line.startswith("ready ")).split()[1]
        until(lambda: requests.get(url + "/readyz").status_code == 200)
        shown = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        server.send_signal(signal.SIGTERM)
        lines += server.stderr.read().splitlines()
        assert server.wait(30) == 0
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert [one["message"] for one in told if one["logger"] == "fyre.apps.serve"] == [
        "serving",
        "stopped",
    ]
    assert told[0]["engine"] == "local"
    for secret in (github.forge.forge.service_token, github.forge.forge.webhook_secret):
        assert secret not in "".join(lines)
        assert secret.encode() not in shown


def test_log_lines_are_one_line_each_with_their_facts_and_no_credential() -> None:
    token = "ghs_" + "a1B2" * 9
    for form in ("text", "json"):
        stream = io.StringIO()
        root, ours = logging.getLogger(), logging.getLogger("fyre")
        before = (root.handlers[:], root.level, ours.level)
        try:
            log_format.setup_logging(form, "info", stream)
            log = logging.getLogger("fyre.test")
            log.info(
                "heard\nERROR fyre: forged",
                extra={"sha": "abc", "why": f'a "b"\nc {token}', "n": 2},
            )
            log.debug("unsaid")
            try:
                int(token)
            except ValueError:
                log.exception("a bug", extra={"run": "k"})
        finally:
            root.handlers[:], level, own = before
            root.setLevel(level)
            ours.setLevel(own)
        lines = stream.getvalue().splitlines()
        assert token not in stream.getvalue()
        if form == "text":
            assert (
                lines[0]
                == 'INFO fyre.test: heard\\nERROR fyre: forged sha=abc why="a \\"b\\"\\nc ****" n=2'
            )
            assert lines[1] == "ERROR fyre.test: a bug run=k"
        else:
            first, second = map(json.loads, lines)
            assert (first["message"], first["why"], first["n"]) == (
                "heard\nERROR fyre: forged",
                'a "b"\nc ****',
                2,
            )
            assert second["exception"].endswith("base 10: '****'")
