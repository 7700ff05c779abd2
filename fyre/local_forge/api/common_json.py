"""Users and repositories as GitHub's JSON: the parts that all responses and payloads share.

GitHub's own OpenAPI description names the keys; those without a meaning on one machine are empty,
zero or false.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fyre.local_forge.auth import User
from fyre.local_forge.storage.repository_store import BareRepository

JsonObject = dict[str, Any]

API_PATH = "/api"
"""Path where the REST API is mounted."""

ALL_PERMISSIONS = dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)


@dataclass(frozen=True, slots=True)
class ForgeUrls:
    """The forge's addresses.

    ``base_url`` is the address that the client used: PyGithub refuses responses that name another
    host.
    """

    base_url: str  # http://127.0.0.1:8000

    @property
    def api_url(self) -> str:
        """The base URL of the API."""
        return self.base_url + API_PATH

    def repo_api_url(self, name: str) -> str:
        """Return the URL of a repository in the API."""
        return f"{self.api_url}/repos/{name}"

    def repo_page_url(self, name: str) -> str:
        """Return the URL of a repository's web page."""
        return f"{self.base_url}/{name}"


def format_iso_time(seconds: float) -> str:
    """Format a time as ``2026-01-02T03:04:05Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, number: int | str) -> str:
    """Return an opaque id, like those of GraphQL."""
    return base64.b64encode(f"{kind}{number}".encode()).decode()


def serialize_user(user: User, urls: ForgeUrls) -> JsonObject:
    """Return GitHub's ``simple-user``."""
    login = quote(user.login)  # like GitHub: fyre%5Bbot%5D
    url = f"{urls.api_url}/users/{login}"
    subjects = ("followers", "subscriptions", "repos", "received_events")
    return {
        "login": user.login,
        "id": user.id,
        "node_id": node_id("User", user.id),
        "avatar_url": f"{urls.base_url}/avatars/{user.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{urls.base_url}/{login}",
        **{f"{subject}_url": f"{url}/{subject}" for subject in subjects},
        "organizations_url": f"{url}/orgs",
        "following_url": f"{url}/following{{/other_user}}",
        "gists_url": f"{url}/gists{{/gist_id}}",
        "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
        "events_url": f"{url}/events{{/privacy}}",
        "type": user.type,
        "site_admin": False,
    }


def serialize_minimal_repo(repo: BareRepository, urls: ForgeUrls) -> JsonObject:
    """Return the required fields of GitHub's ``minimal-repository``."""
    url, owner = urls.repo_api_url(repo.name), User(repo.name.partition("/")[0])
    return {
        "id": repo.id,
        "node_id": node_id("Repository", repo.id),
        "name": repo.name.partition("/")[2],
        "full_name": repo.name,
        "owner": serialize_user(owner, urls),
        "private": False,
        "html_url": urls.repo_page_url(repo.name),
        "description": None,
        "fork": False,
        "url": url,
        **{f"{key}_url": url + path for key, path in _URL_TEMPLATES.items()},
    }


def serialize_repo(repo: BareRepository, urls: ForgeUrls) -> JsonObject:
    """Return GitHub's ``repository``: what a listing and a webhook hold."""
    created_at, page_url = format_iso_time(repo.created_at), urls.repo_page_url(repo.name)
    return {
        **serialize_minimal_repo(repo, urls),
        **{f"has_{feature}": False for feature in _ABSENT_FEATURES},
        **dict.fromkeys(_COUNT_FIELDS, 0),
        **dict.fromkeys(("homepage", "language", "mirror_url", "license")),
        "git_url": f"{page_url}.git",
        "ssh_url": f"{page_url}.git",
        "clone_url": f"{page_url}.git",
        "svn_url": page_url,
        "archived": False,
        "disabled": False,
        "created_at": created_at,
        "updated_at": created_at,
        "pushed_at": format_iso_time((repo.git_dir / "objects").stat().st_mtime),
        "default_branch": repo.default_branch,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "public",
        "allow_forking": False,
    }


def serialize_full_repo(repo: BareRepository, urls: ForgeUrls) -> JsonObject:
    """Return GitHub's ``full-repository``, the response for one repository.

    Everybody who may read it is an admin on the local forge.
    """
    return {
        **serialize_repo(repo, urls),
        "network_count": 0,
        "subscribers_count": 0,
        "permissions": ALL_PERMISSIONS,
    }


_ABSENT_FEATURES = ("issues", "projects", "downloads", "wiki", "pages", "discussions")

_COUNT_FIELDS = (
    "size", "forks", "forks_count", "stargazers_count", "watchers", "watchers_count",
    "open_issues", "open_issues_count",
)  # fmt: skip

_URL_TEMPLATES = {
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
