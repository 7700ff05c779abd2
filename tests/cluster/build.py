"""Build the cluster's binary once for each version of its sources, and keep it in a cache."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "node"

_CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fyre-test-cluster"
)  # a test has another home


def cache() -> Path:
    """Where what takes minutes to make is kept, outside the repository."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    return _CACHE


def binary() -> Path:
    """Return the programs of Kubernetes in one file.

    The first call takes some minutes, and needs Go 1.26 or newer.
    """
    texts = [(SOURCES / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")]
    built = cache() / f"node-{hashlib.sha256(b''.join(texts)).hexdigest()[:16]}"
    if not built.exists():
        version = _version(texts[1].decode())
        package = "k8s.io/component-base/version"
        major, minor = version.removeprefix("v").split(".")[:2]
        told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        flags = " ".join(
            ["-s", "-w", *(f"-X {package}.{key}={value}" for key, value in told.items())]
        )
        draft = built.with_suffix(f".{os.getpid()}")
        command = [
            "go",
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            flags,
            "-o",
            str(draft),
            ".",
        ]
        subprocess.run(command, cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
        draft.rename(built)
    return built


def _version(go_mod: str) -> str:
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", go_mod, re.MULTILINE)
    assert found is not None
    return found[1]
