"""Each trouble that GitHub can make, against a whole ``fyre serve``: one clear line, and nothing is lost.

In each story one run ends and another is pushed while the trouble lasts. Other repositories don't notice; when the
trouble ends, both runs have their final status, and each command ran once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre import config as configs
from fyre import ledger, pacing
from fyre.pacing import Ceilings, Pace
from fyre.receiver import later
from fyre.receiver.reconcile import Sweep
from fyre.serving import Serve
from tests import apps
from tests.conftest import git
from tests.embedded.conftest import served, until
from tests.receiver.troubled import Asked, Front, Said

_numbers = count()
PAUSES = ledger.MENDED
FAST = Ceilings(0.0, ((1000, 1.0),))


@dataclass
class World:
    """GitHub, and a ``fyre serve`` that is installed on two accounts there."""

    front: Front
    serve: Serve
    base: str
    secrets: list[str]
    labs: dict[str, Lab] = field(default_factory=dict)

    def sweep(self) -> None:
        self.serve.receiver.hear(Sweep())


@dataclass
class Lab:
    """A repository, and somebody who pushes to it."""

    world: World
    path: Path
    name: str
    shas: list[str] = field(default_factory=list)

    def git(self, *words: str) -> str:
        return git(*words, cwd=self.path)

    def run(self, command: str, *trailers: str) -> str:
        message = "\n".join(["Work", "", f"Fyre-Run: {command}", *trailers])
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def moved(self, name: str) -> None:
        self.name = name
        self.git("remote", "set-url", "origin", f"{self.world.base}/{name}.git")

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        url = f"{self.world.base}/api/repos/{self.name}/commits/{sha}/statuses"
        answer = requests.get(url, headers={"Authorization": "token user:ada"})
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def final(self, sha: str) -> str:
        found: list[str] = []
        until(lambda: found.extend(one["description"] for one in self.statuses(sha) if one["state"] != "pending")
              or found)  # fmt: skip
        return found[0]


Make = Callable[..., Lab]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root, fronts = tmp_path_factory.mktemp("world"), []

    def front(app: Any, forge: Any) -> Front:
        fronts.append(Front(app, forge))
        return fronts[0]

    with served(root / "forge", front=front) as forge:
        fronts[0].github.installed = {"ada": 11, "acme": 22}
        fronts[0].github.skew = -3400.0  # tokens live for so short that each request takes a new one
        serve = Serve(configs.load(None, {
            "FYRE_LISTEN": "127.0.0.1:0", "FYRE_URL": "https://fyre.example.org", "FYRE_STATE": str(root / "state"),
            "FYRE_FORGE": forge.base, "FYRE_API": f"{forge.base}/api", "FYRE_APP_ID": str(apps.APP_ID),
            "FYRE_APP_PRIVATE_KEY": apps.pem(apps.private_key()), "FYRE_JOBS": "4",
            "FYRE_WEBHOOK_SECRET": forge.forge.webhook_secret,
        }, {}))  # fmt: skip
        thread = threading.Thread(target=serve.serve)
        thread.start()
        forge.forge.start(f"{serve.url}/webhook")
        yield World(fronts[0], serve, forge.base, [forge.forge.service_token, forge.forge.webhook_secret])
        serve.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def make(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes repositories, each with one commit; what waits to be tried again does not wait for long."""
    monkeypatch.setattr(ledger, "BACKOFF", (0.01, 0.1))
    monkeypatch.setattr(ledger, "MENDED", (0.01, 0.1))
    monkeypatch.setattr(later, "RETRY", (0.01, 0.1))
    monkeypatch.setattr(pacing, "BARE", 0.1)
    world.serve.receiver.hands.ledger.turns.pace = Pace(FAST)

    def lab(owner: str = "ada", name: str = "") -> Lab:
        name = name or f"{owner}/lab{next(_numbers)}"
        path = tmp_path / f"clone{next(_numbers)}"
        git("init", "-q", str(path), cwd=tmp_path)
        found = Lab(world, path, name)
        found.git("commit", "-q", "--allow-empty", "-m", "First")
        found.git("remote", "add", "origin", f"{world.base}/{name}.git")
        found.git("config", "http.extraHeader", "Authorization: token user:ada")
        found.git("push", "-q", "origin", "main")
        return found

    yield lab
    world.front.troubles.clear()
    world.front.github.suspended.clear()
    world.front.github.installed = {"ada": 11, "acme": 22}


