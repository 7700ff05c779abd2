"""D32: the Python API in a real Jupyter kernel, whose streams take text alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import git
from tests.support.fyre_up import up

pytestmark = [
    pytest.mark.ci,
    pytest.mark.filterwarnings("default"),  # those of the kernel's own packages
]

CELL = """
from fyre import Fyre, FyreLocal
batch = Fyre(command="printf 'h\\\\303'; sleep 0.2; printf '\\\\251\\\\n'; exit 3",
             workspace_root={workspace!r}).run()
print("wait", batch.wait())
print("again", batch.wait())
print("local", FyreLocal(command="echo here; exit 4", workspace_root={workspace!r}).run())
"""


def test_d32_a_run_is_followed_in_a_real_kernel(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    with up(tmp_path / "up") as url:
        git("remote", "add", "origin", f"{url}/ada/lab.git", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(repo))
        shown: dict[str, str] = {"stdout": "", "stderr": "", "error": ""}

        def show(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            if "text" in content:
                shown[content["name"]] += content["text"]
            elif "ename" in content:
                shown["error"] += f"{content['ename']}: {content['evalue']}"

        try:
            client.execute_interactive(
                CELL.format(workspace=str(repo)), timeout=120, output_hook=show
            )
        finally:
            client.stop_channels()
            kernel.shutdown_kernel(now=True)
    assert shown["error"] == ""
    lines = shown["stdout"].splitlines()
    assert [line for line in lines if "sha" not in line][-6:] == [
        "hé",
        "wait 3",
        "hé",
        "again 3",
        "here",
        "local 4",
    ]
