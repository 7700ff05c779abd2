"""Mark what ``.ci/run`` tries, and nobody else: the easier of two cases, and what takes long.

Everybody's run of the tests is to end within three minutes.
"""

from __future__ import annotations

import os

import pytest

_IS_ELSEWHERE = "FYRE_NODE_MODULES" not in os.environ

EASIER_CASE = (
    pytest.mark.ci,
    pytest.mark.skipif(_IS_ELSEWHERE, reason="the harder case is always tried; .ci/run does both"),
)

LONG_CASE = (
    pytest.mark.ci,
    pytest.mark.skipif(_IS_ELSEWHERE, reason="takes seconds; .ci/run does it"),
)
"""Marks of a parameter, or of a whole module (``pytestmark = [*LONG_CASE]``)."""


def long_case(test: object) -> object:
    """Mark one test as one that takes long."""
    for mark in LONG_CASE:
        test = mark(test)
    return test


def easier_cases(*values: object) -> list[object]:
    """Return values of one parameter, each marked as an easier case."""
    return [pytest.param(value, marks=EASIER_CASE) for value in values]


NEEDS_S3 = (
    pytest.mark.ci,
    pytest.mark.skipif(
        _IS_ELSEWHERE and "FYRE_TEST_S3" not in os.environ,
        reason="a real S3 server, built with Go: .ci/run does it; or FYRE_TEST_S3=1",
    ),
)
"""Marks of a module whose tests talk to the server of ``tests/support/s3_server.py``."""
