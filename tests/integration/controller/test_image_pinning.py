"""A rerun uses the image that ran, by its digest, unless it is told to take the latest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from fyre.cli import main
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from fyre.runs.run import RunRecord
from fyre.runs.run_query import ALL_RUNS
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person
from tests.support.waiting import until

FIRST, SECOND = "sha256:" + "9f3c1a2b" * 8, "sha256:" + "0123abcd" * 8
HUB = "docker.io/library/python"

Registry = dict[str, str]


@pytest.fixture
def kubelet(person: Person, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The imageID that a machine with images gives for each image; runs are real, images are not.

    What is pulled is remembered with the run, as Kubernetes does; a digest is its own answer.
    """
    ids: Registry = {}
    pulled: dict[str, str] = {}
    known: Callable[[str], RunRecord | None] = person.up.engine.get_record

    def record(key: str) -> RunRecord | None:
        found = known(key)
        if found is None:
            return None
        image = found.run.spec.image or ""
        held = f"{HUB}@{image.partition('@')[2]}" if "@" in image else ids.get(image, "")
        return replace(found, image_id=pulled.setdefault(key, held), unsupported=())

    monkeypatch.setattr(person.up.engine, "get_record", record)
    return ids


def images(person: Person, sha: str) -> list[str | None]:
    """What each attempt on a commit asked for, in order."""
    runs = [record.run for record in person.up.engine.query_runs(ALL_RUNS) if record.run.sha == sha]
    return [run.spec.image for run in sorted(runs, key=lambda run: run.attempt)]


def again(person: Person, sha: str, body: str, attempt: int) -> str:
    """The description that a rerun ends with."""
    person.comment(sha, body)
    return str(person.final(sha, attempt=f"attempt {attempt}")["description"])


def test_a_rerun_uses_the_digest_that_ran_until_it_is_told_latest(
    person: Person, kubelet: Registry
) -> None:
    kubelet["python:3.12"] = f"{HUB}@{FIRST}"
    sha = person.run("true", "Fyre-Image: python:3.12")
    assert person.final(sha)["description"].endswith(" · img 9f3c1a2b")
    kubelet["python:3.12"] = f"{HUB}@{SECOND}"
    assert again(person, sha, "/fyre rerun", 2).endswith(" · img 9f3c1a2b")
    assert again(person, sha, "/fyre rerun run", 3).endswith(" · img 9f3c1a2b")
    assert again(person, sha, "/fyre rerun --latest", 4).endswith(" · img 0123abcd")
    assert again(person, sha, "/fyre rerun", 5).endswith(" · img 0123abcd")
    held = [f"python:3.12@{FIRST}"] * 2
    assert images(person, sha) == ["python:3.12", *held, "python:3.12", f"python:3.12@{SECOND}"]


