"""Each trouble that GitHub can make, against a whole ``fyre serve``.

There is one clear line, and nothing is lost. In each story one run ends and another is pushed
while the trouble lasts. Other repositories don't notice; when the trouble ends, both runs have
their final status, and each command ran once.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
import requests

from fyre.controller.loop import Controller
from fyre.github.errors import DeniedError
from fyre.github.webhook import PushEvent
from fyre.message import fyre_ids
from tests.support.ci_marks import LONG_CASE, long_case
from tests.support.forge_troubles import Asked, Said
from tests.support.serve_fixture import PAUSES, Lab, Make, World, make, world
from tests.support.waiting import until

__all__ = ["make", "world"]  # fixtures

Story = Callable[[World, Lab], AbstractContextManager[object]]


Troubles = tuple[tuple[Story, str], ...]


def meets(
    code: int, message: str, headers: dict[str, str] | None = None, *, writes: bool = False
) -> Story:
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
        return world.front.trouble(
            lambda asked: (401, *told) if asked.path.startswith("/app") else None
        )

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
ONLY_WRITES = (
    (meets(403, "Repository was archived so is read-only.", writes=True), "archived"),
    (meets(403, "Resource not accessible by integration", writes=True), "by integration"),
    (meets(403, SECONDARY, writes=True), SECONDARY),
    (meets(403, SECONDARY + ", sir", {"Retry-After": "0"}, writes=True), SECONDARY + ", sir"),
    (meets(429, "Too many", writes=True), "HTTP 429 Too many"),
    (meets(429, "Far too many", {"Retry-After": "0"}, writes=True), "HTTP 429 Far too many"),
    (meets(500, "Server Error", writes=True), "HTTP 500"),
)
READS_TOO = (
    (meets(404, "Not Found"), "not shown to us"),
    (meets(403, "Repository access blocked"), "blocked"),
    (meets(502, "Bad Gateway"), "HTTP 502"),
    (meets(429, "Too many"), "HTTP 429"),
)
OF_THE_APP = (
    (uninstalled, "the App is not installed on ada/"),
    (suspended, "suspended"),
    (keyless(), "could not be decoded"),
    (keyless(-400), "s ahead of the forge's"),
)


@pytest.mark.parametrize(
    "troubles",
    [
        pytest.param(ONLY_WRITES, marks=LONG_CASE),
        READS_TOO,
        pytest.param(OF_THE_APP, marks=LONG_CASE),
    ],
    ids=["writes", "reads", "app"],
)
def test_trouble_that_ends(
    world: World, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, troubles: Troubles
) -> None:
    """A run ends, and another is pushed if reads are refused too, during each trouble."""
    lab, gate = kept(world, make, "ada"), tmp_path / "gate"
    shas = [lab.run(f"until test -e {gate}; do sleep 0.02; done; echo >> {tmp_path}/ran")]
    until(lambda: lab.statuses(shas[0]))
    with no_secret_no_bug(world, caplog):
        for number, (story, said) in enumerate(troubles):
            with story(world, lab):
                gate.touch()
                if number == 0 and troubles is not ONLY_WRITES:
                    shas.append(lab.run(f"echo >> {tmp_path}/ran"))
                    other = kept(world, make, "acme")
                    assert other.final(other.run("true")).startswith("exit 0"), (
                        "others wait for nobody"
                    )
                until(lambda said=said: lines(caplog, said))
                assert [one["state"] for sha in shas for one in lab.statuses(sha)] == ["pending"]
        world.sweep()
        assert all(lab.final(sha).startswith("exit 0") for sha in shas)
    assert (tmp_path / "ran").read_text() == "\n" * len(shas)


@long_case
def test_a_repository_that_is_renamed_or_transferred_while_a_run_is_on(
    world: World, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renamed, taken, moved = labs = [make(), make(), make()]
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    shas = [lab.run(f"until test -e {gate}; do sleep 0.02; done; echo >> {ran}") for lab in labs]
    for lab, sha in zip(labs, shas, strict=True):
        until(lambda lab=lab, sha=sha: lab.statuses(sha))
    name = taken.name
    for lab in labs:
        lab.rename(f"{lab.name}-new" if lab is not moved else lab.name.replace("ada/", "acme/"))
    make(name=name)  # another repository, of which that is the name now
    with no_secret_no_bug(world, caplog):
        gate.touch()
        assert all(
            lab.final(sha).startswith("exit 0") for lab, sha in zip(labs[:2], shas[:2], strict=True)
        )
        # A transferred repository leaves the token that knew it: the other account lists it.
        world.sweep()
        assert moved.final(shas[2]).startswith("exit 0")
        assert renamed.final(renamed.run(f"echo >> {ran}")).startswith("exit 0")
        world.sweep(anew=True)
        until(lambda: not world.serve.controller.queue_length())
    assert len(ran.read_text()) == 4


@long_case
def test_a_repository_that_is_deleted_while_a_run_is_on_costs_next_to_nothing(
    world: World, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lab, other, gate = make(), kept(world, make, "ada"), tmp_path / "gate"
    sha = lab.run(f"until test -e {gate}; do sleep 0.02; done; touch {tmp_path}/ended")
    until(lambda: lab.statuses(sha))
    with no_secret_no_bug(world, caplog), meets(404, "Not Found")(world, lab):
        gate.touch()
        until(lambda: len(world.front.met) > 6)
        assert (tmp_path / "ended").exists()
        assert other.final(other.run("true")).startswith("exit 0")
        assert len(lines(caplog, lab.name)) == 1
    assert PAUSES.most >= 600


def test_what_is_no_push_is_answered_and_counted_and_stops_nothing(
    world: World, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    lab = kept(world, make, "ada")

    def told(event: str, body: bytes) -> tuple[int, str]:
        mark = hmac.new(world.secrets[1].encode(), body, "sha256").hexdigest()
        headers = {
            "X-GitHub-Event": event,
            "X-Hub-Signature-256": f"sha256={mark}",
            "X-GitHub-Delivery": "g-1",
        }
        answer = requests.post(f"{world.serve.listen_url}/webhook", body, headers=headers)
        return answer.status_code, answer.text

    assert told("ping", b'{"zen": "Keep it logically awesome."}') == (
        202,
        "event ping starts nothing\n",
    )
    assert told("repository_vulnerability_alert", b"not JSON")[0] == 202
    for body in (b"", b"[]", b'{"ref": 7}', b"\xff", b'{"repository": ' + b"[" * 9000):
        code, text = told("push", body)
        assert (code, text[:11]) in ((400, "not a push "), (400, "JSON nested"))
    assert len(lines(caplog, "delivery g-1: ")) == 5
    figures = requests.get(f"{world.serve.listen_url}/metrics").text
    assert 'fyre_deliveries_total{code="400",event="push"} 5.0' in figures
    assert 'fyre_deliveries_total{code="202",event="ping"} 1.0' in figures
    assert lab.final(lab.run("true")).startswith("exit 0")


@long_case
def test_a_policy_that_refuses_everything_says_so_and_what_it_refused_runs_once_it_is_mended(
    world: World, make: Make
) -> None:
    lab, executor = kept(world, make, "ada"), world.serve.controller.executor
    before = executor.policy
    try:
        executor.policy = replace(before, refs=())
        sha = lab.run("true")
        assert lab.final(sha).startswith("refused: branch main may not launch")
        executor.policy = replace(before, repositories=())
        silent = lab.run("true")
        world.sweep(anew=True)
        until(lambda: not world.serve.controller.queue_length())
    finally:
        executor.policy = before
    world.sweep(anew=True)  # another policy is another start
    assert lab.final(silent).startswith("exit 0")
    until(lambda: lab.final(sha).startswith("exit 0"))


def test_a_commit_of_the_future_is_refused_with_its_mend_and_runs_when_asked(
    world: World, make: Make
) -> None:
    lab = kept(world, make, "ada")
    sha = lab.run("true", f"Fyre-Id: {fyre_ids.new_fyre_id(time.time() + 3700)}")
    assert lab.final(sha) == "refused: made 1h 01m in the future: set the clock, amend, push again"
    lab.comment(sha, "/fyre rerun")
    until(lambda: lab.final(sha).startswith("exit 0"))


def test_who_has_no_time_is_told_what_was_given_up(world: World, make: Make) -> None:
    lab = kept(world, make, "ada")
    executor = world.serve.controller.executor
    known = executor.forge.get_repository(lab.name)
    head = lab.git("rev-parse", "HEAD")
    elsewhere = replace(known, id=known.id + 1_000_000)  # of which there is no mirror yet
    push = PushEvent(elsewhere, "refs/heads/main", head, head, "ada", (head,))
    with (
        meets(403, "Repository access blocked")(world, lab),
        pytest.raises(DeniedError, match="not let this token"),
    ):
        Controller(executor).process_until_done(push)


@long_case
def test_a_sweep_that_meets_a_limit_asks_no_more_of_that_account(world: World, make: Make) -> None:
    kept(world, make, "ada")
    kept(world, make, "acme")
    make()
    asked: list[str] = []

    def trouble(one: Asked) -> Said | None:
        owner = one.path.split("/")[2] if one.path.endswith("/activity") else ""
        asked.append(owner)
        return (429, {"message": "Too many"}, {"Retry-After": "60"}) if owner == "ada" else None

    swept_at = world.serve.controller.last_sweep_at
    with world.front.trouble(trouble):
        world.sweep(anew=True)
        until(lambda: world.serve.controller.last_sweep_at > swept_at)
    assert asked.count("ada") == 1
    assert asked.count("acme") >= 1
