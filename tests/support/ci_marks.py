"""Mark the easier of two cases of a test: ``.ci/run`` tries both, everybody else the harder one."""

from __future__ import annotations

import os

import pytest

EASIER_CASE = (
    pytest.mark.ci,
    pytest.mark.skipif(
        "FYRE_NODE_MODULES" not in os.environ,
        reason="the harder case is always tried; .ci/run does both",
    ),
)
