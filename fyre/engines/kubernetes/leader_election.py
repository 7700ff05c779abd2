"""Which of several receivers leads: a Lease, by the client library's leader election."""

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
"""Seconds that a lease holds unrenewed; until its holder gives up renewing it; between two tries. As upstream's."""

_REQUEST_TIMEOUT = (2.0, 3.0)  # seconds; an answer that comes after the lease has run out is none

LEASE_VERBS = ("get", "create", "update")
"""What it takes, of leases, in the receiver's own namespace."""

INSTANCE_ANNOTATION = job_labels.FYRE_PREFIX + "instance"
"""The Lease's annotation: whose runs its holder leads. Who has another key is another instance, and would report those
runs as lost. It is written with the holder's name, in one request, and stays when nobody leads: the runs do too.
"""

_IDENTITY_PATTERN = re.compile(
    r"\S+( \S+:[0-9]+)+"
)  # a name and addresses; no other product's holder has those


class Election:
    """One candidate, known to the others by its ``identity``."""

    def __init__(
        self, cluster: KubernetesClient, namespace: str, name: str, identity: str, instance: str
    ) -> None:
        """Of those who lead the runs of ``instance``, as its Jobs say it.

        Raises ``UserError`` where the right to hold that Lease is missing, ``TryAgainError`` without an answer.
        """
        missing = [
            verb
            for verb in LEASE_VERBS
            if not cluster.has_permission(namespace, "coordination.k8s.io", "leases", verb)
        ]
        if missing:
            hint = "an admin gives the receiver get, create and update of leases in its own namespace; the chart does"
            raise UserError(
                f"in namespace {namespace} we may not {', '.join(missing)} leases", hint=hint
            )
        self._lock = _LeaseLock(cluster, name, namespace, identity, instance)
        self._leading, self._finished = threading.Event(), threading.Event()
        self._on_started_leading: Callable[[], None] = lambda: None
        self._on_stopped_leading: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        logging.getLogger("leaderelection").setLevel(logging.WARNING)  # it has a line for each try

    def start(
        self,
        on_started_leading: Callable[[], None],
        on_stopped_leading: Callable[[], None],
        on_renewed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Run for it in a thread: ``begun`` is called when this one leads, ``lost`` when it does no more.

        ``lost`` must end at once all that only a leader may do: five seconds later another one may lead. ``kept`` is
        told, each time that the lease is made or kept ours, for how many seconds from now on it surely is.
        """
        self._on_started_leading, self._on_stopped_leading = on_started_leading, on_stopped_leading
        self._lock.on_taken, self._lock.on_renewed = self._stop_leading, on_renewed
        self._thread = threading.Thread(
            target=self._run_election, name="leader election", daemon=True
        )
        self._thread.start()

    def current_holder(self) -> str:
        """Who leads, as far as is known; "" for nobody."""
        return self._lock.holder

    def block_reason(self) -> str:
        """Why this one may not lead however long it waits, and what to do; "" where it may."""
        return self._lock.block_reason

    def resign(self) -> None:
        """Be a candidate no more, by one's own will; another may lead at once. Takes two seconds."""
        self._finished.set()
        self._lock.released = True
        if self._thread is not None:  # first: what it asks for just now may make the lease ours
            self._thread.join(RENEW_DEADLINE)
        self._lock.release_lease()

    def _run_election(self) -> None:
        made: Any = electionconfig.Config  # it comes without types, as all of it
        elected: Any = leaderelection.LeaderElection
        with suppress(_ElectionEndedError):
            elected(
                made(
                    self._lock,
                    LEASE_DURATION,
                    RENEW_DEADLINE,
                    RETRY_PERIOD,
                    self._start_leading,
                    self._stop_leading,
                )
            ).run()

    def _start_leading(self) -> None:
        if self._finished.is_set():
            return
        log.info("leads", extra={"lease": self._lock.name})
        self._leading.set()
        self._on_started_leading()
        self._enforce_deadline()

    def _enforce_deadline(self) -> None:
        """The library gives up only between two tries, by the wall clock: too late where answers are slow."""
        while (left := self._lock.renewed_at + RENEW_DEADLINE - time.monotonic()) > 0:
            if self._finished.wait(left):
                return
        self._stop_leading()

    def _stop_leading(self) -> None:
        if self._leading.is_set() and not self._finished.is_set():
            self._finished.set()
            log.error("leads no more: the lease could not be renewed, or is another's")
            self._on_stopped_leading()


class _ElectionEndedError(Exception):
    """The way out of the library's loop."""


class _LeaseApi:
    """The library's API, each request of which has an end; whose runs a Lease is about is read and written along."""

    def __init__(self, coordination_api: Any, instance: str) -> None:  # noqa: ANN401 - it comes without types
        self._coordination_api, self._instance = coordination_api, instance
        self.last_read_instance = (
            ""  # whose runs the Lease was about when it was read last; "" where it did not say
        )

    def read_namespaced_lease(self, name: str, namespace: str) -> Any:  # noqa: ANN401 - as above
        found = self._coordination_api.read_namespaced_lease(
            name, namespace, _request_timeout=_REQUEST_TIMEOUT
        )
        self.last_read_instance = (found.metadata.annotations or {}).get(INSTANCE_ANNOTATION, "")
        return found

    def create_namespaced_lease(self, namespace: str, body: Any) -> Any:  # noqa: ANN401 - as above
        return self._write_lease(
            self._coordination_api.create_namespaced_lease, namespace, self._with_instance(body)
        )

    def replace_namespaced_lease(self, name: str, namespace: str, body: Any) -> Any:  # noqa: ANN401 - as above
        """Refused by the server when the Lease has changed since it was read, its annotations included."""
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
            raise TransientError(
                str(translate_api_error(error))
            ) from error  # else the library would keep it to itself


class _LeaseLock:
    """The library's lock, to which whatever goes wrong is a round that failed and no end of the election.

    Another's lease runs out when this process has seen no change of it for so long, whatever the wall clocks say, and
    when it is deleted too: its holder is still at work.
    """

    def __init__(
        self, cluster: KubernetesClient, name: str, namespace: str, identity: str, instance: str
    ) -> None:
        made: Any = LeaseLock
        self.name, self.namespace, self.identity, self._instance = (
            name,
            namespace,
            identity,
            instance,
        )
        self._library_lock = made(name, namespace, identity)
        self._lease_api = _LeaseApi(
            client.CoordinationV1Api(client.ApiClient(cluster.api_client.configuration)), instance
        )
        self._library_lock.api_instance = self._lease_api
        self.on_taken: Callable[[], None] = lambda: None  # called when it is seen to be another's
        self.on_renewed: Callable[[float], None] = lambda _: (
            None
        )  # called when it is ours for so many seconds
        self.holder = self.block_reason = ""
        self.renewed_at = 0.0  # monotonic: when we asked for what made, or keeps, it ours
        self.released = False
        self._last_seen: dict[str, Any] = {}
        self._taken_until = 0.0  # monotonic
        self._last_warning = ""

    def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """What stands there, or why that can't be known."""
        if self.released:
            raise _ElectionEndedError
        there, found = self._read_lease(name, namespace)
        if there and self.holder != self.identity and time.monotonic() >= self._taken_until:
            found.holder_identity = (
                None  # else the library would ask the wall clock, which may have been set back
            )
        return there, found

    def _read_lease(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            there, found = self._library_lock.get(name, namespace)
        except Exception as error:
            # Not only the server answers, but what stands before it too, and the library trips over what is no Lease:
            # without this thread nobody would lead, or a leader never hear that it does no more.
            there, found = False, ApiException(reason=f"{type(error).__name__}: {error}")
        if there:
            self._observe_record(found)
        elif found.status == HTTPStatus.NOT_FOUND:
            self.block_reason = ""
        else:
            self._warn_once(str(found.reason))
        return there, found

    def _observe_record(self, election_record: Any) -> None:  # noqa: ANN401 - the library's record, without types
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
        theirs, where = self._lease_api.last_read_instance, f"{self.namespace}/{self.name}"
        if theirs not in {"", self._instance}:
            mend = f"kubectl --namespace {self.namespace} annotate lease {self.name} {INSTANCE_ANNOTATION}-"
            return (
                f"{where} is of {theirs}, and our key makes us {self._instance}, who must not lead, since it does not "
                f"know their runs: give this receiver their key; for a new key stop all receivers, then `{mend}`"
            )
        if theirs or not self.holder or _IDENTITY_PATTERN.fullmatch(self.holder):
            return ""
        return f"{where} is another product's, held by {self.holder!r}: let `lease` name one that is Fyre's alone"

    def create(self, name: str, namespace: str, election_record: object) -> bool:
        """Whether it is ours now."""
        return self._try_write(self._library_lock.create, name, namespace, election_record)

    def update(self, name: str, namespace: str, updated_record: object) -> bool:
        """Whether it is (still) ours."""
        return not (self.released or self.block_reason) and self._try_write(
            self._library_lock.update, name, namespace, updated_record
        )

    def release_lease(self) -> None:
        """Leave it to the first who asks."""
        there, record = self._read_lease(self.name, self.namespace)
        if there and record.holder_identity == self.identity:
            record.holder_identity = None
            self._try_write(self._library_lock.update, self.name, self.namespace, record)

    def _try_write(self, write: Callable[..., bool], *arguments: object) -> bool:
        asked_at = time.monotonic()
        if asked_at < self._taken_until:
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
            self.renewed_at = asked_at
            self.on_renewed(asked_at + LEASE_DURATION - time.monotonic())
        return done

    def _warn_once(self, warning: str) -> None:
        """Each trouble once, not at each try; "" for none."""
        if warning and warning != self._last_warning:
            log.warning("the lease: %s", warning)
        self._last_warning = warning
