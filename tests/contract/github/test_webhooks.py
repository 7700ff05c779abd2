"""The forge's webhooks, held against the schemas that were made from GitHub's recorded payloads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.local_forge import NAME, Receiver, Served

pytestmark = pytest.mark.ci


@pytest.fixture
def hold(modules: Path) -> Callable[[str, Any], None]:
    """``hold(definition, payload)``: fails where the payload is not as published."""
    whole = json.loads((modules / "@octokit/webhooks-schemas/schema.json").read_bytes())

    def hold(definition: str, payload: Any) -> None:
        schema = {"definitions": whole["definitions"], "$ref": f"#/definitions/{definition}"}
        jsonschema.Draft7Validator(
            schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
        ).validate(payload)

    return hold


def test_pushes_of_every_kind(  # noqa: PLR0917 - fixtures
    forge: Served,
    receiver: Receiver,
    pushed: str,
    repo: Path,
    git: Callable[..., str],
    hold: Callable[[str, Any], None],
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("tag", "-a", "v1", "-m", "One", cwd=repo)
    git("push", "-q", "origin", "main", "main:dev", "v1", cwd=repo)
    git("push", "-q", "-f", "origin", f"{pushed}:main", cwd=repo)
    git("push", "-q", "origin", ":dev", cwd=repo)
    for one in receiver.wait(6):
        hold("push$event", one.data)


def test_a_comment(
    forge: Served, receiver: Receiver, pushed: str, hold: Callable[[str, Any], None]
) -> None:
    forge.post(f"/repos/{NAME}/commits/{pushed}/comments", {"body": "/fyre rerun"})
    (one,) = receiver.wait(1, "commit_comment")
    hold("commit_comment$created", one.data)
