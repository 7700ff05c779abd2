"""How long the key is good that a pod fetches its code with: as long as a try of its run may
begin.
"""

from __future__ import annotations

import time

import pytest

from fyre.engines.kubernetes.code_delivery import (
    ASSUMED_HOLD_SECONDS,
    ASSUMED_RUN_SECONDS,
    RelayDelivery,
)
from fyre.git import access_token
from tests.contract.engine import REPOSITORY, make_run

LIFE = 3600.0
DAY = 86400


def authorized_run(token: str, at: float) -> str | None:
    """The run that a token lets into its repository at that time."""
    claims = access_token.verify_access_token([b"secret"], token, at)
    return claims.run_key if claims and REPOSITORY.id in claims.repository_ids else None


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, LIFE),
        ({"timeout": 2 * DAY}, LIFE),
        (
            {"timeout": 2 * DAY, "retries": 1},
            2 * LIFE + 2 * DAY,
        ),  # evicted in its last hour, and begun again
        ({"timeout": DAY, "retries": 3, "setup": ("make",)}, 4 * LIFE + 6 * DAY),
        ({"retries": 1}, 2 * LIFE + ASSUMED_RUN_SECONDS),
    ],
)
def test_a_key_is_good_until_the_last_try_has_its_code(
    spec: dict[str, object], seconds: float
) -> None:
    run = make_run("a" * 40, "train", **spec)
    before = time.time()
    told = RelayDelivery("http://relay", lambda: b"secret", LIFE).checkout_source(run)
    key = told["relay_key"]
    assert authorized_run(key, before + seconds - 2) == run.key
    assert authorized_run(key, time.time() + seconds + 1) is None


def test_a_key_of_a_held_run_is_good_for_longer() -> None:
    run = make_run("a" * 40, "train")
    held = RelayDelivery("http://relay", lambda: b"secret", LIFE).checkout_source(run, hold=True)
    for seconds, key in ((LIFE + ASSUMED_HOLD_SECONDS - 2, run.key), (1e8, None)):
        at = time.time() + seconds
        assert authorized_run(held["relay_key"], at) == key
