"""Commits in the API: what a ref names, one commit, the commits between two, files, branches."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

from fyre.git.cat_file import GitObject
from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.api.rest import NOT_FOUND, ApiError, ApiRequest, ApiResponse
from fyre.local_forge.storage import git_log, loose_objects
from fyre.local_forge.storage.git_log import LogEntry
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.runs.run import ZERO_SHA

FULL_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ABBREVIATED_SHA = re.compile(r"[0-9a-f]{4,39}", re.ASCII)
_INVALID_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-/]|//|/$|\.lock$|^$")

COMPARE_COMMITS_MAX = 250
"""Commits on one page of a comparison."""

PAGE_NUMBER_MAX = 1_000_000
"""Git counts what it skips in 32 bits."""

_GIT_DATE_MAX = 4_102_444_799  # 2099-12-31: git takes later dates for something else

DIRECTORY_ENTRIES_MAX = 1000
"""Entries of a directory."""

_TYPES_BY_MODE = {loose_objects.TREE_MODE: "dir", b"120000": "symlink", b"160000": "submodule"}

INLINE_BYTES_MAX = 1024 * 1024
"""Bytes; a larger file is described and not included, as on GitHub."""


def resolve_ref(request: ApiRequest, repo: BareRepository, ref: str) -> str | None:
    """The SHA of the commit that a SHA, branch or tag names, and no other of git's ways to say it."""
    find = request.forge.objects.find_commit_sha
    if FULL_SHA.fullmatch(ref):
        return find(repo.git_dir, ref)
    if _INVALID_IN_REF.search(ref):
        return None
    names = ["HEAD"] if ref == "HEAD" else [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"]
    names += [ref] if _ABBREVIATED_SHA.fullmatch(ref) else []
    return next((sha for sha in (find(repo.git_dir, name) for name in names) if sha), None)


def require_ref(request: ApiRequest, repo: BareRepository, ref: str) -> str:
    """The same, where there must be one. Raises 422."""
    found = resolve_ref(request, repo, ref)
    if found is None:
        raise ApiError(422, f"No commit found for SHA: {ref[:200]}")
    return found


def get_commit(request: ApiRequest) -> ApiResponse:
    """``GET …/commits/{ref}``."""
    bare = request.repo
    sha = require_ref(request, bare, request.path_params["ref"])
    entry = git_log.read_git_log(bare.git_dir, [sha], "--max-count=1")[0]
    return ApiResponse(
        {
            **serialize_commit(bare, entry, request.urls),
            "stats": {"additions": 0, "deletions": 0, "total": 0},
            "files": [],
        }
    )


def list_commits(request: ApiRequest) -> ApiResponse:
    """``GET …/commits?sha=&since=&until=``: newest first, from the default branch where no ``sha`` is given."""
    bare = request.repo
    request.forge.outbox.collect_pushes(bare)  # the first push names the default branch
    start = resolve_ref(request, bare, request.query_params.get("sha") or "HEAD")
    if start is None and not request.query_params.get("sha"):
        raise ApiError(409, "Git Repository is empty.")
    if start is None:
        raise ApiError(404, NOT_FOUND)
    size, number = (
        request.query_number("per_page", 30, 100),
        request.query_number("page", 1, PAGE_NUMBER_MAX),
    )
    window = [f"--skip={(number - 1) * size}", f"--max-count={size + 1}"]
    dates = [
        f"--{name}={_parse_query_date(name, request.query_params[name])}"
        for name in ("since", "until")
        if request.query_params.get(name)
    ]
    entries = git_log.read_git_log(bare.git_dir, [start], *window, *dates)
    rels = {"prev": number - 1, "first": 1} if number > 1 else {}
    rels |= {"next": number + 1} if len(entries) > size else {}
    links = request.link_header({rel: {"page": str(page)} for rel, page in rels.items()})
    return ApiResponse(
        [serialize_commit(bare, entry, request.urls) for entry in entries[:size]], headers=links
    )


def _parse_query_date(name: str, text: str) -> str:
    """A date of the query as git reads it without guessing. Raises 400: GitHub describes no 422 here."""
    try:
        given = datetime.fromisoformat(text)
        seconds = given.replace(tzinfo=given.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise ApiError(400, f"{name} is not a date in ISO 8601") from error
    return common_json.format_iso_time(min(max(seconds, 0), _GIT_DATE_MAX))


def compare_commits(request: ApiRequest) -> ApiResponse:
    """``GET …/compare/{base}...{head}``: the commits of head that base lacks, oldest first, in pages."""
    bare = request.repo
    names = request.path_params["basehead"].split("...")
    found = [resolve_ref(request, bare, name) for name in names]
    if len(names) != 2 or None in found:
        raise ApiError(404, NOT_FOUND)
    base, head = str(found[0]), str(found[1])
    behind, ahead = git_log.count_ahead_behind(bare.git_dir, base, head)
    fork = git_log.merge_base(bare.git_dir, base, head)
    if fork is None:
        raise ApiError(404, f"No common ancestor between {base} and {head}.")
    size, number = (
        request.query_number("per_page", COMPARE_COMMITS_MAX, COMPARE_COMMITS_MAX),
        request.query_number("page", 1, 1 << 40),
    )
    skip = max(0, ahead - number * size)
    window = [f"--skip={skip}", f"--max-count={max(0, ahead - (number - 1) * size - skip)}"]
    entries = git_log.read_git_log(bare.git_dir, [head, f"^{base}"], *window)[::-1]
    where, web = (
        f"{request.urls.repo_api_url(bare.name)}/compare/{base}...{head}",
        request.urls.repo_page_url(bare.name),
    )
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    ends = {
        entry.sha: entry for entry in git_log.read_git_log(bare.git_dir, [base, fork], "--no-walk")
    }
    data = {
        "url": where,
        "html_url": f"{web}/compare/{base}...{head}",
        "permalink_url": f"{web}/compare/{base}...{head}",
        "diff_url": f"{web}/compare/{base}...{head}.diff",
        "patch_url": f"{web}/compare/{base}...{head}.patch",
        "base_commit": serialize_commit(bare, ends[base], request.urls),
        "merge_base_commit": serialize_commit(bare, ends[fork], request.urls),
        "status": status.get((ahead > 0, behind > 0), "diverged"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [serialize_commit(bare, entry, request.urls) for entry in entries],
        "files": [],
    }
    return ApiResponse(data, headers=request.page_links(number, -(-ahead // size)))


def get_contents(request: ApiRequest) -> ApiResponse:
    """``GET …/contents/{path}?ref=``: a file in base64, or the names in a directory."""
    bare, path = request.repo, request.path_params.get("path", "").strip("/")
    sha = resolve_ref(request, bare, request.query_params.get("ref") or "HEAD")
    if sha is None:
        raise ApiError(
            404, f"No commit found for the ref {request.query_params.get('ref', '')[:200]}"
        )
    found = (
        request.forge.objects.find_object(bare.git_dir, f"{sha}:{path}")
        if ".." not in path.split("/")
        else None
    )
    if found is None or found.type not in ("blob", "tree"):
        raise ApiError(404, NOT_FOUND)
    if found.type == "tree":
        return ApiResponse(_serialize_directory(request, bare, path, sha, found))
    inline = len(found.content) <= INLINE_BYTES_MAX
    return ApiResponse(
        {
            **_contents_links(bare, path, sha, found.sha, request.urls),
            "type": "file",
            "encoding": "base64" if inline else "none",
            "size": len(found.content),
            "content": base64.encodebytes(found.content).decode() if inline else "",
        }
    )


def _serialize_directory(
    request: ApiRequest, repo: BareRepository, path: str, sha: str, tree: GitObject
) -> list[JsonObject]:
    """What is in a directory; like GitHub at most 1,000 entries, and a submodule without a size."""
    listed = []
    for name, (mode, digest) in list(loose_objects.parse_tree(tree.content).items())[
        :DIRECTORY_ENTRIES_MAX
    ]:
        kind = _TYPES_BY_MODE.get(mode, "file")
        blob = (
            request.forge.objects.find_object(repo.git_dir, digest.hex())
            if kind in ("file", "symlink")
            else None
        )
        within = f"{path}/{name.decode(errors='replace')}".lstrip("/")
        size = len(blob.content) if blob is not None else 0
        listed.append(
            {
                **_contents_links(repo, within, sha, digest.hex(), request.urls),
                "type": kind,
                "size": size,
            }
        )
    return listed


def _contents_links(
    repo: BareRepository, path: str, ref: str, sha: str, urls: ForgeUrls
) -> JsonObject:
    url = f"{urls.repo_api_url(repo.name)}/contents/{path}?ref={ref}"
    html, blob = (
        f"{urls.repo_page_url(repo.name)}/blob/{ref}/{path}",
        f"{urls.repo_api_url(repo.name)}/git/blobs/{sha}",
    )
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "url": url,
        "git_url": blob,
        "html_url": html,
        "download_url": None,
        "_links": {"self": url, "git": blob, "html": html},
    }


def get_branches(request: ApiRequest) -> ApiResponse:
    """``GET …/branches``."""
    bare = request.repo
    request.forge.outbox.collect_pushes(bare)
    rows = request.forge.database.fetch_rows(
        "select ref, sha from positions where repo = ? and ref like 'refs/heads/%' and sha not in ('', ?) order by ref",
        bare.id,
        ZERO_SHA,
    )

    def serialize_branch(row: Any) -> JsonObject:  # noqa: ANN401 - a row
        url = f"{request.urls.repo_api_url(bare.name)}/commits/{row['sha']}"
        name = row["ref"].removeprefix("refs/heads/")
        return {"name": name, "commit": {"sha": row["sha"], "url": url}, "protected": False}

    return request.paginate(rows, serialize_branch)


def serialize_commit(repo: BareRepository, entry: LogEntry, urls: ForgeUrls) -> JsonObject:
    """GitHub's ``commit``. Nobody's e-mail address is known to be a user's, so ``author`` is null."""
    url = f"{urls.repo_api_url(repo.name)}/commits/{entry.sha}"
    git = f"{urls.repo_api_url(repo.name)}/git"
    web = urls.repo_page_url(repo.name)
    people = {
        role: {"name": person.name, "email": person.email, "date": person.date}
        for role, person in (("author", entry.author), ("committer", entry.committer))
    }
    return {
        "url": url,
        "sha": entry.sha,
        "node_id": common_json.node_id("Commit", entry.sha),
        "html_url": f"{web}/commit/{entry.sha}",
        "comments_url": f"{url}/comments",
        "commit": {
            "url": f"{git}/commits/{entry.sha}",
            **people,
            "message": entry.message,
            "comment_count": 0,
            "tree": {"sha": entry.tree, "url": f"{git}/trees/{entry.tree}"},
        },
        "author": None,
        "committer": None,
        "parents": [
            {
                "sha": parent,
                "url": f"{urls.repo_api_url(repo.name)}/commits/{parent}",
                "html_url": f"{web}/commit/{parent}",
            }
            for parent in entry.parents
        ],
    }
