"""The cluster, a namespace of one's own, and Helm, for every suite that needs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import access, build, images

CHART = images.ROOT / "deploy" / "chart"

Helm = Callable[..., str]
"""Runs Helm on Fyre's chart with ``values``, or without both; returns what it prints.

``chart`` is the folder of another chart.

Raises ``CalledProcessError``, whose ``stderr`` holds the reason.
"""


@pytest.fixture(scope="session")
def admin() -> access.Admin:
    if not access.KUBECONFIG:
        pytest.skip(access.WHY_NOT)
    return access.Admin()


@pytest.fixture(scope="session")
def namespace(admin: access.Admin) -> Iterator[str]:
    with admin.namespace() as name:
        yield name


@pytest.fixture(scope="session")
def program() -> Path:
    if not access.KUBECONFIG:
        pytest.skip(access.WHY_NOT)
    return build.binary()


@pytest.fixture
def helm(program: Path, tmp_path: Path) -> Helm:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": access.KUBECONFIG}
    file = tmp_path / "values.yaml"

    def run(*words: str, values: dict[str, Any] | None = None, chart: Path = CHART) -> str:
        file.write_text(json.dumps(values))
        given = [] if values is None else [chart, f"--values={file}"]
        command = [program, "helm", *words, *given]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    return run
