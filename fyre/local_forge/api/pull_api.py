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
from fyre.local_forge.api.common_json import Json, Urls
from fyre.local_forge.api.pull_json import Pull, facts
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call, invalid
from fyre.local_forge.auth import User
from fyre.local_forge.forge import Forge
from fyre.local_forge.storage import git_log, loose_objects
from fyre.local_forge.storage.repository_store import Bare
from fyre.local_forge.storage.stored_notes import pull_from_json, pull_to_json
from fyre.stored_form import UnreadableError, parse_json, warn_once

_REF = "refs/fyre/pulls"  # hidden from pushes, as all below refs/fyre


def find(forge: Forge, bare: Bare, number: int) -> Pull:
    """The pull request of that number. Raises 404."""
    found = forge.objects.find(bare.git_dir, f"{_REF}/{number}")
    if found is None or found.type != "blob":
        raise ApiError(404, NOT_FOUND)
    try:
        return pull_from_json(parse_json(found.content), blob=found.sha)
    except UnreadableError as error:
        warn_once(f"{bare.name}'s {_REF}/{number}", str(error))
        raise ApiError(404, NOT_FOUND) from error


def head(forge: Forge, bare: Bare, pull: Pull) -> str:
    """Where its head is now; where it last was, once the branch or its repository is gone."""
    ref = f"refs/pull/{pull.number}/head"
    source = forge.shelf.find(pull.repository)
    tip = (
        forge.objects.commit(source.git_dir, f"refs/heads/{pull.ref}")
        if source is not None
        else None
    )
    known = forge.objects.commit(bare.git_dir, ref)
    if source is None or tip is None or tip == known:
        return known or ""
    options = ("--quiet", "--no-auto-gc", "--no-tags", "--no-write-fetch-head")
    where = ("fetch", *options, "--", str(source.git_dir), f"+{tip}:{ref}")
    git_command.run(f"--git-dir={bare.git_dir}", *where, env=git_command.clean_env())
    return tip


def post_pull(call: Call) -> Answer:
    """``POST …/pulls``; a fork's ``head`` is ``OWNER:BRANCH``, and the fork has its parent's name."""
    bare, who = call.bare, call.writer
    owner, _, branch = (call.text("head") or "").rpartition(":")
    name = f"{owner}/{bare.name.partition('/')[2]}" if owner else bare.name
    base, title = call.text("base") or "", call.text("title") or ""
    source = call.forge.shelf.find(name)
    for field, where, ref in (("head", source, branch), ("base", bare, base)):
        if where is None or call.forge.objects.commit(where.git_dir, f"refs/heads/{ref}") is None:
            raise invalid(field, f"{field} is no branch")
    if not title.strip():
        raise invalid("title", "title can't be blank")
    now = common_json.moment(time.time())
    with call.forge.turn(bare):
        number = next(
            n for n in count(1) if call.forge.objects.find(bare.git_dir, f"{_REF}/{n}") is None
        )
        made = Pull(number, title, call.text("body"), who.login, name, branch, base, now)
        head(call.forge, bare, made)
        _write(bare, made)
    data = shape(call.forge, bare, find(call.forge, bare, number), call.urls)
    return Answer(data, 201, {"location": data["url"]})


def get_pull(call: Call) -> Answer:
    """``GET …/pulls/{number}``."""
    found = find(call.forge, call.bare, call.integer("number"))
    return Answer(shape(call.forge, call.bare, found, call.urls))


def _write(bare: Bare, pull: Pull) -> None:
    kept = {name: value for name, value in pull_to_json(pull).items() if name != "blob"}
    blob = loose_objects.write(bare.git_dir, b"blob", json.dumps(kept).encode())
    where = bare.git_dir / _REF / str(pull.number)
    where.parent.mkdir(parents=True, exist_ok=True)
    fresh = where.with_name(f"{pull.number}.lock")
    fresh.write_text(blob.hex() + "\n")
    os.replace(fresh, where)  # noqa: PTH105 - the atomic one, said plainly


def shape(forge: Forge, bare: Bare, pull: Pull, urls: Urls) -> Json:
    """GitHub's ``pull-request``."""
    api, tip = urls.repository(bare.name), head(forge, bare, pull)
    base = commit_api.SHA.fullmatch(
        forge.objects.commit(bare.git_dir, f"refs/heads/{pull.base}") or ""
    )
    url, issue = f"{api}/pulls/{pull.number}", f"{api}/issues/{pull.number}"
    links = {
        "self": url,
        "html": f"{urls.web(bare.name)}/pull/{pull.number}",
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api}/statuses/{tip}",
    }
    return {
        **facts(bare, pull, urls),
        "url": url,
        **{f"{rel}_url": href for rel, href in links.items() if rel != "self"},
        "_links": {rel: {"href": href} for rel, href in links.items()},
        "head": _end(forge.shelf.find(pull.repository), pull.repository, pull.ref, tip, urls),
        "base": _end(bare, bare.name, pull.base, base[0] if base else "", urls),
        "merge_commit_sha": None,
        "auto_merge": None,
        "merged": False,
        "mergeable": None,
        "mergeable_state": "unknown",
        "merged_by": None,
        "maintainer_can_modify": False,
        "commits": git_log.distance(bare.git_dir, base[0], tip)[1] if base else 0,
        **dict.fromkeys(
            ("comments", "review_comments", "additions", "deletions", "changed_files"), 0
        ),
    }


def _end(bare: Bare | None, name: str, ref: str, sha: str, urls: Urls) -> Json:
    """The head or the base; the repository of a head may be gone."""
    owner = name.partition("/")[0]
    return {
        "label": f"{owner}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": common_json.user(User(owner), urls),
        "repo": common_json.repository(bare, urls) if bare is not None else None,
    }
