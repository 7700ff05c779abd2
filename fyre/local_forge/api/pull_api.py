"""Pull requests in the API: each a blob under ``refs/fyre/pulls/N``.

Its head is at ``refs/pull/N/head``, as on GitHub. The head is updated whenever it is asked for, so
that nothing has to watch other repositories.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path

from fyre.git import git_command
from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.api.pull_json import StoredPullRequest, serialize_shared_fields
from fyre.local_forge.api.rest import (
    NOT_FOUND,
    ApiError,
    ApiRequest,
    ApiResponse,
    unprocessable_field,
)
from fyre.local_forge.auth import User
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.storage import git_log, loose_objects
from fyre.local_forge.storage.note_forms import pull_from_json, pull_to_json
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.regular_files import read_regular
from fyre.stored_form import UnreadableError, parse_json, warn_once

_PULLS_REF = "refs/fyre/pulls"  # hidden from pushes, like everything below refs/fyre

_BASES_REF = "refs/fyre/bases"
"""The base at the time when a pull request was opened. Not in its blob, where version 0.1 reads no
other fields than its own."""

PULL_COMMITS_MAX = 250
"""Commits of a pull request that GitHub lists."""

_COUNT_FIELDS = ("comments", "review_comments", "additions", "deletions", "changed_files")


def find_pull_request(forge: LocalForge, repo: BareRepository, number: int) -> StoredPullRequest:
    """Return the pull request of that number. Raises 404, also if it can't be read."""
    blob = forge.objects.find_object(repo.git_dir, f"{_PULLS_REF}/{number}")
    if blob is None or blob.type != "blob":
        raise ApiError(404, NOT_FOUND)
    try:
        return pull_from_json(parse_json(blob.content), blob=blob.sha)
    except UnreadableError as error:
        warn_once(f"{repo.name}'s {_PULLS_REF}/{number}", str(error))
        raise ApiError(404, NOT_FOUND) from error


def refresh_pull_head(forge: LocalForge, repo: BareRepository, pull: StoredPullRequest) -> str:
    """Update ``refs/pull/N/head`` from its branch and return the SHA.

    Returns the last known SHA once the branch or its repository is gone.
    """
    ref = f"refs/pull/{pull.number}/head"
    last_known = forge.objects.find_commit_sha(repo.git_dir, ref) or ""
    source = forge.repositories.find_repo(pull.repository)
    if source is None:
        return last_known
    tip = forge.objects.find_commit_sha(source.git_dir, f"refs/heads/{pull.ref}")
    if tip is None or tip == last_known:
        return last_known
    options = ("--quiet", "--no-auto-gc", "--no-tags", "--no-write-fetch-head")
    command = ("fetch", *options, "--", str(source.git_dir), f"+{tip}:{ref}")
    git_command.run_git(f"--git-dir={repo.git_dir}", *command, env=git_command.clean_env())
    return tip


def post_pull_request(request: ApiRequest) -> ApiResponse:
    """Handle ``POST …/pulls``.

    The ``head`` of a fork is ``OWNER:BRANCH``, and the fork has its parent's name.
    """
    repo, forge, user = request.repo, request.forge, request.authenticated_user
    owner, _, branch = (request.body_text("head") or "").rpartition(":")
    head_name = f"{owner}/{repo.name.partition('/')[2]}" if owner else repo.name
    base, title = request.body_text("base") or "", request.body_text("title") or ""
    if not _has_branch(forge, forge.repositories.find_repo(head_name), branch):
        raise unprocessable_field("head", "head is no branch")
    if not _has_branch(forge, repo, base):
        raise unprocessable_field("base", "base is no branch")
    if not title.strip():
        raise unprocessable_field("title", "title can't be blank")
    now = common_json.format_iso_time(time.time())
    with forge.notes_lock(repo):
        number = _free_number(forge, repo)
        pull = StoredPullRequest(
            number, title, request.body_text("body"), user.login, head_name, branch, base, now
        )
        refresh_pull_head(forge, repo, pull)
        base_sha = str(forge.objects.find_commit_sha(repo.git_dir, f"refs/heads/{base}"))
        _store_pull_request(repo, pull, base_sha)
    pull = find_pull_request(forge, repo, number)
    data = serialize_pull_request(forge, repo, pull, request.urls)
    return ApiResponse(data, 201, {"location": data["url"]})


