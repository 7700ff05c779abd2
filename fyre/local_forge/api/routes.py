"""The routes of the forge: git at ``/OWNER/REPO.git``, GitHub's REST API at ``/api``."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from fyre.local_forge import trusted_hosts
from fyre.local_forge.api import (
    check_run_api,
    commit_api,
    commit_comment_api,
    common_json,
    issue_comment_api,
    pull_api,
    repository_api,
    rest,
    status_api,
    webhook_api,
)
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call, Handler
from fyre.local_forge.forge import Forge
from fyre.local_forge.storage.git_http import GitHttp

_REPO = "/repos/{owner}/{repo}"
_COMMIT = _REPO + "/commits/{ref:path}"
_DELIVERIES = _REPO + "/hooks/{hook}/deliveries"

_HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/user"): repository_api.get_user,
    ("GET", "/user/repos"): repository_api.get_user_repos,
    ("GET", "/rate_limit"): repository_api.get_rate_limit,
    ("GET", _COMMIT + "/status"): status_api.get_combined,
    ("GET", _COMMIT + "/statuses"): status_api.get_statuses,
    ("GET", _COMMIT + "/check-runs"): check_run_api.get_checks,
    ("GET", _COMMIT + "/comments"): commit_comment_api.get_comments,
    ("POST", _COMMIT + "/comments"): commit_comment_api.post_comment,
    ("GET", _COMMIT): commit_api.get_commit,
    ("GET", _REPO + "/commits"): commit_api.list_commits,
    ("GET", _REPO + "/statuses/{ref:path}"): status_api.get_statuses,
    ("POST", _REPO + "/statuses/{sha}"): status_api.post_status,
    ("POST", _REPO + "/check-runs"): check_run_api.post_check,
    ("POST", _REPO + "/check-runs/{id}/rerequest"): check_run_api.post_rerequest,
    ("GET", _REPO + "/comments"): commit_comment_api.list_comments,
    ("GET", _REPO + "/comments/{id}"): commit_comment_api.get_comment,
    ("GET", _REPO + "/issues/comments"): issue_comment_api.list_comments,
    ("GET", _REPO + "/issues/{number}/comments"): issue_comment_api.get_comments,
    ("POST", _REPO + "/issues/{number}/comments"): issue_comment_api.post_comment,
    ("POST", _REPO + "/pulls"): pull_api.post_pull,
    ("GET", _REPO + "/pulls/{number}"): pull_api.get_pull,
    ("GET", _REPO + "/compare/{basehead:path}"): commit_api.compare,
    ("GET", _REPO + "/activity"): repository_api.get_activity,
    ("GET", _REPO + "/branches"): commit_api.get_branches,
    ("GET", _REPO + "/contents"): commit_api.get_contents,
    ("GET", _REPO + "/contents/{path:path}"): commit_api.get_contents,
    ("GET", _REPO + "/collaborators/{username}/permission"): repository_api.get_permission,
    ("GET", _REPO + "/hooks"): webhook_api.list_hooks,
    ("GET", _DELIVERIES): webhook_api.list_deliveries,
    ("GET", _DELIVERIES + "/{delivery}"): webhook_api.get_delivery,
    ("POST", _DELIVERIES + "/{delivery}/attempts"): webhook_api.post_attempt,
    ("GET", _REPO): repository_api.get_repository,
}
# The order counts: a branch's name has slashes, so the longer paths come first.


def routes(forge: Forge) -> list[BaseRoute]:
    """What to mount at ``/``. Put ``hosts.TrustedHosts`` around the whole application."""
    api = [
        Route(path, rest.endpoint(forge, handler), methods=[method])
        for (method, path), handler in _HANDLERS.items()
    ]
    everything = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    api.append(Route("/{rest:path}", rest.endpoint(forge, _nothing), methods=everything))
    git = Route("/{owner}/{repo}.git/{service:path}", GitHttp(forge))
    return [Mount(common_json.API, routes=api), git]


def application(forge: Forge, trusted: Iterable[str] = trusted_hosts.LOOPBACK) -> Starlette:
    """The forge alone, as an application."""
    return Starlette(
        routes=routes(forge),
        middleware=[Middleware(trusted_hosts.TrustedHosts, hosts=tuple(trusted))],
    )


def _nothing(call: Call) -> Answer:
    del call
    raise ApiError(404, NOT_FOUND)
