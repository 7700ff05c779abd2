"""Leader election among receivers: a Lease, by the client library's leader election."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from kubernetes import client
from kubernetes.client import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import translate_api_error
from fyre.errors import TransientError, UserError

log = logging.getLogger(__name__)

LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD = 15, 10, 2
"""Seconds: a lease holds unrenewed · its holder tries to renew it · between two tries.

These are the defaults of the library.
"""

_REQUEST_TIMEOUT = (2.0, 3.0)  # seconds; an answer after the end of the lease is of no use

LEASE_VERBS = ("get", "create", "update")
"""The rights on leases that this takes, in the receiver's own namespace."""

INSTANCE_ANNOTATION = job_labels.FYRE_PREFIX + "instance"
"""The Lease's annotation that names the instance whose runs its holder leads.

A receiver with another key is another instance, and would report those runs as lost. It is written
with the holder's name, in one request, and stays when nobody leads: the runs do too.
"""

_IDENTITY_PATTERN = re.compile(r"\S+( \S+:[0-9]+)+")
"""A name and addresses, which holders of other products do not have."""


class Election:
    """One candidate, known to the others by its ``identity``."""

    def __init__(
        self, cluster: KubernetesClient, namespace: str, name: str, identity: str, instance: str
    ) -> None:
        """Create a candidate among those that lead the runs of ``instance``, as its Jobs name it.

        Raises ``UserError`` if the right to hold that Lease is missing, ``TransientError`` without
        an answer.
        """
        missing = [
            verb
            for verb in LEASE_VERBS
            if not cluster.has_permission(namespace, "coordination.k8s.io", "leases", verb)
        ]
        if missing:
            hint = (
                "an admin gives the receiver get, create and update of leases in its own "
                "namespace; the chart does"
            )
            raise UserError(
                f"in namespace {namespace} we may not {', '.join(missing)} leases", hint=hint
            )
        self._lock = _LeaseLock(cluster, name, namespace, identity, instance)
        self._leading, self._finished = threading.Event(), threading.Event()
        self._on_started_leading: Callable[[], None] = lambda: None
        self._on_stopped_leading: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        logging.getLogger("leaderelection").setLevel(logging.WARNING)  # it logs each try

    def start(
        self,
        on_started_leading: Callable[[], None],
        on_stopped_leading: Callable[[], None],
        on_renewed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Run for leader in a thread.

        ``on_started_leading`` is called when this candidate leads. ``on_stopped_leading`` is called
        when it leads no more, and must end at once all that only a leader may do: five seconds
        later another one may lead. ``on_renewed`` is called each time that the lease is won or
        renewed, with the seconds from now on for which it surely is ours.
        """
        self._on_started_leading, self._on_stopped_leading = on_started_leading, on_stopped_leading
        self._lock.on_taken, self._lock.on_renewed = self._stop_leading, on_renewed
        self._thread = threading.Thread(
            target=self._run_election, name="leader election", daemon=True
        )
        self._thread.start()

    def current_holder(self) -> str:
        """Return the identity of the leader, as far as is known; "" for nobody."""
        return self._lock.holder

    def block_reason(self) -> str:
        """Return why this candidate may not lead however long it waits, and what to do; "" if it
        may.
        """
        return self._lock.block_reason

    def resign(self) -> None:
        """Stop being a candidate, on purpose; another may lead at once. Takes two seconds."""
        self._finished.set()
        self._lock.released = True
        if self._thread is not None:  # first: its request under way may make the lease ours
            self._thread.join(RENEW_DEADLINE)
        self._lock.release_lease()

    def _run_election(self) -> None:
        make_config: Any = electionconfig.Config  # this library has no types
        make_election: Any = leaderelection.LeaderElection
        config = make_config(
            self._lock,
            LEASE_DURATION,
            RENEW_DEADLINE,
            RETRY_PERIOD,
            self._start_leading,
            self._stop_leading,
        )
        with suppress(_ElectionEndedError):
            make_election(config).run()

    def _start_leading(self) -> None:
        if self._finished.is_set():
            return
        log.info("became leader", extra={"lease": self._lock.name})
        self._leading.set()
        self._on_started_leading()
        self._enforce_deadline()

    def _enforce_deadline(self) -> None:
        """Stop leading in time.

        The library gives up only between two tries, and by the wall clock: too late where answers
        are slow.
        """
        while (seconds_left := self._lock.renewed_at + RENEW_DEADLINE - time.monotonic()) > 0:
            if self._finished.wait(seconds_left):
                return
        self._stop_leading()

    def _stop_leading(self) -> None:
        if self._leading.is_set() and not self._finished.is_set():
            self._finished.set()
            log.error("lost leadership: the lease could not be renewed, or is another's")
            self._on_stopped_leading()


class _ElectionEndedError(Exception):
    """Raised to leave the library's loop."""


class _LeaseApi:
    """The library's API, with a time limit for each request.

    It also reads and writes which instance's runs a Lease is about.
    """

    def __init__(self, coordination_api: Any, instance: str) -> None:  # noqa: ANN401 - no types
        self._coordination_api, self._instance = coordination_api, instance
        # The instance that the Lease named when it was read last; "" where it named none.
        self.last_read_instance = ""

    def read_namespaced_lease(self, name: str, namespace: str) -> Any:  # noqa: ANN401 - as above
        lease = self._coordination_api.read_namespaced_lease(
            name, namespace, _request_timeout=_REQUEST_TIMEOUT
        )
        self.last_read_instance = (lease.metadata.annotations or {}).get(INSTANCE_ANNOTATION, "")
        return lease

    def create_namespaced_lease(self, namespace: str, body: Any) -> Any:  # noqa: ANN401 - as above
        return self._write_lease(
            self._coordination_api.create_namespaced_lease, namespace, self._with_instance(body)
        )

    def replace_namespaced_lease(self, name: str, namespace: str, body: Any) -> Any:  # noqa: ANN401 - as above
        """Replace the Lease.

        The server refuses that when the Lease, annotations included, has changed since it was read.
        """
        return self._write_lease(
            self._coordination_api.replace_namespaced_lease,
            name,
            namespace,
            self._with_instance(body),
        )

    def _with_instance(self, body: Any) -> Any:  # noqa: ANN401 - as above
        body.metadata.annotations = {
            INSTANCE_ANNOTATION: self._instance,
            **(body.metadata.annotations or {}),
        }
        return body

    def _write_lease(self, send: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - as above
        try:
            return send(*arguments, _request_timeout=_REQUEST_TIMEOUT)
        except ApiException as error:
            if error.status == HTTPStatus.CONFLICT:  # another was first
                raise
            # The library would not report any other exception.
            raise TransientError(str(translate_api_error(error))) from error


class _LeaseLock:
    """The library's lock, for which every error is a failed round and no end of the election.

    Another's lease runs out when this process has seen no change of it for its duration, whatever
    the wall clocks say. That also holds for a lease that was deleted: its holder is still at work.
    """

    def __init__(
        self, cluster: KubernetesClient, name: str, namespace: str, identity: str, instance: str
    ) -> None:
        make_lock: Any = LeaseLock
        self.name, self.namespace, self.identity = name, namespace, identity
        self._instance = instance
        self._library_lock = make_lock(name, namespace, identity)
        coordination_api = client.CoordinationV1Api(
            client.ApiClient(cluster.api_client.configuration)
        )
        self._lease_api = _LeaseApi(coordination_api, instance)
        self._library_lock.api_instance = self._lease_api
        # Called when the lease turns out to be another's.
        self.on_taken: Callable[[], None] = lambda: None
        # Called with the seconds for which the lease is ours.
        self.on_renewed: Callable[[float], None] = lambda _: None
        self.holder = self.block_reason = ""
        self.renewed_at = 0.0  # monotonic: the time of the request that made, or keeps, it ours
        self.released = False
        self._last_seen: dict[str, Any] = {}
        self._taken_until = 0.0  # monotonic
        self._last_warning = ""

    def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """Return the record of the lease, or why it can't be known."""
        if self.released:
            raise _ElectionEndedError
        exists, answer = self._read_lease(name, namespace)
        if exists and self.holder != self.identity and time.monotonic() >= self._taken_until:
            # Else the library would go by the wall clock, which may have been set back.
            answer.holder_identity = None
        return exists, answer

    def _read_lease(self, name: str, namespace: str) -> tuple[bool, Any]:
        """Return True and the library's record, or False and its exception."""
        try:
            exists, answer = self._library_lock.get(name, namespace)
        except Exception as error:
            # Proxies before the server answer too, and the library fails on what is no Lease.
            # If this thread ended, nobody would lead, or a leader would never learn that it
            # leads no more.
            exists, answer = False, ApiException(reason=f"{type(error).__name__}: {error}")
        if exists:
            self._observe_record(answer)
        elif answer.status == HTTPStatus.NOT_FOUND:
            self.block_reason = ""
        else:
            self._warn_once(str(answer.reason))
        return exists, answer

    def _observe_record(self, election_record: Any) -> None:  # noqa: ANN401 - as above
        """Note who holds the lease, and until when it counts as theirs."""
        self.holder = election_record.holder_identity or ""
        self.block_reason = self._find_block_reason()
        if self.holder in {"", self.identity}:
            self._taken_until = 0.0
        elif vars(election_record) != self._last_seen:
            self._taken_until = time.monotonic() + LEASE_DURATION
        self._last_seen = dict(vars(election_record))
        if self.block_reason or time.monotonic() < self._taken_until:
            self._warn_once(self.block_reason)
        if self.block_reason or self.holder not in {"", self.identity}:
            self.on_taken()

    def _find_block_reason(self) -> str:
        lease, lease_instance = f"{self.namespace}/{self.name}", self._lease_api.last_read_instance
        if lease_instance not in {"", self._instance}:
            fix = (
                f"kubectl --namespace {self.namespace} annotate lease {self.name} "
                f"{INSTANCE_ANNOTATION}-"
            )
            return (
                f"{lease} is of {lease_instance}, and our key makes us {self._instance}, who must "
                "not lead, since it does not know their runs: give this receiver their key; "
                f"for a new key stop all receivers, then `{fix}`"
            )
        if lease_instance or not self.holder or _IDENTITY_PATTERN.fullmatch(self.holder):
            return ""
        return (
            f"{lease} is another product's, held by {self.holder!r}: "
            "let `lease` name one that is Fyre's alone"
        )

    def create(self, name: str, namespace: str, election_record: object) -> bool:
        """Create the Lease; return True if it is ours now."""
        return self._try_write(self._library_lock.create, name, namespace, election_record)

    def update(self, name: str, namespace: str, updated_record: object) -> bool:
        """Update the Lease; return True if it is (still) ours."""
        return not (self.released or self.block_reason) and self._try_write(
            self._library_lock.update, name, namespace, updated_record
        )

    def release_lease(self) -> None:
        """Leave the lease to the first candidate that asks."""
        exists, record = self._read_lease(self.name, self.namespace)
        if exists and record.holder_identity == self.identity:
            record.holder_identity = None
            self._try_write(self._library_lock.update, self.name, self.namespace, record)

    def _try_write(self, write: Callable[..., bool], *arguments: object) -> bool:
        requested_at = time.monotonic()
        if requested_at < self._taken_until:
            return False
        try:
            done = write(*arguments)
        except TransientError as error:
            self._warn_once(str(error))
            return False
        except Exception as error:  # as above
            self._warn_once(f"{type(error).__name__}: {error}")
            return False
        if done:
            self._warn_once("")
        if done and not self.released:
            self.renewed_at = requested_at
            self.on_renewed(requested_at + LEASE_DURATION - time.monotonic())
        return done

    def _warn_once(self, warning: str) -> None:
        """Log a warning once, not at each try; "" is for no warning."""
        if warning and warning != self._last_warning:
            log.warning("the lease: %s", warning)
        self._last_warning = warning
