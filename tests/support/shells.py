"""The shells to run a script with; a missing one is a skip with its reason.

``sh`` of this machine is always tried, the others by ``.ci/run``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.ci_marks import EASIER_CASE


def params(*names: str) -> list[object]:
    """Return a parameter for ``sh`` of this machine, and one for each further shell."""
    return ["sh", *(pytest.param(name, marks=_skips(name)) for name in names)]


def _skips(name: str) -> list[pytest.MarkDecorator]:
    found, plain = shutil.which(name), shutil.which("sh")
    if found is None:
        return [pytest.mark.skip(reason=f"needs {name}")]
    same = plain is not None and Path(found).resolve() == Path(plain).resolve()
    if same:
        return [pytest.mark.skip(reason=f"sh is {name} on this machine")]
    return [*EASIER_CASE]