@long_case
def test_the_keyboard_can_ask_for_the_latest(
    person: Person, kubelet: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubelet["python"] = f"{HUB}@{FIRST}"
    monkeypatch.chdir(person.repo)
    sha = person.run("true", "Fyre-Image: python", "Fyre-Name: train")
    person.final(sha, "fyre/train")
    assert main.main(["rerun", "--latest", "--name", "train"]) == 0
    person.final(sha, "fyre/train", "attempt 2")
    assert main.main(["rerun"]) == 0
    person.final(sha, "fyre/train", "attempt 3")
    asked = [said for said in person.comments(sha) if said.startswith("/fyre")]
    assert asked == ["/fyre rerun --latest train", "/fyre rerun"]
    assert images(person, sha) == ["python", "python", f"python@{FIRST}"]


@long_case
@pytest.mark.parametrize("image_id", ["", FIRST, f"ghcr.io/other/python@{FIRST}"])
def test_what_can_not_be_pulled_again_is_asked_for_by_its_tag(
    person: Person, kubelet: Registry, image_id: str
) -> None:
    kubelet["python:3.12"] = image_id
    sha = person.run("true", "Fyre-Image: python:3.12")
    person.final(sha)
    again(person, sha, "/fyre rerun", 2)
    assert images(person, sha) == ["python:3.12", "python:3.12"]


@long_case
def test_the_policy_judges_the_image_as_it_was_asked_for(person: Person, kubelet: Registry) -> None:
    kubelet["python:3.12"] = f"{HUB}@{FIRST}"
    executor = person.up.controller.executor
    executor.policy = Policy(profiles={"default": Profile("default")}, images=("python:3.12",))
    sha = person.run("true", "Fyre-Image: python:3.12")
    person.final(sha)
    again(person, sha, "/fyre rerun", 2)
    again(person, sha, "/fyre rerun", 3)
    assert images(person, sha) == ["python:3.12", *[f"python:3.12@{FIRST}"] * 2]
    executor.policy = Policy(profiles={"default": Profile("default")}, images=("perl:*",))
    person.comment(sha, "/fyre rerun")
    until(lambda: "is outside what the policy allows: perl:*" in person.comments(sha)[-1])
    assert len(images(person, sha)) == 3


@long_case
def test_the_image_of_a_profile_is_held_too(person: Person, kubelet: Registry) -> None:
    kubelet[""] = f"{HUB}@{FIRST}"
    executor = person.up.controller.executor
    executor.policy = Policy(
        profiles={"default": Profile("default", image="python:3.12")}, images=()
    )
    sha = person.run("true")
    person.final(sha)
    again(person, sha, "/fyre rerun", 2)
    executor.policy = Policy(
        profiles={"default": Profile("default", image="python:3.13")}, images=()
    )
    again(person, sha, "/fyre rerun", 3)
    again(person, sha, "/fyre rerun --latest", 4)
    executor.policy = Policy(profiles={"default": Profile("default", image="perl:5")}, images=())
    again(person, sha, "/fyre rerun", 5)
    assert images(person, sha) == [None, f"{HUB}@{FIRST}", f"{HUB}@{FIRST}", None, None]


@long_case
def test_a_comment_delivered_again_runs_nothing_again_whatever_came_after_it(
    person: Person, kubelet: Registry
) -> None:
    kubelet["python:3.12"] = f"{HUB}@{FIRST}"
    sha = person.run("true", "Fyre-Image: python:3.12", files={".fyre.yaml": "timeout: 1h\n"})
    person.final(sha)
    again(person, sha, "/fyre rerun", 2)
    again(person, sha, "/fyre rerun", 3)
    hook = person.api("/hooks")[0]["id"]
    for delivery in person.api(f"/hooks/{hook}/deliveries"):
        if delivery["event"] == "commit_comment":
            requests.post(f"{person.up.url}/api/repos/{NAME}/hooks/{hook}/deliveries/{delivery['id']}/attempts",
                          headers={"Authorization": "token user:ada"})  # fmt: skip
    person.settled()
    assert len(images(person, sha)) == 3
    said = [
        said.split(":")[0] for said in person.comments(sha)
    ]  # an end is told before an answer to what came first
    assert sorted(said) == ["/fyre rerun"] * 2 + ["launched"] * 2


def test_a_refused_run_that_a_comment_launches_is_launched_once(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy = Policy(timeout_max=60)
    sha = person.run("true", files={".fyre.yaml": "timeout: 2h\nretries: 1\n"})
    assert person.final(sha)["description"].startswith("refused")
    executor.policy = Policy()
    again(person, sha, "/fyre rerun", 2)
    hook = person.api("/hooks")[0]["id"]
    for delivery in person.api(f"/hooks/{hook}/deliveries"):
        if delivery["event"] == "commit_comment":
            requests.post(f"{person.up.url}/api/repos/{NAME}/hooks/{hook}/deliveries/{delivery['id']}/attempts",
                          headers={"Authorization": "token user:ada"})  # fmt: skip
    person.settled()
    assert len(images(person, sha)) == 1


def test_the_pages_show_the_whole(person: Person, kubelet: Registry) -> None:
    kubelet["python:3.12"] = f"{HUB}@{FIRST}"
    sha = person.run("true", "Fyre-Image: python:3.12")
    page = person.final(sha)["target_url"]
    facts = requests.get(f"{page}.json").json()
    assert (facts["image"], facts["image_id"]) == ("python:3.12", f"{HUB}@{FIRST}")
    shown = requests.get(page).text
    assert f'python:3.12 <code id="image_id">{HUB}@{FIRST}</code>' in shown