def _has_branch(forge: LocalForge, repo: BareRepository | None, branch: str) -> bool:
    if repo is None:
        return False
    return forge.objects.find_commit_sha(repo.git_dir, f"refs/heads/{branch}") is not None


def _free_number(forge: LocalForge, repo: BareRepository) -> int:
    return next(number for number in count(1) if not _has_pull(forge, repo, number))


def get_pull_request(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/pulls/{number}``."""
    pull = find_pull_request(request.forge, request.repo, request.path_number("number"))
    return ApiResponse(serialize_pull_request(request.forge, request.repo, pull, request.urls))


def list_pull_requests(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/pulls``: newest first, those that are open unless ``state`` says otherwise."""
    wanted = request.query_params.get("state", "open")
    if wanted not in ("open", "closed", "all"):
        raise unprocessable_field("state", "state is open, closed or all")

    def serialize(pull: StoredPullRequest) -> JsonObject:
        return serialize_pull_request(request.forge, request.repo, pull, request.urls)

    pulls = list(_all_pulls(request.forge, request.repo))[::-1]
    if wanted != "all":
        pulls = [pull for pull in pulls if serialize(pull)["state"] == wanted]
    return request.paginate(pulls, serialize)


def list_commit_pulls(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits/{sha}/pulls``: the open and the merged ones that hold a commit.

    A pull request is merged once its head is on its base branch. The commit that merged it counts
    as well.
    """
    forge, repo = request.forge, request.repo
    sha = commit_api.require_ref(request, repo, request.path_params["ref"])
    pulls = [pull for pull in _all_pulls(forge, repo) if _holds_commit(forge, repo, pull, sha)]
    return ApiResponse([serialize_pull_request(forge, repo, pull, request.urls) for pull in pulls])


def list_pull_commits(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/pulls/{number}/commits``: what the head had beyond the base, oldest first."""
    forge, repo = request.forge, request.repo
    pull = find_pull_request(forge, repo, request.path_number("number"))
    head_sha = refresh_pull_head(forge, repo, pull)
    revisions = [head_sha, f"^{_opening_base(forge, repo, pull)}"] if head_sha else []
    entries = git_log.read_git_log(repo.git_dir, revisions) if revisions else []
    return request.paginate(
        entries[::-1][:PULL_COMMITS_MAX],
        lambda entry: commit_api.serialize_commit(repo, entry, request.urls),
    )


def _opening_base(forge: LocalForge, repo: BareRepository, pull: StoredPullRequest) -> str:
    """Return the commit of the base when a pull request was opened.

    It is the branch where version 0.1 did not store the commit.
    """
    stored = forge.objects.find_commit_sha(repo.git_dir, f"{_BASES_REF}/{pull.number}")
    return stored or f"refs/heads/{pull.base}"


def _all_pulls(forge: LocalForge, repo: BareRepository) -> Iterator[StoredPullRequest]:
    for number in takewhile(lambda number: _has_pull(forge, repo, number), count(1)):
        with suppress(ApiError):  # it can't be read
            yield find_pull_request(forge, repo, number)


def _has_pull(forge: LocalForge, repo: BareRepository, number: int) -> bool:
    return forge.objects.find_object(repo.git_dir, f"{_PULLS_REF}/{number}") is not None


def _holds_commit(
    forge: LocalForge, repo: BareRepository, pull: StoredPullRequest, sha: str
) -> bool:
    head_sha = refresh_pull_head(forge, repo, pull)
    if not head_sha:
        return False
    git_dir = repo.git_dir
    base = _opening_base(forge, repo, pull)
    brought = git_log.is_ancestor(git_dir, sha, head_sha) and not git_log.is_ancestor(
        git_dir, sha, base
    )
    return brought or head_sha in git_log.list_parents(git_dir, sha)[1:]


def _store_pull_request(repo: BareRepository, pull: StoredPullRequest, base_sha: str) -> None:
    stored = {name: value for name, value in pull_to_json(pull).items() if name != "blob"}
    blob = loose_objects.write_object(repo.git_dir, b"blob", json.dumps(stored).encode())
    _write_ref(repo, f"{_BASES_REF}/{pull.number}", base_sha)
    _write_ref(repo, f"{_PULLS_REF}/{pull.number}", blob.hex())


def has_no_pulls(git_dir: Path) -> bool:
    """Return True if nobody has opened a pull request in a repository; starts no git.

    Only files are read, so False is returned where git may keep refs elsewhere (reftable).
    """
    folder = git_dir / _PULLS_REF
    if (git_dir / "reftable").exists() or (folder.is_dir() and any(folder.iterdir())):
        return False
    try:
        return f" {_PULLS_REF}/".encode() not in read_regular(git_dir / "packed-refs")
    except FileNotFoundError:
        return True


def _write_ref(repo: BareRepository, name: str, sha: str) -> None:
    ref = repo.git_dir / name
    ref.parent.mkdir(parents=True, exist_ok=True)
    lock = ref.with_name(f"{ref.name}.lock")
    lock.write_text(f"{sha}\n")
    os.replace(lock, ref)  # noqa: PTH105 - os.replace is known to be atomic


def serialize_pull_request(
    forge: LocalForge, repo: BareRepository, pull: StoredPullRequest, urls: ForgeUrls
) -> JsonObject:
    """Return GitHub's ``pull-request``."""
    head_sha = refresh_pull_head(forge, repo, pull)
    base_sha = forge.objects.find_commit_sha(repo.git_dir, f"refs/heads/{pull.base}") or ""
    merged = bool(head_sha and base_sha) and git_log.is_ancestor(repo.git_dir, head_sha, base_sha)
    head_repo = forge.repositories.find_repo(pull.repository)
    api_url = urls.repo_api_url(repo.name)
    url, issue_url = f"{api_url}/pulls/{pull.number}", f"{api_url}/issues/{pull.number}"
    links = {
        "self": url,
        "html": f"{urls.repo_page_url(repo.name)}/pull/{pull.number}",
        "issue": issue_url,
        "comments": f"{issue_url}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api_url}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api_url}/statuses/{head_sha}",
    }
    return {
        **serialize_shared_fields(repo, pull, urls),
        **_serialize_merge(repo, base_sha, merged=merged),
        "url": url,
        **{f"{rel}_url": href for rel, href in links.items() if rel != "self"},
        "_links": {rel: {"href": href} for rel, href in links.items()},
        "head": _serialize_pull_end(head_repo, pull.repository, pull.ref, head_sha, urls),
        "base": _serialize_pull_end(repo, repo.name, pull.base, base_sha, urls),
        "merge_commit_sha": None,
        "auto_merge": None,
        "merged": merged,
        "mergeable": None,
        "mergeable_state": "unknown",
        "merged_by": None,
        "maintainer_can_modify": False,
        "commits": _count_commits(repo, base_sha, head_sha),
        **dict.fromkeys(_COUNT_FIELDS, 0),
    }


def _serialize_merge(repo: BareRepository, base_sha: str, *, merged: bool) -> JsonObject:
    """Return the fields that a merge changes; its time is that of the newest commit of the base."""
    if not merged:
        return {}
    tip = git_log.read_git_log(repo.git_dir, [base_sha], "--max-count=1")[0]
    return {"state": "closed", "merged_at": tip.committer.date, "closed_at": tip.committer.date}


def _count_commits(repo: BareRepository, base_sha: str, head_sha: str) -> int:
    if not base_sha:
        return 0
    return git_log.count_ahead_behind(repo.git_dir, base_sha, head_sha)[1]


def _serialize_pull_end(
    repo: BareRepository | None, name: str, ref: str, sha: str, urls: ForgeUrls
) -> JsonObject:
    """Return the ``head`` or the ``base`` of a pull request; the head's repository may be gone."""
    owner = name.partition("/")[0]
    return {
        "label": f"{owner}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": common_json.serialize_user(User(owner), urls),
        "repo": common_json.serialize_repo(repo, urls) if repo is not None else None,
    }
