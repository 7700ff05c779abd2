"""C21 on a real cluster: the kubelet tells one process, and the whole command has its grace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.cluster import access
from tests.support.cluster_profiles import cluster_profile
from tests.support.run_endings import end, launched, until_log

if TYPE_CHECKING:
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

SAVER = (
    "printf '%s\\n' 'trap \"echo told; sleep 3; echo saved; exit 0\" TERM' 'echo on' "
    "'while :; do sleep 0.1; done' >/tmp/save.sh; "
)
FORMS = (
    "sh /tmp/save.sh",
    "true && sh /tmp/save.sh",
    "sh /tmp/save.sh | (trap '' TERM; cat)",
    "sh /tmp/save.sh; echo done",
    "while :; do sh /tmp/save.sh; done",
)


@pytest.mark.parametrize("by", ["cancel", "timeout"])
@pytest.mark.parametrize("form", FORMS)
def test_c21_a_checkpoint_is_saved_within_the_grace(
    on_cluster: MakeOnCluster, namespace: str, sha: str, form: str, by: str
) -> None:
    profile = cluster_profile(image=access.IMAGE, termination_grace_seconds=30)
    engine = on_cluster(Policy(namespace=namespace, profiles={"default": profile}))
    run = launched(engine, sha, SAVER + form, **({"timeout": 5} if by == "timeout" else {}))
    until_log(engine, run, "on")
    if by == "cancel":
        assert engine.cancel(run.key, "bob")
    record, log = end(engine, run)
    assert record.state is (RunState.CANCELLED if by == "cancel" else RunState.FAILED)
    assert (log.split().count("told"), log.split().count("saved")) == (1, 1)
