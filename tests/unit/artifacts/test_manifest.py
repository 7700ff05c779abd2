"""Manifests: the form of 0.2, what a later version adds, and paths that lead elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.artifacts import manifest as manifests
from fyre.stored_form import UnreadableError

STORED = {
    "run_key": "ab" * 13,
    "repository": {"forge": "https://x", "id": 1, "name": "a/b", "default_branch": "main"},
    "sha": "a1" * 20,
    "run_name": "train",
    "attempt": 1,
    "sealed_at": 1.5,
    "artifacts": [{"path": "ck/m.pt", "size": 3, "sha256": "c3" * 32, "mode": 0o644}],
    "results": {
        "output_count": 1,
        "output_bytes": 3,
        "metrics": {"acc": [0.1, 0.1, 0.9]},
        "problems": ["pipe is not kept: no regular file"],
        "partial": False,
    },
    "links": [["title", "https://example.org"]],
    "metrics_sha256": None,
}
"""What is stored; no name in it may change."""


def with_path(path: str) -> dict[str, Any]:
    artifact = STORED["artifacts"][0] | {"path": path}  # type: ignore[index]
    return STORED | {"artifacts": [artifact]}


def round_trip(data: object) -> object:
    return json.loads(json.dumps(manifests.to_json(manifests.from_json(data))))


def test_the_form_stays() -> None:
    assert round_trip(STORED) == STORED


def test_what_a_later_version_adds_is_kept() -> None:
    later = STORED | {"signature": "x"}
    later["artifacts"] = [{**later["artifacts"][0], "media": "y"}]  # type: ignore[index]
    later["results"] = {**later["results"], "seed": 7}  # type: ignore[dict-item]
    assert round_trip(later) == later


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", ".git/hooks/post-checkout", "a/.GIT/x", "", "a//b", "."]
)
def test_a_hostile_path_is_not_read(path: str) -> None:
    with pytest.raises(UnreadableError):
        manifests.from_json(with_path(path))


@given(st.text(min_size=1, max_size=30))
def test_no_path_that_is_read_leads_out(path: str) -> None:
    try:
        (artifact,) = manifests.from_json(with_path(path)).artifacts
    except UnreadableError:
        return
    assert not artifact.path.startswith("/")
    assert not {"", ".", ".."} & set(artifact.path.split("/"))
