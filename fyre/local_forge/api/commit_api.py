"""Commits in the API: refs, single commits, commits between two, files, branches."""

from __future__ import annotations

import base64
import re
import sqlite3
from datetime import UTC, datetime

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
"""Git counts the commits that it skips in 32 bits."""

_GIT_DATE_MAX = 4_102_444_799  # 2099-12-31: git reads later dates as something else

DIRECTORY_ENTRIES_MAX = 1000
"""Entries of a directory."""

_TYPES_BY_MODE = {loose_objects.TREE_MODE: "dir", b"120000": "symlink", b"160000": "submodule"}

INLINE_BYTES_MAX = 1024 * 1024
"""Bytes; the response for a larger file describes it without its content, as on GitHub."""


def resolve_ref(request: ApiRequest, repo: BareRepository, ref: str) -> str | None:
    """Return the SHA of the commit that a SHA, branch or tag names; None if there is none.

    Git's other ways to name a commit are not accepted.
    """
    find_commit_sha = request.forge.objects.find_commit_sha
    if FULL_SHA.fullmatch(ref):
        return find_commit_sha(repo.git_dir, ref)
    if _INVALID_IN_REF.search(ref):
        return None
    names = ["HEAD"] if ref == "HEAD" else [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"]
    names += [ref] if _ABBREVIATED_SHA.fullmatch(ref) else []
    shas = (find_commit_sha(repo.git_dir, name) for name in names)
    return next((sha for sha in shas if sha), None)


def require_ref(request: ApiRequest, repo: BareRepository, ref: str) -> str:
    """Return the SHA of the commit that a SHA, branch or tag names. Raise 422 if there is none."""
    sha = resolve_ref(request, repo, ref)
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {ref[:200]}")
    return sha


def require_commit(request: ApiRequest, repo: BareRepository, sha: str) -> None:
    """Raise 422 unless the text is the full SHA of a commit."""
    found = FULL_SHA.fullmatch(sha) and request.forge.objects.find_commit_sha(repo.git_dir, sha)
    if found != sha:
        raise ApiError(422, f"No commit found for SHA: {sha[:100]}")


def get_commit(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits/{ref}``."""
    repo = request.repo
    sha = require_ref(request, repo, request.path_params["ref"])
    entry = git_log.read_git_log(repo.git_dir, [sha], "--max-count=1")[0]
    diff = {"stats": {"additions": 0, "deletions": 0, "total": 0}, "files": []}
    return ApiResponse(serialize_commit(repo, entry, request.urls) | diff)


def list_commits(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits?sha=&since=&until=``: newest first.

    Without ``sha``, the commits of the default branch.
    """
    repo = request.repo
    request.forge.outbox.collect_pushes(repo)  # the first push sets the default branch
    start = resolve_ref(request, repo, request.query_params.get("sha") or "HEAD")
    if start is None and not request.query_params.get("sha"):
        raise ApiError(409, "Git Repository is empty.")
    if start is None:
        raise ApiError(404, NOT_FOUND)
    size = request.query_number("per_page", 30, 100)
    number = request.query_number("page", 1, PAGE_NUMBER_MAX)
    window = [f"--skip={(number - 1) * size}", f"--max-count={size + 1}"]
    dates = [
        f"--{name}={_parse_query_date(name, request.query_params[name])}"
        for name in ("since", "until")
        if request.query_params.get(name)
    ]
    entries = git_log.read_git_log(repo.git_dir, [start], *window, *dates)
    rels = {"prev": number - 1, "first": 1} if number > 1 else {}
    rels |= {"next": number + 1} if len(entries) > size else {}
    headers = request.link_header({rel: {"page": str(page)} for rel, page in rels.items()})
    commits = [serialize_commit(repo, entry, request.urls) for entry in entries[:size]]
    return ApiResponse(commits, headers=headers)


def _parse_query_date(name: str, text: str) -> str:
    """Return a date of the query in a form that git reads without guessing.

    Raises 400: GitHub documents no 422 for this request.
    """
    try:
        date = datetime.fromisoformat(text)
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise ApiError(400, f"{name} is not a date in ISO 8601") from error
    return common_json.format_iso_time(min(max(seconds, 0), _GIT_DATE_MAX))


def compare_commits(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/compare/{base}...{head}``.

    Returns the commits of head that base lacks, oldest first, in pages.
    """
    repo = request.repo
    refs = request.path_params["basehead"].split("...")
    shas = [resolve_ref(request, repo, ref) for ref in refs]
    if len(refs) != 2 or None in shas:
        raise ApiError(404, NOT_FOUND)
    base, head = str(shas[0]), str(shas[1])
    behind, ahead = git_log.count_ahead_behind(repo.git_dir, base, head)
    merge_base = git_log.merge_base(repo.git_dir, base, head)
    if merge_base is None:
        raise ApiError(404, f"No common ancestor between {base} and {head}.")
    size = request.query_number("per_page", COMPARE_COMMITS_MAX, COMPARE_COMMITS_MAX)
    number = request.query_number("page", 1, 1 << 40)
    skip = max(0, ahead - number * size)
    window = [f"--skip={skip}", f"--max-count={max(0, ahead - (number - 1) * size - skip)}"]
    entries = git_log.read_git_log(repo.git_dir, [head, f"^{base}"], *window)[::-1]
    page_url = f"{request.urls.repo_page_url(repo.name)}/compare/{base}...{head}"
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    bases = git_log.read_git_log(repo.git_dir, [base, merge_base], "--no-walk")
    base_commits = {entry.sha: serialize_commit(repo, entry, request.urls) for entry in bases}
    data = {
        "url": f"{request.urls.repo_api_url(repo.name)}/compare/{base}...{head}",
        "html_url": page_url,
        "permalink_url": page_url,
        "diff_url": f"{page_url}.diff",
        "patch_url": f"{page_url}.patch",
        "base_commit": base_commits[base],
        "merge_base_commit": base_commits[merge_base],
        "status": status.get((ahead > 0, behind > 0), "diverged"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [serialize_commit(repo, entry, request.urls) for entry in entries],
        "files": [],
    }
    return ApiResponse(data, headers=request.page_links(number, -(-ahead // size)))


def get_contents(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/contents/{path}?ref=``: a file in base64, or the entries of a directory."""
    repo, path = request.repo, request.path_params.get("path", "").strip("/")
    sha = resolve_ref(request, repo, request.query_params.get("ref") or "HEAD")
    if sha is None:
        ref = request.query_params.get("ref", "")
        raise ApiError(404, f"No commit found for the ref {ref[:200]}")
    if ".." in path.split("/"):
        raise ApiError(404, NOT_FOUND)
    git_object = request.forge.objects.find_object(repo.git_dir, f"{sha}:{path}")
    if git_object is None or git_object.type not in ("blob", "tree"):
        raise ApiError(404, NOT_FOUND)
    if git_object.type == "tree":
        return ApiResponse(_serialize_directory(request, repo, path, sha, git_object))
    inline = len(git_object.content) <= INLINE_BYTES_MAX
    return ApiResponse(
        {
            **_contents_links(repo, path, sha, git_object.sha, request.urls),
            "type": "file",
            "encoding": "base64" if inline else "none",
            "size": len(git_object.content),
            "content": base64.encodebytes(git_object.content).decode() if inline else "",
        }
    )


def _serialize_directory(
    request: ApiRequest, repo: BareRepository, path: str, sha: str, tree: GitObject
) -> list[JsonObject]:
    """Return the entries of a directory.

    As on GitHub, there are at most 1,000, and a submodule has no size.
    """
    serialized = []
    entries = list(loose_objects.parse_tree(tree.content).items())
    for name, (mode, digest) in entries[:DIRECTORY_ENTRIES_MAX]:
        entry_type, blob = _TYPES_BY_MODE.get(mode, "file"), None
        if entry_type in ("file", "symlink"):
            blob = request.forge.objects.find_object(repo.git_dir, digest.hex())
        size = len(blob.content) if blob is not None else 0
        entry_path = f"{path}/{name.decode(errors='replace')}".lstrip("/")
        links = _contents_links(repo, entry_path, sha, digest.hex(), request.urls)
        serialized.append({**links, "type": entry_type, "size": size})
    return serialized


def _contents_links(
    repo: BareRepository, path: str, ref: str, sha: str, urls: ForgeUrls
) -> JsonObject:
    url = f"{urls.repo_api_url(repo.name)}/contents/{path}?ref={ref}"
    html_url = f"{urls.repo_page_url(repo.name)}/blob/{ref}/{path}"
    git_url = f"{urls.repo_api_url(repo.name)}/git/blobs/{sha}"
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "url": url,
        "git_url": git_url,
        "html_url": html_url,
        "download_url": None,
        "_links": {"self": url, "git": git_url, "html": html_url},
    }


def get_branches(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/branches``."""
    repo = request.repo
    request.forge.outbox.collect_pushes(repo)
    rows = request.forge.database.fetch_rows(
        "select ref, sha from positions"
        " where repo = ? and ref like 'refs/heads/%' and sha not in ('', ?) order by ref",
        repo.id,
        ZERO_SHA,
    )

    def serialize_branch(row: sqlite3.Row) -> JsonObject:
        url = f"{request.urls.repo_api_url(repo.name)}/commits/{row['sha']}"
        name = row["ref"].removeprefix("refs/heads/")
        return {"name": name, "commit": {"sha": row["sha"], "url": url}, "protected": False}

    return request.paginate(rows, serialize_branch)


def serialize_commit(repo: BareRepository, entry: LogEntry, urls: ForgeUrls) -> JsonObject:
    """Return GitHub's ``commit``.

    ``author`` is null, because no e-mail address is known to belong to a user.
    """
    api_url, page_url = urls.repo_api_url(repo.name), urls.repo_page_url(repo.name)
    url = f"{api_url}/commits/{entry.sha}"
    people = {
        role: {"name": person.name, "email": person.email, "date": person.date}
        for role, person in (("author", entry.author), ("committer", entry.committer))
    }
    return {
        "url": url,
        "sha": entry.sha,
        "node_id": common_json.node_id("Commit", entry.sha),
        "html_url": f"{page_url}/commit/{entry.sha}",
        "comments_url": f"{url}/comments",
        "commit": {
            "url": f"{api_url}/git/commits/{entry.sha}",
            **people,
            "message": entry.message,
            "comment_count": 0,
            "tree": {"sha": entry.tree, "url": f"{api_url}/git/trees/{entry.tree}"},
        },
        "author": None,
        "committer": None,
        "parents": [
            {
                "sha": parent,
                "url": f"{api_url}/commits/{parent}",
                "html_url": f"{page_url}/commit/{parent}",
            }
            for parent in entry.parents
        ],
    }
