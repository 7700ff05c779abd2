"""Users and repositories in GitHub's words: the part of its shapes that every answer and payload shares.

GitHub's own OpenAPI description names the keys; those without a meaning on one machine are empty, zero or false.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fyre.local_forge.auth import User
from fyre.local_forge.storage.repository_store import Bare

Json = dict[str, Any]

API = "/api"
"""Where the REST API is mounted."""


@dataclass(frozen=True, slots=True)
class Urls:
    """The forge's addresses. ``base`` is what the client called it: PyGithub refuses answers that name another host."""

    base: str  # http://127.0.0.1:8000

    @property
    def api(self) -> str:
        """The API's base."""
        return self.base + API

    def repository(self, name: str) -> str:
        """A repository in the API."""
        return f"{self.api}/repos/{name}"

    def web(self, name: str) -> str:
        """A repository's page."""
        return f"{self.base}/{name}"


def moment(seconds: float) -> str:
    """``2026-01-02T03:04:05Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, number: int | str) -> str:
    """An opaque id, as GraphQL would have it."""
    return base64.b64encode(f"{kind}{number}".encode()).decode()


def user(who: User, urls: Urls) -> Json:
    """GitHub's ``simple-user``."""
    login = quote(who.login)  # fyre[bot]: as GitHub writes it, fyre%5Bbot%5D
    api = f"{urls.api}/users/{login}"
    subjects = ("followers", "subscriptions", "repos", "received_events")
    return {
        "login": who.login,
        "id": who.id,
        "node_id": node_id("User", who.id),
        "avatar_url": f"{urls.base}/avatars/{who.id}",
        "gravatar_id": "",
        "url": api,
        "html_url": f"{urls.base}/{login}",
        **{f"{subject}_url": f"{api}/{subject}" for subject in subjects},
        "organizations_url": f"{api}/orgs",
        "following_url": f"{api}/following{{/other_user}}",
        "gists_url": f"{api}/gists{{/gist_id}}",
        "starred_url": f"{api}/starred{{/owner}}{{/repo}}",
        "events_url": f"{api}/events{{/privacy}}",
        "type": who.type,
        "site_admin": False,
    }


def repository_lite(bare: Bare, urls: Urls) -> Json:
    """GitHub's ``minimal-repository``, as far as it is required."""
    api, owner = urls.repository(bare.name), User(bare.name.partition("/")[0])
    return {
        "id": bare.id,
        "node_id": node_id("Repository", bare.id),
        "name": bare.name.partition("/")[2],
        "full_name": bare.name,
        "owner": user(owner, urls),
        "private": False,
        "html_url": urls.web(bare.name),
        "description": None,
        "fork": False,
        "url": api,
        **{f"{key}_url": api + path for key, path in _LINKS.items()},
    }


def repository(bare: Bare, urls: Urls) -> Json:
    """GitHub's ``repository``: what a listing and a webhook hold."""
    at, web = moment(bare.created_at), urls.web(bare.name)
    return {
        **repository_lite(bare, urls),
        **{
            f"has_{feature}": False
            for feature in ("issues", "projects", "downloads", "wiki", "pages", "discussions")
        },
        **dict.fromkeys(_COUNTS, 0),
        **dict.fromkeys(("homepage", "language", "mirror_url", "license")),
        "git_url": f"{web}.git",
        "ssh_url": f"{web}.git",
        "clone_url": f"{web}.git",
        "svn_url": web,
        "archived": False,
        "disabled": False,
        "created_at": at,
        "updated_at": at,
        "pushed_at": moment((bare.git_dir / "objects").stat().st_mtime),
        "default_branch": bare.default_branch,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "public",
        "allow_forking": False,
    }


def full_repository(bare: Bare, urls: Urls) -> Json:
    """GitHub's ``full-repository``: what is asked for by name. Whoever may ask is an admin here."""
    rights = dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)
    return {
        **repository(bare, urls),
        "network_count": 0,
        "subscribers_count": 0,
        "permissions": rights,
    }


_COUNTS = (
    "size", "forks", "forks_count", "stargazers_count", "watchers", "watchers_count",
    "open_issues", "open_issues_count",
)  # fmt: skip

_LINKS = {
    "archive": "/{archive_format}{/ref}",
    "assignees": "/assignees{/user}",
    "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}",
    "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}",
    "commits": "/commits{/sha}",
    "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}",
    "contributors": "/contributors",
    "deployments": "/deployments",
    "downloads": "/downloads",
    "events": "/events",
    "forks": "/forks",
    "git_commits": "/git/commits{/sha}",
    "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "hooks": "/hooks",
    "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}",
    "issues": "/issues{/number}",
    "keys": "/keys{/key_id}",
    "labels": "/labels{/name}",
    "languages": "/languages",
    "merges": "/merges",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "pulls": "/pulls{/number}",
    "releases": "/releases{/id}",
    "stargazers": "/stargazers",
    "statuses": "/statuses/{sha}",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "tags": "/tags",
    "teams": "/teams",
    "trees": "/git/trees{/sha}",
}
