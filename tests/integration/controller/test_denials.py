"""No way of asking gets round the policy: push, ``/fyre run``, ``/fyre rerun``."""

from __future__ import annotations

from pathlib import Path

from fyre.runs.policy import Policy
from tests.support.person import Person
from tests.support.waiting import until


def answered(person: Person, sha: str, count: int) -> str:
    """The newest comment, once there are that many."""
    until(lambda: len(person.comments(sha)) >= count)
    return person.comments(sha)[-1]


def test_a_comment_gets_no_further_than_a_push(person: Person, tmp_path: Path) -> None:
    person.up.controller.executor.policy = Policy(timeout_max=60)
    sha = person.run(f"touch {tmp_path}/ran", files={".fyre.yaml": "timeout: 2h\n"})
    offence = "refused: asks for a timeout of 2h, at most 1m · amend, or ask Fyre's admin"
    assert person.final(sha)["description"] == offence
    person.comment(sha, f"/fyre run touch {tmp_path}/ran")
    assert answered(person, sha, 2) == f"`run-2` is {offence}"
    person.comment(sha, "/fyre rerun")
    assert answered(person, sha, 4) == f"`run` is {offence}"
    assert person.ran() == []
    assert not (tmp_path / "ran").exists()


def test_the_policy_of_today_decides_on_a_rerun_of_what_ran_yesterday(person: Person) -> None:
    sha = person.run("true", "Fyre-Timeout: 2h")
    assert person.final(sha)["state"] == "success"
    person.up.controller.executor.policy = Policy(timeout_max=60)
    person.comment(sha, "/fyre rerun")
    assert answered(person, sha, 2).startswith("`run` is refused")
    assert len(person.ran()) == 1
