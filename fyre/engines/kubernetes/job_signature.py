"""Sign the Jobs that Fyre creates, and tell them from Jobs that somebody else created.

Everybody who may create Jobs in the namespace can give one our labels and annotations. Only the
receiver knows the secret. What is signed is the run as it is stored, for one name in one namespace
and for one moment: so neither a copy nor a Job that is created again later is believed.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Sequence

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.logs.created_jobs import CreatedJobs
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.git import access_token

CREATION_WINDOW = 600.0
"""Seconds after its signature in which a Job must have been created.

A request takes less than a minute; the rest is for clocks that differ.
"""

_MAC_PURPOSE = b"fyre job 1\0"
"""Whatever else the same secret signs can never be used as the signature of a Job."""


class JobSigner:
    """Signs Jobs, and finds out why one is not ours. The cache calls it under its own lock."""

    def __init__(
        self,
        secret: bytes,
        *,
        relay_secret: bytes = b"",
        unsigned_until: float = 0.0,
        created_jobs: CreatedJobs | None = None,
    ) -> None:
        """``relay_secret`` signed the tokens in the Jobs of versions that did not sign Jobs.

        A Job without a signature is believed if it was created before ``unsigned_until``, in
        seconds since the epoch, or if it has such a token. ``created_jobs`` outlives this process;
        without it, the first Job with a signature is believed after each start.
        """
        if not secret:
            raise ValueError("the signature of a Job needs a secret")
        self._secret, self._relay_secret = secret, relay_secret
        self._unsigned_until = unsigned_until
        self._created_jobs = created_jobs
        # Of recent signatures, oldest first: the uids of the Jobs that were created with each. More
        # than one only if Fyre itself created them, within one second.
        self._known_uids = created_jobs.read_all(_oldest_moment()) if created_jobs else {}

    def sign_job(self, job: KubeObject, signed_at: float) -> KubeObject:
        """Return the Job, which was not created yet, with its signature."""
        metadata = job["metadata"]
        annotations = {**metadata["annotations"], **self._signature_annotation(job, signed_at)}
        return {**job, "metadata": {**metadata, "annotations": annotations}}

    def late_signature(self, created_job: KubeObject) -> dict[str, str]:
        """Return the annotation for a Job that the API server created at another time than ours.

        Nothing is returned where its clock and ours agree well enough.
        """
        signature = pod_facts.get_annotations(created_job)[job_labels.SIGNATURE_ANNOTATION]
        created_at, signed_at = _created_at(created_job), float(signature.partition(".")[0])
        if created_at <= signed_at + CREATION_WINDOW:
            return {}
        return self._signature_annotation(created_job, created_at)

    def _signature_annotation(self, job: KubeObject, signed_at: float) -> dict[str, str]:
        moment = str(int(signed_at))
        mac = self._compute_mac(job, moment)
        return {job_labels.SIGNATURE_ANNOTATION: f"{moment}.{mac}"}

    def find_forgery(self, job: KubeObject, key: str) -> str:
        """Return why a Job with that run's key in its name is not one of ours; "" if it is."""
        signature = pod_facts.get_annotations(job).get(job_labels.SIGNATURE_ANNOTATION)
        if signature is None:
            is_older = 0.0 < _created_at(job) <= self._unsigned_until
            return "" if is_older or self._has_older_token(job, key) else "it has no signature"
        moment, _, mac = signature.partition(".")
        if not moment.isdecimal() or not moment.isascii() or len(moment) > len("9999999999"):
            return "its signature is not ours"
        if not hmac.compare_digest(self._compute_mac(job, moment).encode(), mac.encode()):
            return "its signature is not ours"
        if _created_at(job) > int(moment) + CREATION_WINDOW:
            return "its signature is an earlier Job's"
        return self._find_reuse(job, signature, int(moment))

    def remember_job(self, created_job: KubeObject) -> None:
        """Remember which Job has its signature, also for the next receiver.

        To be called with the API server's own answer to the creation.
        """
        signature = pod_facts.get_annotations(created_job)[job_labels.SIGNATURE_ANNOTATION]
        self._remember_uid(signature, str(created_job["metadata"].get("uid")))

    def _find_reuse(self, job: KubeObject, signature: str, signed_at: int) -> str:
        """Return why a Job is another than the one that was created with its signature, or "".

        If none is known, this is the one: its creator ended before it knew of it.
        """
        if signed_at < _oldest_moment():  # no later Job could have been created in its window
            return ""
        uid = str(job["metadata"].get("uid"))
        if signature not in self._known_uids:
            self._remember_uid(signature, uid)
        return "" if uid in self._known_uids[signature] else "its signature is an earlier Job's"

    def _remember_uid(self, signature: str, uid: str) -> None:
        uids = self._known_uids.get(signature, set())
        if uid in uids:
            return
        self._forget_old()
        self._known_uids[signature] = {*uids, uid}
        if self._created_jobs is not None:
            self._created_jobs.add(signature, uid, _oldest_moment())

    def _forget_old(self) -> None:
        oldest = _oldest_moment()
        for signature in list(self._known_uids):
            if int(signature.partition(".")[0]) >= oldest:
                break
            self._known_uids.pop(signature, None)

    def _has_older_token(self, job: KubeObject, key: str) -> bool:
        """Return True if a version that did not sign Jobs gave the Job the token of its run.

        The token was good when the Job was created: so it is not a later copy of an old Job.
        """
        token, secrets = job["spec"].get(pod_facts.RELAY_KEY), [self._relay_secret]
        if not token:
            return False
        claims = access_token.verify_access_token(secrets, token, _created_at(job))
        return claims is not None and claims.run_key == key and not claims.is_job_signed

    def _compute_mac(self, job: KubeObject, moment: str) -> str:
        metadata = job["metadata"]
        signed: Sequence[str] = (
            metadata["namespace"],
            metadata["name"],
            moment,
            pod_facts.get_annotations(job).get(job_labels.RUN_ANNOTATION, ""),
        )
        message = _MAC_PURPOSE + json.dumps(signed).encode()
        return hmac.digest(self._secret, message, "sha256").hex()


def _oldest_moment() -> float:
    """Return the time of the oldest signature with which a Job can be created by now."""
    return time.time() - 2 * CREATION_WINDOW


def _created_at(job: KubeObject) -> float:
    """Return when the API server created a Job, by its own clock: nobody else can set that."""
    return pod_facts.parse_time(job["metadata"].get("creationTimestamp")) or 0.0
