"""Cut GitHub's OpenAPI description down to the paths that Fyre uses.

A validator takes minutes to read all of it. ``python cut.py WHOLE.json CUT.json``
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

REPO = "/repos/{owner}/{repo}"
PATHS = {
    "/user": ["get"],
    "/user/repos": ["get"],
    "/rate_limit": ["get"],
    REPO: ["get"],
    f"{REPO}/activity": ["get"],
    f"{REPO}/branches": ["get"],
    f"{REPO}/collaborators/{{username}}/permission": ["get"],
    f"{REPO}/comments": ["get"],
    f"{REPO}/comments/{{comment_id}}": ["get"],
    f"{REPO}/commits": ["get"],
    f"{REPO}/commits/{{commit_sha}}/comments": ["get", "post"],
    f"{REPO}/commits/{{ref}}": ["get"],
    f"{REPO}/commits/{{commit_sha}}/pulls": ["get"],
    f"{REPO}/commits/{{ref}}/status": ["get"],
    f"{REPO}/commits/{{ref}}/statuses": ["get"],
    f"{REPO}/compare/{{basehead}}": ["get"],
    f"{REPO}/contents/{{path}}": ["get"],
    f"{REPO}/issues/comments": ["get"],
    f"{REPO}/issues/{{issue_number}}/comments": ["get", "post"],
    f"{REPO}/pulls": ["get", "post"],
    f"{REPO}/pulls/{{pull_number}}": ["get"],
    f"{REPO}/pulls/{{pull_number}}/commits": ["get"],
    f"{REPO}/hooks": ["get"],
    f"{REPO}/hooks/{{hook_id}}/deliveries": ["get"],
    f"{REPO}/hooks/{{hook_id}}/deliveries/{{delivery_id}}": ["get"],
    f"{REPO}/hooks/{{hook_id}}/deliveries/{{delivery_id}}/attempts": ["post"],
    f"{REPO}/statuses/{{sha}}": ["post"],
}


def cut(whole: dict[str, Any]) -> dict[str, Any]:
    """The paths above, and the two limits that GitHub keeps without describing them."""
    paths = {
        path: {method: whole["paths"][path][method] for method in methods}
        for path, methods in PATHS.items()
    }
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for answer in operation["responses"].values():
            answer.get("content", {}).pop(
                "application/scim+json", None
            )  # another API's word for the same error
    post = paths[f"{REPO}/statuses/{{sha}}"]["post"]
    fields = post["requestBody"]["content"]["application/json"]["schema"]["properties"]
    fields["description"]["maxLength"] = 140
    fields["context"]["maxLength"] = 255
    # PyGithub reads statuses by the older address, which GitHub serves and no longer describes.
    alias = copy.deepcopy(paths[f"{REPO}/commits/{{ref}}/statuses"]["get"])
    alias["operationId"] += "-by-its-older-address"
    alias["parameters"] = [
        {**one, "name": "sha"} if one["name"] == "ref" else one for one in alias["parameters"]
    ]
    paths[f"{REPO}/statuses/{{sha}}"]["get"] = alias
    return {
        "openapi": whole["openapi"],
        "info": whole["info"],
        "servers": [{"url": "/"}],
        "paths": paths,
    }


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(json.dumps(cut(json.loads(source.read_text()))))
