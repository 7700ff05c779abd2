"""Every push is told: signed, in order, until it is taken, whatever dies in between."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.local_forge.webhooks import webhook_delivery
from fyre.runs.run import ZERO_SHA
from tests.support.local_forge import NAME, Receiver, Served, served
from tests.support.waiting import until

Git = Callable[..., str]


def commit(git: Git, repo: Path, message: str) -> str:
    git("commit", "-q", "--allow-empty", "-m", message, cwd=repo)
    return git("rev-parse", "HEAD", cwd=repo)


def test_a_push_is_told_once_and_signed(forge: Served, receiver: Receiver, pushed: str) -> None:
    (one,) = receiver.wait(1)
    assert one.signed_with(forge.forge.webhook_secret)
    assert one.headers["user-agent"].startswith("GitHub-Hookshot/")
    assert one.headers["x-github-hook-id"] == str(one.data["repository"]["id"])
    data = one.data
    assert (data["ref"], data["before"], data["after"]) == ("refs/heads/main", ZERO_SHA, pushed)
    assert (data["created"], data["deleted"], data["forced"]) == (True, False, False)
    assert [c["id"] for c in data["commits"]] == [pushed]
    assert data["head_commit"]["id"] == pushed
    assert data["sender"]["login"] == data["pusher"]["name"] == "ada"
    assert data["repository"]["full_name"] == NAME
    assert data["repository"]["clone_url"] == forge.git()


def test_9_40_a_branch_whose_name_is_no_utf_8_is_named_once(
    forge: Served, pushed: str, repo: Path, git: Git, caplog: pytest.LogCaptureFixture
) -> None:
    git("push", "-q", "origin", os.fsdecode(b"main:caf\xe9"), cwd=repo)
    (stored,) = forge.forge.repositories
    for _ in range(2):
        forge.forge.outbox.collect_pushes(stored)
    assert caplog.text.count(f"{NAME}: nothing runs on caf\\xe9: the branch's name is not") == 1


def test_commits_come_oldest_first_and_know_what_is_new(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    git("checkout", "-q", "-b", "dev", cwd=repo)
    a, b = commit(git, repo, "a"), commit(git, repo, "b")
    git("push", "-q", "origin", "dev", cwd=repo)
    created = receiver.wait(2)[1].data
    assert [c["id"] for c in created["commits"]] == [a, b]
    git("checkout", "-q", "main", cwd=repo)
    git("merge", "-q", "--no-ff", "-m", "Merge", "dev", cwd=repo)
    git("push", "-q", "origin", "main", cwd=repo)
    merged = receiver.wait(3)[2].data
    merge = git("rev-parse", "HEAD", cwd=repo)
    assert [(c["id"], c["distinct"]) for c in merged["commits"]] == [
        (a, False),
        (b, False),
        (merge, True),
    ]
    assert not merged["forced"]


def test_a_branch_at_a_known_commit_brings_nothing(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    git("push", "-q", "origin", "main:copy", cwd=repo)
    data = receiver.wait(2)[1].data
    assert data["commits"] == []
    assert data["head_commit"]["id"] == pushed
    assert data["base_ref"] == "refs/heads/main"


def test_two_branches_in_one_push_share_their_commits_out(
    forge: Served, receiver: Receiver, repo: Path, git: Git
) -> None:
    git("push", "-q", forge.git(), "main", "main:other", cwd=repo)
    first, second = (one.data for one in receiver.wait(2))
    assert (first["ref"], len(first["commits"])) == ("refs/heads/main", 1)
    assert (second["ref"], len(second["commits"])) == ("refs/heads/other", 0)


def test_a_forced_push_that_drops_commits(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    commit(git, repo, "gone")
    git("push", "-q", "origin", "main", cwd=repo)
    git("push", "-q", "-f", "origin", f"{pushed}:main", cwd=repo)
    data = receiver.wait(3)[2].data
    assert (data["forced"], data["commits"]) == (True, [])
    assert (data["head_commit"]["id"], data["head_commit"]["distinct"]) == (pushed, True)
    git("push", "-q", "-f", "origin", f"{commit(git, repo, 'x')}:main", cwd=repo)
    assert receiver.wait(4)[3].data["forced"] is False


def test_tags_and_deletions(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    git("tag", "-a", "v1", "-m", "One", cwd=repo)
    git("push", "-q", "origin", "v1", "main:short", cwd=repo)
    receiver.wait(3)
    git("push", "-q", "origin", ":short", ":v1", cwd=repo)
    told = {(one.data["ref"], one.data["deleted"]): one.data for one in receiver.wait(5)}
    tag = told["refs/tags/v1", False]
    assert (tag["commits"], tag["head_commit"]["id"]) == ([], pushed)
    assert tag["after"] == git("rev-parse", "v1", cwd=repo)
    gone = told["refs/heads/short", True]
    assert (gone["before"], gone["after"], gone["commits"], gone["head_commit"]) == (
        pushed,
        ZERO_SHA,
        [],
        None,
    )


def test_a_branch_deleted_and_pushed_again_while_nobody_looked(
    tmp_path: Path, receiver: Receiver, repo: Path, git: Git
) -> None:
    with served(tmp_path / "forge", receiver) as forge:
        git("remote", "add", "origin", forge.git(), cwd=repo)
        git("push", "-q", "origin", "main", "main:dev", cwd=repo)
        receiver.wait(2)
    with served(tmp_path / "forge") as forge:
        git("remote", "set-url", "origin", forge.git(), cwd=repo)
        git("push", "-q", "origin", ":dev", cwd=repo)
        again = commit(git, repo, "Again")
        git("push", "-q", "origin", "main:dev", cwd=repo)
        kinds = [entry["activity_type"] for entry in forge.get(f"/repos/{NAME}/activity").json()]
    assert kinds == ["branch_creation", "branch_deletion", "branch_creation", "branch_creation"]
    with served(tmp_path / "forge", receiver):
        gone, born = receiver.wait(4)[2:]
    assert (gone.data["ref"], gone.data["deleted"]) == ("refs/heads/dev", True)
    assert (born.data["created"], [c["id"] for c in born.data["commits"]]) == (True, [again])


def test_a_receiver_in_trouble_is_told_until_it_takes_it(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    receiver.wait(1)
    receiver.codes += [500, 503, 401]
    commit(git, repo, "a")
    git("push", "-q", "origin", "main", cwd=repo)
    commit(git, repo, "b")
    git("push", "-q", "origin", "main", cwd=repo)
    _, a, b = receiver.wait(3)
    assert {one.guid for one in receiver.refused} == {a.guid}
    assert a.data["after"] == b.data["before"]


def test_what_the_receiver_calls_senseless_is_not_repeated(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    receiver.wait(1)
    receiver.codes += [422]
    commit(git, repo, "a")
    git("push", "-q", "origin", "main", cwd=repo)
    until(lambda: receiver.refused)
    b = commit(git, repo, "b")
    git("push", "-q", "origin", "main", cwd=repo)
    assert receiver.wait(2)[1].data["after"] == b


def test_a_push_survives_the_server(
    tmp_path: Path, receiver: Receiver, repo: Path, git: Git
) -> None:
    with served(
        tmp_path / "forge"
    ) as forge:  # git moved the ref, and then nobody was there to tell
        git("push", "-q", forge.git(), "main", cwd=repo)
    receiver.codes += [500] * 3
    with served(tmp_path / "forge", receiver):
        (one,) = receiver.wait(1)
    with served(tmp_path / "forge", receiver) as forge:
        git("push", "-q", forge.git(), "main:other", cwd=repo)
        assert [d.data["ref"] for d in receiver.wait(2)] == ["refs/heads/main", "refs/heads/other"]
    assert {d.guid for d in receiver.refused} == {one.guid}


def test_a_lost_memory_tells_again_by_the_same_name(
    tmp_path: Path, receiver: Receiver, repo: Path, git: Git
) -> None:
    with served(tmp_path / "forge", receiver) as forge:
        git("push", "-q", forge.git(), "main", cwd=repo)
        (one,) = receiver.wait(1)
    for path in (tmp_path / "forge").glob("forge.db*"):
        path.unlink()
    with served(tmp_path / "forge", receiver):
        assert receiver.wait(2)[1].guid == one.guid


def test_a_comment_is_told(forge: Served, receiver: Receiver, pushed: str) -> None:
    answer = forge.post(
        f"/repos/{NAME}/commits/{pushed}/comments", {"body": "/fyre rerun"}, token="user:grace"
    )
    (one,) = receiver.wait(1, "commit_comment")
    assert one.signed_with(forge.forge.webhook_secret)
    assert one.data["action"] == "created"
    assert one.data["comment"] == answer.json()
    assert one.data["sender"]["login"] == one.data["comment"]["user"]["login"] == "grace"


@pytest.mark.parametrize("made", [True, False])
def test_a_crash_in_the_middle_of_a_comment(
    tmp_path: Path, receiver: Receiver, repo: Path, git: Git, *, made: bool
) -> None:
    record = {"id": 7, "body": "/fyre rerun", "user": "ada", "created_at": "2026-01-02T03:04:05Z"}
    with served(tmp_path / "forge") as forge:
        git("push", "-q", forge.git(), "main", cwd=repo)
        sha, bare = git("rev-parse", "main", cwd=repo), forge.forge.repositories.find_repo(NAME)
        assert bare is not None
        webhook_delivery.reserve_comment_event(forge.forge.database, bare, sha, record)
        if made:
            forge.forge.commit_comments.add_commit_note(bare.git_dir, sha, record, lambda _: None)
    with served(tmp_path / "forge", receiver) as forge:
        git("push", "-q", forge.git(), "main:last", cwd=repo)
        receiver.wait(2)
        assert [one.data["comment"]["id"] for one in receiver.of("commit_comment")] == (
            [7] if made else []
        )


def test_deliveries_are_kept_and_repeated(forge: Served, receiver: Receiver, pushed: str) -> None:
    (one,) = receiver.wait(1)
    headers = {"Authorization": "token x"}
    (hook,) = forge.get(f"/repos/{NAME}/hooks", headers=headers).json()
    where = f"/repos/{NAME}/hooks/{hook['id']}/deliveries"
    until(lambda: forge.get(where, headers=headers).json())
    (kept,) = forge.get(where, headers=headers).json()
    assert (kept["guid"], kept["event"], kept["status_code"]) == (one.guid, "push", 202)
    whole = forge.get(f"{where}/{kept['id']}", headers=headers).json()
    assert whole["request"]["payload"] == one.data
    assert forge.post(f"{where}/{kept['id']}/attempts", {}).status_code == 202
    again = receiver.wait(2)[1]
    assert (again.guid, again.body) == (one.guid, one.body)
    until(lambda: len(forge.get(where, headers=headers).json()) == 2)
    assert forge.get(where, headers=headers).json()[0]["redelivery"] is True


def test_two_forges_never_share_a_root(forge: Served, receiver: Receiver) -> None:
    from fyre.errors import UserError
    from fyre.local_forge.forge import LocalForge

    other = LocalForge(forge.forge.root)
    with pytest.raises(UserError, match="another forge"):
        other.start(receiver.url)
    other.stop()


def test_only_this_user_reads_the_secrets(forge: Served) -> None:
    for name in ("service-token", "webhook-secret", "forge.db"):
        assert (forge.forge.root / name).stat().st_mode & 0o077 == 0


def test_a_tag_on_a_file_has_no_commit(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    git("tag", "blob", git("rev-parse", "HEAD:README", cwd=repo), cwd=repo)
    git("push", "-q", "origin", "blob", cwd=repo)
    assert receiver.wait(2)[1].data["head_commit"] is None


def test_the_service_pushes_under_its_own_name(
    forge: Served, receiver: Receiver, repo: Path, git: Git
) -> None:
    secret = f"x-access-token:{forge.forge.service_token}"
    header = f"Authorization: Basic {base64.b64encode(secret.encode()).decode()}"
    git("-c", f"http.extraHeader={header}", "push", "-q", forge.git(), "main", cwd=repo)
    sender = receiver.wait(1)[0].data["sender"]
    assert (sender["login"], sender["type"]) == ("fyre[bot]", "Bot")


def test_a_push_by_the_file_system_is_found_by_the_next_look(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    git("push", "-q", str(forge.forge.repository_git_dir(NAME)), "main:aside", cwd=repo)
    forge.forge.outbox.schedule_repo(NAME)
    data = receiver.wait(2)[1].data
    assert (data["ref"], data["sender"]["login"]) == ("refs/heads/aside", "Ada")
