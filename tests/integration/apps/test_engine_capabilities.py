"""What an engine can't do is said by its capabilities, and other engines that can are named."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from fyre.apps import engine_registry
from fyre.cli import main

MODULE = """\
from fyre.engines.capabilities import Capabilities
from fyre.engines.factory import EngineFactory

BATCH = EngineFactory(Capabilities(remote=True, log_store=True), NotImplemented)
THREADS = EngineFactory(Capabilities(slots=True), NotImplemented)
"""
ENTRY_POINTS = """\
[fyre.engines]
threads = two_engines:THREADS
batch = two_engines:BATCH
broken = two_engines.missing:FACTORY
"""


@pytest.fixture(autouse=True)
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with one engine that runs elsewhere, one that does not, one broken."""
    metadata = tmp_path / "two_engines-1.0.dist-info"
    metadata.mkdir()
    (tmp_path / "two_engines.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: two-engines\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "two_engines", raising=False)


@pytest.mark.parametrize(
    ("options", "problem", "hint"),
    [
        (
            ("threads", "--no-wait"),
            "--no-wait has no effect with engine threads: its runs end with this job",
            "--engine kubernetes or --engine batch; or wait for the runs",
        ),
        (
            ("threads", "--log-store", "s3://b"),
            "--log-store has no effect with engine threads",
            "--engine kubernetes or --engine batch; or read the log of this step",
        ),
        (
            ("kubernetes",),
            "engine kubernetes needs a policy",
            "--policy FILE, as deploy/policy.example.yaml",
        ),
    ],
)
def test_dispatch_says_what_its_engine_can_not_do(
    capfd: pytest.CaptureFixture[str], options: tuple[str, ...], problem: str, hint: str
) -> None:
    assert main.main(["dispatch", "--engine", *options]) == 2
    assert capfd.readouterr().err.splitlines() == [f"error: {problem}", f"hint: {hint}"]


def test_engines_are_found_by_what_they_can_do() -> None:
    assert engine_registry.find_engines_with("remote") == ["kubernetes", "batch"]
    assert engine_registry.find_engines_with("slots") == ["local", "threads"]
