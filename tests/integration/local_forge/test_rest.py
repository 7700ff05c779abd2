"""Pages, ETags, comparisons, activity, and an answer to whatever comes in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import requests

from tests.support.ci_marks import long_case
from tests.support.local_forge import NAME, Served

Git = Callable[..., str]

AUTHOR = (
    "author Ada <ada@example.org> 1767323045 +0000\n"
    "committer Ada <ada@example.org> 1767323045 +0000\n"
)


def fast_import(repo: Path, count: int) -> None:
    """So many commits on ``main``."""
    commits = (
        f"commit refs/heads/main\n{AUTHOR[AUTHOR.index('committer') :]}data {len(str(n))}\n{n}\n"
        + ("from refs/heads/main^0\n" if n == 0 else "")
        for n in range(count)
    )
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=repo, input="".join(commits), text=True, check=True
    )


def test_a_comparison_comes_in_pages_oldest_first(
    forge: Served, pushed: str, repo: Path, git: Git
) -> None:
    fast_import(repo, 600)
    git("push", "-q", "origin", "main", cwd=repo)
    url, seen = f"{forge.api}/repos/{NAME}/compare/{pushed}...main", []
    first = requests.get(url, timeout=20).json()
    assert (first["total_commits"], first["ahead_by"], first["behind_by"], first["status"]) == (
        600,
        600,
        0,
        "ahead",
    )
    pages = 0
    while url:
        answer = requests.get(url, timeout=20)
        seen += [int(one["commit"]["message"]) for one in answer.json()["commits"]]
        url, pages = answer.links.get("next", {}).get("url", ""), pages + 1
    assert (seen, pages) == (list(range(600)), 3)
    assert forge.get(f"/repos/{NAME}/compare/main...{pushed}").json()["status"] == "behind"
    assert forge.get(f"/repos/{NAME}/compare/main...main").json()["status"] == "identical"


@long_case
def test_a_push_of_many_commits_is_cut_and_does_not_say_so(
    forge: Served, receiver, pushed: str, repo: Path, git: Git
) -> None:
    fast_import(repo, 2100)
    git("push", "-q", "origin", "main", cwd=repo)
    data = receiver.wait(2)[1].data
    assert [int(one["message"]) for one in data["commits"]] == list(range(52, 2100))
    assert data["forced"] is False


def test_activity_is_what_the_reflogs_say(forge: Served, pushed: str, repo: Path, git: Git) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", "origin", "main", "main:dev", cwd=repo)
    second = git("rev-parse", "main", cwd=repo)
    found = forge.get(f"/repos/{NAME}/activity").json()
    assert (found[-1]["after"], found[-1]["activity_type"], found[-1]["actor"]["login"]) == (
        pushed,
        "branch_creation",
        "ada",
    )
    (one,) = forge.get(f"/repos/{NAME}/activity?activity_type=push").json()
    assert (one["ref"], one["before"], one["after"]) == ("refs/heads/main", pushed, second)
    assert len(forge.get(f"/repos/{NAME}/activity?ref=dev&time_period=day&actor=ada").json()) == 1
    assert forge.get(f"/repos/{NAME}/activity?direction=asc").json() == found[::-1]


def test_activity_goes_by_cursors(forge: Served, pushed: str, repo: Path, git: Git) -> None:
    git("push", "-q", "origin", *(f"main:b{n}" for n in range(5)), cwd=repo)
    whole = forge.get(f"/repos/{NAME}/activity").json()
    answer = forge.get(f"/repos/{NAME}/activity?per_page=2")
    seen = answer.json()
    while "next" in answer.links:
        answer = requests.get(answer.links["next"]["url"], timeout=20)
        seen += answer.json()
    assert seen == whole
    assert requests.get(answer.links["prev"]["url"], timeout=20).json() == whole[2:4]


def test_what_has_not_changed_is_not_sent_again(forge: Served, pushed: str) -> None:
    for path in ["activity", "commits/main/status", "commits/main/statuses", ""]:
        whole = f"/repos/{NAME}/{path}".rstrip("/")
        tag = forge.get(whole).headers["etag"]
        same = forge.get(whole, headers={"If-None-Match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert forge.get(whole, headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_pages_of_statuses(forge: Served, pushed: str) -> None:
    for number in range(5):
        forge.post(f"/repos/{NAME}/statuses/{pushed}", {"state": "success", "context": str(number)})
    path = f"/repos/{NAME}/commits/main/statuses"
    pages = [forge.get(f"{path}?per_page=2&page={page}").json() for page in (1, 2, 3, 4)]
    assert [one["context"] for page in pages for one in page] == ["4", "3", "2", "1", "0"]
    assert set(forge.get(f"{path}?per_page=2&page=2").links) == {"prev", "first", "next", "last"}
    assert len(forge.get(f"{path}?per_page=x&page=-1").json()) == 5


def test_refs_with_slashes_and_annotated_tags(
    forge: Served, pushed: str, repo: Path, git: Git
) -> None:
    git("tag", "-a", "v1", "-m", "One", cwd=repo)
    git("push", "-q", "origin", "main:feature/a/b", "v1", cwd=repo)
    for ref in ("feature/a/b", "heads/main", "v1", "tags/v1", pushed[:7], "HEAD"):
        assert forge.get(f"/repos/{NAME}/commits/{ref}").json()["sha"] == pushed
        assert forge.get(f"/repos/{NAME}/commits/{ref}/status").json()["sha"] == pushed


def test_only_names_name_commits(forge: Served, pushed: str) -> None:
    for ref in [
        "main~0",
        "main^",
        "@{-1}",
        ":README",
        "HEAD:README",
        "main%0Amain",
        "nope",
        "%ff",
        "-x",
        "ma%00in",
    ]:
        assert forge.get(f"/repos/{NAME}/commits/{ref}").status_code in (404, 422)
        assert forge.get(f"/repos/{NAME}/compare/main...{ref}").status_code == 404
        assert forge.get(f"/repos/{NAME}/contents/README?ref={ref}").status_code == 404


def test_an_unknown_repository_is_not_found_anywhere(forge: Served, pushed: str) -> None:
    for path in (
        "",
        "/commits/main",
        "/activity",
        "/comments",
        "/hooks",
        "/branches",
        "/contents/x",
        "/compare/a...b",
    ):
        answer = forge.get(f"/repos/ada/nothing{path}", headers={"Authorization": "token x"})
        assert (answer.status_code, answer.json()["message"], answer.json()["status"]) == (
            404,
            "Not Found",
            "404",
        )
    for path in ("/nowhere", "/repos", f"/repos/{NAME}/issues"):
        assert forge.get(path).json()["message"] == "Not Found"


def test_garbage_gets_a_clear_no(forge: Served, pushed: str) -> None:
    for body in [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b"[" * 100_000,
        b'{"state": "success", "context": "\\ud800"}',
        b'{"state": {}}',
        b'{"state": "success", "description": 7}',
        b"{}" + b" " * 2_000_000,
    ]:
        for path in (f"statuses/{pushed}", f"commits/{pushed}/comments"):
            answer = requests.post(
                f"{forge.api}/repos/{NAME}/{path}",
                data=body,
                headers={"Authorization": "token x"},
                timeout=20,
            )
            assert answer.status_code in (400, 413, 422)
            assert answer.json()["documentation_url"]


def test_who_says_nothing_writes_nothing(forge: Served, pushed: str) -> None:
    for authorization in [
        "",
        "token",
        "token ",
        "Basic !",
        "Basic eA==",
        "Digest x",
        "token user:",
        "token user:a b",
    ]:
        answer = requests.post(
            f"{forge.api}/repos/{NAME}/statuses/{pushed}", json={"state": "success"},
            headers={"Authorization": authorization}, timeout=20,
        )  # fmt: skip
        assert answer.status_code in (201, 401)
        assert (answer.status_code == 401) or authorization.startswith("token user:")


def test_a_message_of_another_encoding_and_bad_bytes(
    forge: Served, receiver, pushed: str, repo: Path, git: Git
) -> None:
    tree = git("rev-parse", "HEAD^{tree}", cwd=repo)
    raw = (
        f"tree {tree}\nparent {pushed}\n{AUTHOR}encoding ISO-8859-1\n\n".encode()
        + "Ärger".encode("latin-1")
        + b"\n"
    )
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=repo,
        input=raw,
        capture_output=True,
        check=True,
    )
    git("push", "-q", "origin", f"{done.stdout.decode().strip()}:refs/heads/main", cwd=repo)
    assert receiver.wait(2)[1].data["commits"][0]["message"] == "Ärger"
    assert forge.get(f"/repos/{NAME}/commits/main").json()["commit"]["message"] == "Ärger"
