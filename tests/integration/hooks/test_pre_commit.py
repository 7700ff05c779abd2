"""The hooks through the real pre-commit, in this environment: building one needs the network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from fyre.message import request
from tests.support.ci_marks import long_case

pytest.importorskip("pre_commit")
TOP = Path(__file__).parents[3]
PRE_COMMIT = [sys.executable, "-m", "pre_commit"]


@pytest.fixture
def configured(repo: Path, git, monkeypatch: pytest.MonkeyPatch) -> Path:
    import subprocess

    hooks = yaml.safe_load((TOP / ".pre-commit-hooks.yaml").read_text())
    local = [
        {**hook, "language": "system", "entry": hook["entry"].replace("python", sys.executable, 1)}
        for hook in hooks
    ]
    types = [stage for hook in hooks for stage in hook["stages"]]
    config = {"default_install_hook_types": types, "repos": [{"repo": "local", "hooks": local}]}
    (repo / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Configure", cwd=repo)
    subprocess.run([*PRE_COMMIT, "install"], cwd=repo, check=True, capture_output=True)
    return repo


@long_case
def test_all_three_stages(configured: Path, git, attempt, tmp_path: Path) -> None:
    refused = attempt("commit", "--allow-empty", "-m", "Train\n\nFyre-Run: true\nFyre-Timeout: 5")
    assert refused.returncode == 1
    assert "has no unit" in refused.stdout + refused.stderr
    assert attempt("commit", "--allow-empty", "-m", "Train\n\nFyre-Run: true").returncode == 0
    first = request.parse_message(git("log", "-1", "--format=%B", cwd=configured)).fyre_id
    (configured / "README").write_text("other code\n")
    done = attempt("commit", "-a", "--amend", "--no-edit")
    assert done.returncode == 0, done.stderr
    assert request.parse_message(git("log", "-1", "--format=%B", cwd=configured)).fyre_id not in (
        "",
        first,
    )
    git("init", "-q", "--bare", "far.git", cwd=tmp_path)
    git("remote", "add", "origin", str(tmp_path / "far.git"), cwd=configured)
    done = attempt("push", "origin", "main")
    assert done.returncode == 0, done.stderr
    assert "run: true" in done.stdout + done.stderr


def test_pre_commit_takes_the_manifest(tmp_path: Path) -> None:
    import subprocess

    subprocess.run(
        [*PRE_COMMIT, "validate-manifest", str(TOP / ".pre-commit-hooks.yaml")], check=True
    )
