"""Pull requests: each a blob of facts under ``refs/fyre/pulls/N``, its head under ``refs/pull/N/head`` as on GitHub.

The head is brought up to date whenever somebody asks for it, so that nothing has to watch other repositories.
"""

from __future__ import annotations

import json
import os
import time
from itertools import count

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
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.local_forge.storage.stored_notes import pull_from_json, pull_to_json
from fyre.stored_form import UnreadableError, parse_json, warn_once

_PULLS_REF = "refs/fyre/pulls"  # hidden from pushes, as all below refs/fyre


def find_pull_request(forge: LocalForge, repo: BareRepository, number: int) -> StoredPullRequest:
    """The pull request of that number. Raises 404."""
    found = forge.objects.find_object(repo.git_dir, f"{_PULLS_REF}/{number}")
    if found is None or found.type != "blob":
        raise ApiError(404, NOT_FOUND)
    try:
        return pull_from_json(parse_json(found.content), blob=found.sha)
    except UnreadableError as error:
        warn_once(f"{repo.name}'s {_PULLS_REF}/{number}", str(error))
        raise ApiError(404, NOT_FOUND) from error


def refresh_pull_head(forge: LocalForge, repo: BareRepository, pull: StoredPullRequest) -> str:
    """Where its head is now; where it last was, once the branch or its repository is gone."""
    ref = f"refs/pull/{pull.number}/head"
    source = forge.repositories.find_repo(pull.repository)
    tip = (
        forge.objects.find_commit_sha(source.git_dir, f"refs/heads/{pull.ref}")
        if source is not None
        else None
    )
    known = forge.objects.find_commit_sha(repo.git_dir, ref)
    if source is None or tip is None or tip == known:
        return known or ""
    options = ("--quiet", "--no-auto-gc", "--no-tags", "--no-write-fetch-head")
    where = ("fetch", *options, "--", str(source.git_dir), f"+{tip}:{ref}")
    git_command.run_git(f"--git-dir={repo.git_dir}", *where, env=git_command.clean_env())
    return tip


def post_pull_request(request: ApiRequest) -> ApiResponse:
    """``POST …/pulls``; a fork's ``head`` is ``OWNER:BRANCH``, and the fork has its parent's name."""
    bare, who = request.repo, request.authenticated_user
    owner, _, branch = (request.body_text("head") or "").rpartition(":")
    name = f"{owner}/{bare.name.partition('/')[2]}" if owner else bare.name
    base, title = request.body_text("base") or "", request.body_text("title") or ""
    source = request.forge.repositories.find_repo(name)
    for field, where, ref in (("head", source, branch), ("base", bare, base)):
        if (
            where is None
            or request.forge.objects.find_commit_sha(where.git_dir, f"refs/heads/{ref}") is None
        ):
            raise unprocessable_field(field, f"{field} is no branch")
    if not title.strip():
        raise unprocessable_field("title", "title can't be blank")
    now = common_json.format_iso_time(time.time())
    with request.forge.notes_lock(bare):
        number = next(
            n
            for n in count(1)
            if request.forge.objects.find_object(bare.git_dir, f"{_PULLS_REF}/{n}") is None
        )
        made = StoredPullRequest(
            number, title, request.body_text("body"), who.login, name, branch, base, now
        )
        refresh_pull_head(request.forge, bare, made)
        _store_pull_request(bare, made)
    data = serialize_pull_request(
        request.forge, bare, find_pull_request(request.forge, bare, number), request.urls
    )
    return ApiResponse(data, 201, {"location": data["url"]})


def get_pull_request(request: ApiRequest) -> ApiResponse:
    """``GET …/pulls/{number}``."""
    found = find_pull_request(request.forge, request.repo, request.path_number("number"))
    return ApiResponse(serialize_pull_request(request.forge, request.repo, found, request.urls))


def _store_pull_request(repo: BareRepository, pull: StoredPullRequest) -> None:
    kept = {name: value for name, value in pull_to_json(pull).items() if name != "blob"}
    blob = loose_objects.write_object(repo.git_dir, b"blob", json.dumps(kept).encode())
    where = repo.git_dir / _PULLS_REF / str(pull.number)
    where.parent.mkdir(parents=True, exist_ok=True)
    fresh = where.with_name(f"{pull.number}.lock")
    fresh.write_text(blob.hex() + "\n")
    os.replace(fresh, where)  # noqa: PTH105 - the atomic one, said plainly


def serialize_pull_request(
    forge: LocalForge, repo: BareRepository, pull: StoredPullRequest, urls: ForgeUrls
) -> JsonObject:
    """GitHub's ``pull-request``."""
    api, tip = urls.repo_api_url(repo.name), refresh_pull_head(forge, repo, pull)
    base = commit_api.FULL_SHA.fullmatch(
        forge.objects.find_commit_sha(repo.git_dir, f"refs/heads/{pull.base}") or ""
    )
    url, issue = f"{api}/pulls/{pull.number}", f"{api}/issues/{pull.number}"
    links = {
        "self": url,
        "html": f"{urls.repo_page_url(repo.name)}/pull/{pull.number}",
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api}/statuses/{tip}",
    }
    return {
        **serialize_shared_fields(repo, pull, urls),
        "url": url,
        **{f"{rel}_url": href for rel, href in links.items() if rel != "self"},
        "_links": {rel: {"href": href} for rel, href in links.items()},
        "head": _serialize_pull_end(
            forge.repositories.find_repo(pull.repository), pull.repository, pull.ref, tip, urls
        ),
        "base": _serialize_pull_end(repo, repo.name, pull.base, base[0] if base else "", urls),
        "merge_commit_sha": None,
        "auto_merge": None,
        "merged": False,
        "mergeable": None,
        "mergeable_state": "unknown",
        "merged_by": None,
        "maintainer_can_modify": False,
        "commits": git_log.count_ahead_behind(repo.git_dir, base[0], tip)[1] if base else 0,
        **dict.fromkeys(
            ("comments", "review_comments", "additions", "deletions", "changed_files"), 0
        ),
    }


def _serialize_pull_end(
    repo: BareRepository | None, name: str, ref: str, sha: str, urls: ForgeUrls
) -> JsonObject:
    """The head or the base; the repository of a head may be gone."""
    owner = name.partition("/")[0]
    return {
        "label": f"{owner}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": common_json.serialize_user(User(owner), urls),
        "repo": common_json.serialize_repo(repo, urls) if repo is not None else None,
    }