Story = Callable[[World, Lab], AbstractContextManager[object]]


def meets(code: int, message: str, headers: dict[str, str] | None = None, *, writes: bool = False) -> Story:
    """All that is asked about the repository meets this answer, or only what is written to it."""

    def story(world: World, lab: Lab) -> AbstractContextManager[object]:
        def trouble(asked: Asked) -> Said | None:
            met = asked.of(lab.name) and (not writes or (asked.method == "POST" and not asked.git))
            return (code, {"message": message}, headers or {}) if met else None

        return world.front.trouble(trouble)

    return story


def keyless(clock: float = 0.0) -> Story:
    """GitHub takes no JWT of ours any more; by its clock it is so many seconds later."""

    def story(world: World, _: Lab) -> AbstractContextManager[object]:
        told = (
            {"message": "A JSON web token could not be decoded"},
            {"Date": formatdate(time.time() + clock, usegmt=True)},
        )
        return world.front.trouble(lambda asked: (401, *told) if asked.path.startswith("/app") else None)

    return story


@contextmanager
def uninstalled(world: World, _: Lab) -> Iterator[None]:
    """Taken away, and installed anew in the end, which is another installation."""
    del world.front.github.installed["ada"]
    yield
    world.front.github.installed["ada"] = 33


@contextmanager
def suspended(world: World, _: Lab) -> Iterator[None]:
    """Suspended by its owner for a while."""
    world.front.github.suspended.add("ada")
    yield
    world.front.github.suspended.clear()


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    """The warnings and errors that have a text in them."""
    found = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    return [one for one in found if text in one]


def kept(world: World, make: Make, owner: str) -> Lab:
    """A repository that several stories use."""
    if owner not in world.labs:
        world.labs[owner] = make(owner)
    return world.labs[owner]


