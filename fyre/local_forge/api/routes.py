"""Routes of the local forge: git at ``/OWNER/REPO.git``, GitHub's REST API at ``/api``."""

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
from fyre.local_forge.api.rest import NOT_FOUND, ApiError, ApiRequest, ApiResponse, Handler
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.storage.git_http import GitHttpApp

_REPO_PATH = "/repos/{owner}/{repo}"
_COMMIT_PATH = _REPO_PATH + "/commits/{ref:path}"
_DELIVERIES_PATH = _REPO_PATH + "/hooks/{hook}/deliveries"

_HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/user"): repository_api.get_user,
    ("GET", "/user/repos"): repository_api.get_user_repos,
    ("GET", "/rate_limit"): repository_api.get_rate_limit,
    ("GET", _COMMIT_PATH + "/status"): status_api.get_combined_status,
    ("GET", _COMMIT_PATH + "/statuses"): status_api.get_statuses,
    ("GET", _COMMIT_PATH + "/check-runs"): check_run_api.get_check_runs,
    ("GET", _COMMIT_PATH + "/comments"): commit_comment_api.get_commit_comments,
    ("POST", _COMMIT_PATH + "/comments"): commit_comment_api.post_commit_comment,
    ("GET", _COMMIT_PATH + "/pulls"): pull_api.list_commit_pulls,
    ("GET", _COMMIT_PATH): commit_api.get_commit,
    ("GET", _REPO_PATH + "/commits"): commit_api.list_commits,
    ("GET", _REPO_PATH + "/statuses/{ref:path}"): status_api.get_statuses,
    ("POST", _REPO_PATH + "/statuses/{sha}"): status_api.post_status,
    ("POST", _REPO_PATH + "/check-runs"): check_run_api.post_check_run,
    ("POST", _REPO_PATH + "/check-runs/{id}/rerequest"): check_run_api.post_check_run_rerequest,
    ("GET", _REPO_PATH + "/comments"): commit_comment_api.list_repo_comments,
    ("GET", _REPO_PATH + "/comments/{id}"): commit_comment_api.get_commit_comment,
    ("GET", _REPO_PATH + "/issues/comments"): issue_comment_api.list_issue_comments,
    ("GET", _REPO_PATH + "/issues/{number}/comments"): issue_comment_api.get_issue_comments,
    ("POST", _REPO_PATH + "/issues/{number}/comments"): issue_comment_api.post_issue_comment,
    ("GET", _REPO_PATH + "/pulls"): pull_api.list_pull_requests,
    ("POST", _REPO_PATH + "/pulls"): pull_api.post_pull_request,
    ("GET", _REPO_PATH + "/pulls/{number}/commits"): pull_api.list_pull_commits,
    ("GET", _REPO_PATH + "/pulls/{number}"): pull_api.get_pull_request,
    ("GET", _REPO_PATH + "/compare/{basehead:path}"): commit_api.compare_commits,
    ("GET", _REPO_PATH + "/activity"): repository_api.get_activity,
    ("GET", _REPO_PATH + "/branches"): commit_api.get_branches,
    ("GET", _REPO_PATH + "/contents"): commit_api.get_contents,
    ("GET", _REPO_PATH + "/contents/{path:path}"): commit_api.get_contents,
    ("GET", _REPO_PATH + "/collaborators/{username}/permission"): repository_api.get_permission,
    ("GET", _REPO_PATH + "/hooks"): webhook_api.list_webhooks,
    ("GET", _DELIVERIES_PATH): webhook_api.list_deliveries,
    ("GET", _DELIVERIES_PATH + "/{delivery}"): webhook_api.get_delivery,
    ("POST", _DELIVERIES_PATH + "/{delivery}/attempts"): webhook_api.post_delivery_attempt,
    ("GET", _REPO_PATH): repository_api.get_repository,
}
# The order matters: a branch name may contain slashes, so the longer paths come first.


def build_routes(forge: LocalForge) -> list[BaseRoute]:
    """Return the routes to mount at ``/``.

    Wrap the whole application in ``AccessGate``, or in ``TrustedHostsMiddleware``.
    """
    api_routes = [
        Route(path, rest.make_endpoint(forge, handler), methods=[method])
        for (method, path), handler in _HANDLERS.items()
    ]
    all_methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    not_found = rest.make_endpoint(forge, _respond_not_found)
    api_routes.append(Route("/{rest:path}", not_found, methods=all_methods))
    git_route = Route("/{owner}/{repo}.git/{service:path}", GitHttpApp(forge))
    # The first is where clients look for the API of a host other than GitHub's and this machine.
    paths = (common_json.API_PATH + "/v3", common_json.API_PATH)
    return [*(Mount(path, routes=api_routes) for path in paths), git_route]


def create_forge_app(
    forge: LocalForge, hosts: Iterable[str] = trusted_hosts.LOOPBACK_HOSTS
) -> Starlette:
    """Create an application that serves the forge alone."""
    return Starlette(
        routes=build_routes(forge),
        middleware=[Middleware(trusted_hosts.TrustedHostsMiddleware, hosts=tuple(hosts))],
    )


def _respond_not_found(request: ApiRequest) -> ApiResponse:
    del request
    raise ApiError(404, NOT_FOUND)
