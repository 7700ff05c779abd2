"""Statuses and comments: GitHub's rules, and notes that git itself reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from github import Auth, Github, GithubException

from tests.support.ci_marks import long_case
from tests.support.local_forge import NAME, Receiver, Served, served

Git = Callable[..., str]


def test_pygithub_writes_and_reads_everything(
    forge: Served, pushed: str, repo: Path, git: Git
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", "origin", "main", cwd=repo)
    unpaced = {"seconds_between_requests": None, "seconds_between_writes": None}
    hub = Github(
        auth=Auth.Token(forge.forge.service_token), base_url=forge.api, lazy=True, **unpaced
    )
    found = hub.get_repo(NAME)
    commit = found.get_commit(pushed)
    posted = commit.create_status("pending", "http://127.0.0.1/x", "queued", "fyre/run")
    commit.create_status("success", "http://127.0.0.1/x", "exit 0", "fyre/RUN")
    assert posted.creator.login == "fyre[bot]"
    assert [one.state for one in commit.get_statuses()] == ["success", "pending"]
    combined = commit.get_combined_status()
    assert (combined.state, combined.total_count) == ("success", 1)
    comment = commit.create_comment("/fyre rerun")
    assert [(one.id, one.body) for one in commit.get_comments()] == [(comment.id, "/fyre rerun")]
    assert [one.id for one in found.get_comments()] == [comment.id]
    assert found.get_comment(comment.id).body == "/fyre rerun"
    compared = found.compare(pushed, "main")
    assert (compared.ahead_by, [one.commit.message for one in compared.commits]) == (1, ["Second"])
    assert (
        hub.get_repo(NAME).complete().id
        == json.loads((forge.forge.repository_git_dir(NAME) / "fyre.json").read_text())["id"]
    )
    assert hub.get_user().login == "fyre[bot]"
    assert [one.full_name for one in hub.get_user().get_repos()] == [NAME]
    assert found.get_collaborator_permission("ada") == "admin"
    assert found.get_contents("README", ref=pushed).decoded_content == b"hello\n"
    assert [one.path for one in found.get_contents("", ref=pushed)] == ["README"]
    assert hub.get_rate_limit().rate.remaining > 0


def test_statuses_are_notes_that_git_reads(forge: Served, pushed: str, git: Git) -> None:
    where = forge.forge.repository_git_dir(NAME)
    for number in range(3):
        assert forge.post(
            f"/repos/{NAME}/statuses/{pushed}", {"state": "pending", "context": f"c{number}"}
        ).ok
    shown = git("notes", "--ref=fyre/statuses", "show", pushed, cwd=where).splitlines()
    assert [json.loads(line)["context"] for line in shown] == ["c0", "c1", "c2"]
    assert git("fsck", "--strict", "--no-dangling", cwd=where) == ""
    assert (
        git("ls-tree", "-r", "--name-only", "refs/notes/fyre/statuses", cwd=where)
        == f"{pushed[:2]}/{pushed[2:]}"
    )


def test_notes_of_others_and_packed_refs_are_no_trouble(
    forge: Served, pushed: str, repo: Path, git: Git
) -> None:
    where = forge.forge.repository_git_dir(NAME)
    line = json.dumps(
        {
            "id": 1,
            "state": "failure",
            "context": "old",
            "creator": "ada",
            "created_at": "2026-01-02T03:04:05Z",
        }
    )
    git("notes", "--ref=fyre/statuses", "add", "-m", f"talk\n{line}", pushed, cwd=where)
    assert forge.get(f"/repos/{NAME}/commits/main/status").json()["state"] == "failure"
    assert forge.post(f"/repos/{NAME}/statuses/{pushed}", {"state": "success", "context": "new"}).ok
    git("gc", "-q", cwd=where)
    assert not (where / "refs/notes/fyre/statuses").exists()
    assert forge.post(f"/repos/{NAME}/statuses/{pushed}", {"state": "success", "context": "OLD"}).ok
    assert forge.get(f"/repos/{NAME}/commits/main/status").json()["state"] == "success"
    assert git("notes", "--ref=fyre/statuses", "show", pushed, cwd=where).count("\n") == 3
    assert git("fsck", "--strict", "--no-dangling", cwd=where) == ""


@long_case
def test_writers_at_once_lose_nothing_and_ids_grow(tmp_path: Path, repo: Path, git: Git) -> None:
    shas = [git("rev-parse", "HEAD", cwd=repo)]
    for number in range(9):
        git("commit", "-q", "--allow-empty", "-m", str(number), cwd=repo)
        shas.append(git("rev-parse", "HEAD", cwd=repo))
    ids: list[int] = []
    for _ in range(2):
        with served(tmp_path / "forge") as forge:
            git("push", "-q", forge.git(), "main", cwd=repo)

            def post(number: int, forge: Served = forge) -> int:
                path = f"/repos/{NAME}/statuses/{shas[number % 10]}"
                return forge.post(path, {"state": "success", "context": f"c{number}"}).json()["id"]

            with ThreadPoolExecutor(8) as pool:
                ids += pool.map(post, range(60))
            for sha in shas:
                found = forge.get(f"/repos/{NAME}/commits/{sha}/statuses").json()
                assert [one["id"] for one in found] == sorted(
                    (one["id"] for one in found), reverse=True
                )
    assert len(set(ids)) == 120
    assert max(ids[:60]) < min(ids[60:])


def test_what_github_refuses(forge: Served, pushed: str) -> None:
    for body, said in [
        ({"state": "green"}, "state"),
        ({}, "state"),
        ({"state": "success", "context": 5}, "context"),
        ({"state": "success", "context": "x" * 256}, "context"),
        ({"state": "success", "description": "x" * 141}, "description"),
        ({"state": "success", "description": "\U0001f600"}, "description"),
        ({"state": "success", "target_url": "ftp://x"}, "target_url"),
        ({"state": "success", "target_url": ["x"]}, "target_url"),
    ]:
        answer = forge.post(f"/repos/{NAME}/statuses/{pushed}", body)
        assert answer.status_code == 422
        assert answer.json()["message"] == "Validation Failed"
        assert answer.json()["errors"][0]["field"] == said
        assert forge.get(f"/repos/{NAME}/commits/main/statuses").json() == []


def test_the_commit_must_exist(forge: Served, pushed: str, repo: Path, git: Git) -> None:
    tree = git("rev-parse", "HEAD^{tree}", cwd=repo)
    for sha in ("0" * 40, tree, "main", pushed[:8]):
        answer = forge.post(f"/repos/{NAME}/statuses/{sha}", {"state": "success"})
        assert (answer.status_code, answer.json()["message"]) == (
            422,
            f"No commit found for SHA: {sha}",
        )


def test_a_thousand_for_one_context(forge: Served, pushed: str) -> None:
    bare = forge.forge.repositories.find_repo(NAME)
    assert bare is not None
    blob = "".join(
        json.dumps({"id": n, "state": "pending", "context": "Full"}) + "\n" for n in range(999)
    )
    # Written in one go, as the forge would have them after 999 posts.
    forge.forge.statuses.add_commit_note(bare.git_dir, pushed, {"id": 0}, lambda _: None)
    import subprocess

    subprocess.run(
        ["git", "notes", "--ref=fyre/statuses", "add", "-f", "-F", "-", pushed],
        cwd=bare.git_dir, input=blob, text=True, check=True, capture_output=True,
    )  # fmt: skip
    path = f"/repos/{NAME}/statuses/{pushed}"
    assert forge.post(path, {"state": "success", "context": "full"}).status_code == 201
    assert forge.post(path, {"state": "success", "context": "fuLL"}).status_code == 422
    assert forge.post(path, {"state": "success", "context": "empty"}).status_code == 201


def test_who_posts(forge: Served, pushed: str) -> None:
    path = f"/repos/{NAME}/statuses/{pushed}"
    logins = {
        token: forge.post(path, {"state": "success"}, token=token)
        for token in (forge.forge.service_token, "user:grace", "x")
    }
    assert [one.json()["creator"]["login"] for one in logins.values()][:2] == ["fyre[bot]", "grace"]
    assert logins["x"].json()["creator"]["login"] not in ("", "fyre[bot]", "x")
    assert forge.post(path, {"state": "success"}, token="").status_code == 401
    assert forge.post(path, {"state": "success"}, token="user:fyre[bot]").status_code == 401


def test_pygithub_sees_refusals_as_such(forge: Served, pushed: str) -> None:
    hub = Github(auth=Auth.Token("x"), base_url=forge.api, lazy=True)
    with pytest.raises(GithubException) as refused:
        hub.get_repo(NAME).get_commit(pushed).create_status("success", description="x" * 141)
    assert refused.value.status == 422


def test_a_restart_forgets_nothing(
    tmp_path: Path, receiver: Receiver, repo: Path, git: Git
) -> None:
    with served(tmp_path / "forge") as forge:
        git("push", "-q", forge.git(), "main", cwd=repo)
        sha = git("rev-parse", "HEAD", cwd=repo)
        assert forge.post(
            f"/repos/{NAME}/statuses/{sha}", {"state": "success", "description": "ärgerlich ✓"}
        ).ok
    where = tmp_path / "forge/repositories" / f"{NAME}.git"
    (where / "refs/notes/fyre/statuses.lock").touch()  # killed in the middle
    (where / "refs/heads/main.lock").touch()
    os.utime(where / "refs/heads/main.lock", (0, 0))
    with served(tmp_path / "forge", receiver) as forge:
        git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
        git("push", "-q", forge.git(), "main", cwd=repo)
        assert forge.post(f"/repos/{NAME}/statuses/{sha}", {"state": "failure"}).ok
        found = forge.get(f"/repos/{NAME}/commits/{sha}/statuses").json()
    assert [(one["state"], one["description"]) for one in found] == [
        ("failure", None),
        ("success", "ärgerlich ✓"),
    ]
