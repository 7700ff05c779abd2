"""Count what was started in a namespace, by the commit that asked for it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cluster.access import Admin


class StartCounter:
    """Records the pods whose command was started, and every Job that ever existed, by commit."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self.pods: defaultdict[str, set[str]] = defaultdict(set)
        self.jobs: defaultdict[str, set[str]] = defaultdict(set)
        self._admin, self._namespace = admin, namespace
        for list_objects, found, counts in (
            (admin.core.list_namespaced_pod, self.pods, _was_started),
            (admin.batch.list_namespaced_job, self.jobs, lambda _: True),
        ):
            threading.Thread(
                target=self._watch, args=(list_objects, found, counts), daemon=True
            ).start()

    def check_once(self, shas: list[str]) -> None:
        """Check that each commit has had one Job, and one pod whose command was started."""
        self.count_present()
        for found in (self.jobs, self.pods):
            assert {sha: len(found[sha]) for sha in shas} == dict.fromkeys(shas, 1)

    def count_present(self) -> None:
        """Count what exists now: the watches may be late."""
        to_json = self._admin.api.sanitize_for_serialization
        for pod in self._admin.core.list_namespaced_pod(self._namespace).items:
            _count(to_json(pod), self.pods, _was_started)
        for job in self._admin.batch.list_namespaced_job(self._namespace).items:
            _count(to_json(job), self.jobs, lambda _: True)

    def _watch(
        self,
        list_objects: Callable[..., Any],
        found: dict[str, set[str]],
        counts: Callable[[dict[str, Any]], bool],
    ) -> None:
        from kubernetes import watch

        while True:
            with suppress(Exception):  # the namespace goes, at the end
                for event in watch.Watch().stream(list_objects, self._namespace):
                    _count(event["raw_object"], found, counts)


def _count(
    item: dict[str, Any], found: dict[str, set[str]], counts: Callable[[dict[str, Any]], bool]
) -> None:
    if counts(item):
        found[item["metadata"]["labels"]["fyre.dev/sha"]].add(item["metadata"]["uid"])


def _was_started(pod: dict[str, Any]) -> bool:
    states = [one.get("state", {}) for one in pod["status"].get("containerStatuses") or []]
    return any("running" in state or "terminated" in state for state in states)
