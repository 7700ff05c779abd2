"""The log of a pod, as the cache of the engine's objects knows it."""

from __future__ import annotations

from functools import partial

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.logs.container_log import ContainerLog
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.pod_facts import KubeObject


def create_log_source(cache: ObjectCache, key: str, pod: KubeObject) -> ContainerLog:
    """Return the log of a pod of a run: its command's, or that of a checkout that failed."""
    metadata = pod["metadata"]
    has_checkout_failed = pod_facts.has_checkout_failed(pod)
    return ContainerLog(
        metadata["namespace"],
        metadata["name"],
        job_labels.CHECKOUT_CONTAINER if has_checkout_failed else job_labels.COMMAND_CONTAINER,
        f"{metadata['creationTimestamp']}-{metadata['uid']}",
        partial(_has_pod_ended, cache, key, metadata["uid"]),
        has_run_ended=partial(_has_run_ended, cache, key),
        is_gone=partial(_is_pod_gone, cache, key, metadata["uid"]),
        # A command that could not be started has no output.
        complete=not has_checkout_failed and not pod_facts.has_started(pod),
        end_mark=job_labels.log_end_mark(key),
        has_end_mark=partial(_has_end_mark, cache, key, metadata["uid"]),
    )


def _has_pod_ended(cache: ObjectCache, key: str, uid: str) -> bool:
    pod = cache.find_pod(key, uid)
    return pod is None or pod_facts.has_finished(pod)


def _has_end_mark(cache: ObjectCache, key: str, uid: str) -> bool:
    pod = cache.find_pod(key, uid)
    return pod is not None and pod_facts.has_marked_log(pod)


def _is_pod_gone(cache: ObjectCache, key: str, uid: str) -> bool:
    pod = cache.find_pod(key, uid)
    return pod is None or pod_facts.DELETED_MARK in pod


def _has_run_ended(cache: ObjectCache, key: str) -> bool:
    record = cache.get_record(key)
    return record is None or record.state.is_final