@contextmanager
def no_secret_no_bug(world: World, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of what is logged meanwhile is a secret, or a bug."""
    yield
    assert not [one for one in (*world.secrets, *world.front.github.tokens) if one in caplog.text]
    assert "a bug" not in caplog.text
    assert "Traceback" not in caplog.text


SECONDARY = "You have exceeded a secondary rate limit"
OF_ALL = (SECONDARY, "HTTP 429", "could not be decoded", "s ahead of the forge's")
"""What is wrong with the whole App: other repositories wait, too."""


@pytest.mark.parametrize("case", [
    pytest.param((meets(403, "Repository was archived so is read-only.", writes=True), "archived"), id="archived"),
    pytest.param((meets(403, "Resource not accessible by integration", writes=True), "by integration"), id="revoked"),
    pytest.param((meets(404, "Not Found"), "not shown to us"), id="private"),
    pytest.param((meets(403, "Repository access blocked"), "blocked"), id="blocked"),
    pytest.param((meets(502, "Bad Gateway"), "HTTP 502"), id="502"),
    pytest.param((meets(403, SECONDARY, writes=True), SECONDARY), id="403"),
    pytest.param((meets(403, SECONDARY, {"Retry-After": "0"}, writes=True), SECONDARY), id="403-retry-after"),
    pytest.param((meets(429, "Too many"), "HTTP 429"), id="429"),
    pytest.param((meets(429, "Too many", {"Retry-After": "0"}), "HTTP 429"), id="429-retry-after"),
    pytest.param((uninstalled, "the App is not installed on ada/"), id="uninstalled"),
    pytest.param((suspended, "suspended"), id="suspended"),
    pytest.param((keyless(), "could not be decoded"), id="key"),
    pytest.param((keyless(-400), "s ahead of the forge's"), id="clock"),
])  # fmt: skip
def test_trouble_that_ends(
    world: World, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: tuple[Story, str]
) -> None:
    story, said = case
    lab, other = kept(world, make, "ada"), kept(world, make, "acme")
    gate = tmp_path / "gate"
    sha = lab.run(f"until test -e {gate}; do sleep 0.02; done; echo >> {tmp_path}/ran")
    until(lambda: lab.statuses(sha))
    with no_secret_no_bug(world, caplog):
        with story(world, lab):
            gate.touch()
            second = lab.run(f"echo >> {tmp_path}/ran")
            until(lambda: lines(caplog, said))
            if said not in OF_ALL:
                assert other.final(other.run("true")).startswith("exit 0")
            assert [one["state"] for one in lab.statuses(sha)] == ["pending"]
            assert not [one for one in lab.statuses(second) if one["state"] != "pending"]
        world.sweep()
        assert lab.final(sha).startswith("exit 0")
        assert lab.final(second).startswith("exit 0")
    assert (tmp_path / "ran").read_text() == "\n\n"


def test_a_repository_that_is_renamed_or_transferred_while_runs_are_on(
    world: World, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renamed, moved, gate = make(), make(), tmp_path / "gate"
    labs = [renamed, moved]
    shas = [lab.run(f"until test -e {gate}; do sleep 0.02; done; echo >> {tmp_path}/ran") for lab in labs]
    for lab, sha in zip(labs, shas, strict=True):
        until(lambda lab=lab, sha=sha: lab.statuses(sha))
    old = renamed.name
    for lab, name in ((renamed, f"{old}-new"), (moved, moved.name.replace("ada/", "acme/"))):
        world.front.rename(lab.name, name)
        lab.moved(name)
    squatter = make(name=old)
    with no_secret_no_bug(world, caplog):
        world.sweep()  # who is transferred leaves the token that knew it: the list of the other account has it
        gate.touch()
        assert [lab.final(sha) for lab, sha in zip(labs, shas, strict=True)] == ["exit 0 · 0s"] * 2
        seconds = [lab.run(f"echo >> {tmp_path}/ran") for lab in labs]
        assert [lab.final(sha) for lab, sha in zip(labs, seconds, strict=True)] == ["exit 0 · 0s"] * 2
        world.sweep()
        assert squatter.final(squatter.run("true")) == "exit 0 · 0s"
    assert len((tmp_path / "ran").read_text()) == 4


def test_a_renamed_repository_gets_its_end_before_anybody_told_of_the_name(
    world: World, make: Make, tmp_path: Path
) -> None:
    for taken in (False, True):
        lab, gate = make(), tmp_path / f"gate{taken}"
        sha = lab.run(f"until test -e {gate}; do sleep 0.02; done")
        until(lambda lab=lab, sha=sha: lab.statuses(sha))
        old = lab.name
        world.front.rename(old, f"{old}-new")
        lab.moved(f"{old}-new")
        if taken:  # by another repository, whose id is another
            make(name=old)
        gate.touch()
        assert lab.final(sha).startswith("exit 0")


def test_a_repository_that_is_deleted_while_a_run_is_on_costs_next_to_nothing(
    world: World, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lab, other, gate = make(), make(), tmp_path / "gate"
    sha = lab.run(f"until test -e {gate}; do sleep 0.02; done; touch {tmp_path}/ended")
    until(lambda: lab.statuses(sha))
    with no_secret_no_bug(world, caplog), meets(404, "Not Found")(world, lab):
        gate.touch()
        until(lambda: len(world.front.met) > 6)
        assert (tmp_path / "ended").exists()
        assert other.final(other.run("true")).startswith("exit 0")
        assert len(lines(caplog, lab.name)) == 1
    assert PAUSES[1] >= 600
