"""The routes of the forge: git at ``/OWNER/REPO.git``, GitHub's REST API at ``/api``."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from fyre.embedded import checks, commenting, commits, conversations, hooks, hosts, pulls, repos, rest, shapes, statuses
from fyre.embedded.forge import Forge
from fyre.embedded.githttp import GitHttp
from fyre.embedded.rest import NOT_FOUND, Answer, ApiError, Call, Handler

_REPO = "/repos/{owner}/{repo}"
_COMMIT = _REPO + "/commits/{ref:path}"
_DELIVERIES = _REPO + "/hooks/{hook}/deliveries"

_HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/user"): repos.get_user,
    ("GET", "/user/repos"): repos.get_user_repos,
    ("GET", "/rate_limit"): repos.get_rate_limit,
    ("GET", _COMMIT + "/status"): statuses.get_combined,
    ("GET", _COMMIT + "/statuses"): statuses.get_statuses,
    ("GET", _COMMIT + "/check-runs"): checks.get_checks,
    ("GET", _COMMIT + "/comments"): commenting.get_comments,
    ("POST", _COMMIT + "/comments"): commenting.post_comment,
    ("GET", _COMMIT): commits.get_commit,
    ("GET", _REPO + "/commits"): commits.list_commits,
    ("GET", _REPO + "/statuses/{ref:path}"): statuses.get_statuses,
    ("POST", _REPO + "/statuses/{sha}"): statuses.post_status,
    ("POST", _REPO + "/check-runs"): checks.post_check,
    ("POST", _REPO + "/check-runs/{id}/rerequest"): checks.post_rerequest,
    ("GET", _REPO + "/comments"): commenting.list_comments,
    ("GET", _REPO + "/comments/{id}"): commenting.get_comment,
    ("GET", _REPO + "/issues/comments"): conversations.list_comments,
    ("GET", _REPO + "/issues/{number}/comments"): conversations.get_comments,
    ("POST", _REPO + "/issues/{number}/comments"): conversations.post_comment,
    ("POST", _REPO + "/pulls"): pulls.post_pull,
    ("GET", _REPO + "/pulls/{number}"): pulls.get_pull,
    ("GET", _REPO + "/compare/{basehead:path}"): commits.compare,
    ("GET", _REPO + "/activity"): repos.get_activity,
    ("GET", _REPO + "/branches"): commits.get_branches,
    ("GET", _REPO + "/contents"): commits.get_contents,
    ("GET", _REPO + "/contents/{path:path}"): commits.get_contents,
    ("GET", _REPO + "/collaborators/{username}/permission"): repos.get_permission,
    ("GET", _REPO + "/hooks"): hooks.list_hooks,
    ("GET", _DELIVERIES): hooks.list_deliveries,
    ("GET", _DELIVERIES + "/{delivery}"): hooks.get_delivery,
    ("POST", _DELIVERIES + "/{delivery}/attempts"): hooks.post_attempt,
    ("GET", _REPO): repos.get_repository,
}
# The order counts: a branch's name has slashes, so the longer paths come first.


def routes(forge: Forge) -> list[BaseRoute]:
    """What to mount at ``/``. Put ``hosts.TrustedHosts`` around the whole application."""
    api = [
        Route(path, rest.endpoint(forge, handler), methods=[method]) for (method, path), handler in _HANDLERS.items()
    ]
    everything = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    api.append(Route("/{rest:path}", rest.endpoint(forge, _nothing), methods=everything))
    git = Route("/{owner}/{repo}.git/{service:path}", GitHttp(forge))
    return [Mount(shapes.API, routes=api), git]


def application(forge: Forge, trusted: Iterable[str] = hosts.LOOPBACK) -> Starlette:
    """The forge alone, as an application."""
    return Starlette(routes=routes(forge), middleware=[Middleware(hosts.TrustedHosts, hosts=tuple(trusted))])


def _nothing(call: Call) -> Answer:
    del call
    raise ApiError(404, NOT_FOUND)
