"""Commits in the API: what a ref names, one commit, the commits between two, files, branches."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

from fyre.git.cat_file import Object
from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import Json, Urls
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call
from fyre.local_forge.storage import git_log, loose_objects
from fyre.local_forge.storage.git_log import Entry
from fyre.local_forge.storage.repository_store import Bare
from fyre.runs.run import ZERO_SHA

SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ABBREVIATED = re.compile(r"[0-9a-f]{4,39}", re.ASCII)
_NOT_IN_A_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-/]|//|/$|\.lock$|^$")

COMPARED_MAX = 250
"""Commits on one page of a comparison."""

PAGE_MAX = 1_000_000
"""Git counts what it skips in 32 bits."""

_GIT_YEARS_END = 4_102_444_799  # 2099-12-31: git takes later dates for something else

LISTED_MAX = 1000
"""Entries of a directory."""

_KINDS = {loose_objects.TREE: "dir", b"120000": "symlink", b"160000": "submodule"}

INLINE_MAX = 1024 * 1024
"""Bytes; a larger file is described and not included, as on GitHub."""


def resolve(call: Call, bare: Bare, ref: str) -> str | None:
    """The SHA of the commit that a SHA, branch or tag names, and no other of git's ways to say it."""
    find = call.forge.objects.commit
    if SHA.fullmatch(ref):
        return find(bare.git_dir, ref)
    if _NOT_IN_A_REF.search(ref):
        return None
    names = ["HEAD"] if ref == "HEAD" else [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"]
    names += [ref] if _ABBREVIATED.fullmatch(ref) else []
    return next((sha for sha in (find(bare.git_dir, name) for name in names) if sha), None)


def resolved(call: Call, bare: Bare, ref: str) -> str:
    """The same, where there must be one. Raises 422."""
    found = resolve(call, bare, ref)
    if found is None:
        raise ApiError(422, f"No commit found for SHA: {ref[:200]}")
    return found


def get_commit(call: Call) -> Answer:
    """``GET …/commits/{ref}``."""
    bare = call.bare
    sha = resolved(call, bare, call.path["ref"])
    entry = git_log.read(bare.git_dir, [sha], "--max-count=1")[0]
    return Answer(
        {
            **shape(bare, entry, call.urls),
            "stats": {"additions": 0, "deletions": 0, "total": 0},
            "files": [],
        }
    )


def list_commits(call: Call) -> Answer:
    """``GET …/commits?sha=&since=&until=``: newest first, from the default branch where no ``sha`` is given."""
    bare = call.bare
    call.forge.outbox.collect(bare)  # the first push names the default branch
    start = resolve(call, bare, call.query.get("sha") or "HEAD")
    if start is None and not call.query.get("sha"):
        raise ApiError(409, "Git Repository is empty.")
    if start is None:
        raise ApiError(404, NOT_FOUND)
    size, number = call.number("per_page", 30, 100), call.number("page", 1, PAGE_MAX)
    window = [f"--skip={(number - 1) * size}", f"--max-count={size + 1}"]
    dates = [
        f"--{name}={_date(name, call.query[name])}"
        for name in ("since", "until")
        if call.query.get(name)
    ]
    entries = git_log.read(bare.git_dir, [start], *window, *dates)
    rels = {"prev": number - 1, "first": 1} if number > 1 else {}
    rels |= {"next": number + 1} if len(entries) > size else {}
    links = call.link({rel: {"page": str(page)} for rel, page in rels.items()})
    return Answer([shape(bare, entry, call.urls) for entry in entries[:size]], headers=links)


def _date(name: str, text: str) -> str:
    """A date of the query as git reads it without guessing. Raises 400: GitHub describes no 422 here."""
    try:
        given = datetime.fromisoformat(text)
        seconds = given.replace(tzinfo=given.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise ApiError(400, f"{name} is not a date in ISO 8601") from error
    return common_json.moment(min(max(seconds, 0), _GIT_YEARS_END))


def compare(call: Call) -> Answer:
    """``GET …/compare/{base}...{head}``: the commits of head that base lacks, oldest first, in pages."""
    bare = call.bare
    names = call.path["basehead"].split("...")
    found = [resolve(call, bare, name) for name in names]
    if len(names) != 2 or None in found:
        raise ApiError(404, NOT_FOUND)
    base, head = str(found[0]), str(found[1])
    behind, ahead = git_log.distance(bare.git_dir, base, head)
    fork = git_log.merge_base(bare.git_dir, base, head)
    if fork is None:
        raise ApiError(404, f"No common ancestor between {base} and {head}.")
    size, number = (
        call.number("per_page", COMPARED_MAX, COMPARED_MAX),
        call.number("page", 1, 1 << 40),
    )
    skip = max(0, ahead - number * size)
    window = [f"--skip={skip}", f"--max-count={max(0, ahead - (number - 1) * size - skip)}"]
    entries = git_log.read(bare.git_dir, [head, f"^{base}"], *window)[::-1]
    where, web = (
        f"{call.urls.repository(bare.name)}/compare/{base}...{head}",
        call.urls.web(bare.name),
    )
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    ends = {entry.sha: entry for entry in git_log.read(bare.git_dir, [base, fork], "--no-walk")}
    data = {
        "url": where,
        "html_url": f"{web}/compare/{base}...{head}",
        "permalink_url": f"{web}/compare/{base}...{head}",
        "diff_url": f"{web}/compare/{base}...{head}.diff",
        "patch_url": f"{web}/compare/{base}...{head}.patch",
        "base_commit": shape(bare, ends[base], call.urls),
        "merge_base_commit": shape(bare, ends[fork], call.urls),
        "status": status.get((ahead > 0, behind > 0), "diverged"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [shape(bare, entry, call.urls) for entry in entries],
        "files": [],
    }
    return Answer(data, headers=call.links(number, -(-ahead // size)))


def get_contents(call: Call) -> Answer:
    """``GET …/contents/{path}?ref=``: a file in base64, or the names in a directory."""
    bare, path = call.bare, call.path.get("path", "").strip("/")
    sha = resolve(call, bare, call.query.get("ref") or "HEAD")
    if sha is None:
        raise ApiError(404, f"No commit found for the ref {call.query.get('ref', '')[:200]}")
    found = (
        call.forge.objects.find(bare.git_dir, f"{sha}:{path}")
        if ".." not in path.split("/")
        else None
    )
    if found is None or found.type not in ("blob", "tree"):
        raise ApiError(404, NOT_FOUND)
    if found.type == "tree":
        return Answer(_directory(call, bare, path, sha, found))
    inline = len(found.content) <= INLINE_MAX
    return Answer(
        {
            **_links(bare, path, sha, found.sha, call.urls),
            "type": "file",
            "encoding": "base64" if inline else "none",
            "size": len(found.content),
            "content": base64.encodebytes(found.content).decode() if inline else "",
        }
    )


def _directory(call: Call, bare: Bare, path: str, sha: str, tree: Object) -> list[Json]:
    """What is in a directory; like GitHub at most 1,000 entries, and a submodule without a size."""
    listed = []
    for name, (mode, digest) in list(loose_objects.parse_tree(tree.content).items())[:LISTED_MAX]:
        kind = _KINDS.get(mode, "file")
        blob = (
            call.forge.objects.find(bare.git_dir, digest.hex())
            if kind in ("file", "symlink")
            else None
        )
        within = f"{path}/{name.decode(errors='replace')}".lstrip("/")
        size = len(blob.content) if blob is not None else 0
        listed.append(
            {**_links(bare, within, sha, digest.hex(), call.urls), "type": kind, "size": size}
        )
    return listed


def _links(bare: Bare, path: str, ref: str, sha: str, urls: Urls) -> Json:
    url = f"{urls.repository(bare.name)}/contents/{path}?ref={ref}"
    html, blob = (
        f"{urls.web(bare.name)}/blob/{ref}/{path}",
        f"{urls.repository(bare.name)}/git/blobs/{sha}",
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


def get_branches(call: Call) -> Answer:
    """``GET …/branches``."""
    bare = call.bare
    call.forge.outbox.collect(bare)
    rows = call.forge.store.ask(
        "select ref, sha from positions where repo = ? and ref like 'refs/heads/%' and sha not in ('', ?) order by ref",
        bare.id,
        ZERO_SHA,
    )

    def one(row: Any) -> Json:  # noqa: ANN401 - a row
        url = f"{call.urls.repository(bare.name)}/commits/{row['sha']}"
        name = row["ref"].removeprefix("refs/heads/")
        return {"name": name, "commit": {"sha": row["sha"], "url": url}, "protected": False}

    return call.page(rows, one)


def shape(bare: Bare, entry: Entry, urls: Urls) -> Json:
    """GitHub's ``commit``. Nobody's e-mail address is known to be a user's, so ``author`` is null."""
    url = f"{urls.repository(bare.name)}/commits/{entry.sha}"
    git = f"{urls.repository(bare.name)}/git"
    web = urls.web(bare.name)
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
                "url": f"{urls.repository(bare.name)}/commits/{parent}",
                "html_url": f"{web}/commit/{parent}",
            }
            for parent in entry.parents
        ],
    }
