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
from fyre.engines.kubernetes.api_client import Api, translated
from fyre.errors import TryAgainError, UserError

log = logging.getLogger(__name__)

DURATION, DEADLINE, RETRY = 15, 10, 2
"""Seconds that a lease holds unrenewed; until its holder gives up renewing it; between two tries. As upstream's."""

_TIMEOUT = (2.0, 3.0)  # seconds; an answer that comes after the lease has run out is none

VERBS = ("get", "create", "update")
"""What it takes, of leases, in the receiver's own namespace."""

INSTANCE = job_labels.PREFIX + "instance"
"""The Lease's annotation: whose runs its holder leads. Who has another key is another instance, and would report those
runs as lost. It is written with the holder's name, in one request, and stays when nobody leads: the runs do too.
"""

_IDENTITY = re.compile(
    r"\S+( \S+:[0-9]+)+"
)  # a name and addresses; no other product's holder has those


class Election:
    """One candidate, known to the others by its ``identity``."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str, instance: str) -> None:
        """Of those who lead the runs of ``instance``, as its Jobs say it.

        Raises ``UserError`` where the right to hold that Lease is missing, ``TryAgainError`` without an answer.
        """
        missing = [
            verb for verb in VERBS if not api.may(namespace, "coordination.k8s.io", "leases", verb)
        ]
        if missing:
            hint = "an admin gives the receiver get, create and update of leases in its own namespace; the chart does"
            raise UserError(
                f"in namespace {namespace} we may not {', '.join(missing)} leases", hint=hint
            )
        self._lock = _Lock(api, name, namespace, identity, instance)
        self._leads, self._over = threading.Event(), threading.Event()
        self._begun: Callable[[], None] = lambda: None
        self._lost: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        logging.getLogger("leaderelection").setLevel(logging.WARNING)  # it has a line for each try

    def start(
        self,
        begun: Callable[[], None],
        lost: Callable[[], None],
        kept: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Run for it in a thread: ``begun`` is called when this one leads, ``lost`` when it does no more.

        ``lost`` must end at once all that only a leader may do: five seconds later another one may lead. ``kept`` is
        told, each time that the lease is made or kept ours, for how many seconds from now on it surely is.
        """
        self._begun, self._lost = begun, lost
        self._lock.taken, self._lock.kept = self._end, kept
        self._thread = threading.Thread(target=self._run, name="leader election", daemon=True)
        self._thread.start()

    def holder(self) -> str:
        """Who leads, as far as is known; "" for nobody."""
        return self._lock.holder

    def refusal(self) -> str:
        """Why this one may not lead however long it waits, and what to do; "" where it may."""
        return self._lock.refusal

    def resign(self) -> None:
        """Be a candidate no more, by one's own will; another may lead at once. Takes two seconds."""
        self._over.set()
        self._lock.released = True
        if self._thread is not None:  # first: what it asks for just now may make the lease ours
            self._thread.join(DEADLINE)
        self._lock.release()

    def _run(self) -> None:
        made: Any = electionconfig.Config  # it comes without types, as all of it
        elected: Any = leaderelection.LeaderElection
        with suppress(_OverError):
            elected(made(self._lock, DURATION, DEADLINE, RETRY, self._begin, self._end)).run()

    def _begin(self) -> None:
        if self._over.is_set():
            return
        log.info("leads", extra={"lease": self._lock.name})
        self._leads.set()
        self._begun()
        self._end_in_time()

    def _end_in_time(self) -> None:
        """The library gives up only between two tries, by the wall clock: too late where answers are slow."""
        while (left := self._lock.renewed + DEADLINE - time.monotonic()) > 0:
            if self._over.wait(left):
                return
        self._end()

    def _end(self) -> None:
        if self._leads.is_set() and not self._over.is_set():
            self._over.set()
            log.error("leads no more: the lease could not be renewed, or is another's")
            self._lost()


class _OverError(Exception):
    """The way out of the library's loop."""


class _Leases:
    """The library's API, each request of which has an end; whose runs a Lease is about is read and written along."""

    def __init__(self, api: Any, instance: str) -> None:  # noqa: ANN401 - it comes without types
        self._api, self._instance = api, instance
        self.theirs = (
            ""  # whose runs the Lease was about when it was read last; "" where it did not say
        )

    def read_namespaced_lease(self, name: str, namespace: str) -> Any:  # noqa: ANN401 - as above
        found = self._api.read_namespaced_lease(name, namespace, _request_timeout=_TIMEOUT)
        self.theirs = (found.metadata.annotations or {}).get(INSTANCE, "")
        return found

    def create_namespaced_lease(self, namespace: str, body: Any) -> Any:  # noqa: ANN401 - as above
        return self._written(self._api.create_namespaced_lease, namespace, self._marked(body))

    def replace_namespaced_lease(self, name: str, namespace: str, body: Any) -> Any:  # noqa: ANN401 - as above
        """Refused by the server when the Lease has changed since it was read, its annotations included."""
        return self._written(
            self._api.replace_namespaced_lease, name, namespace, self._marked(body)
        )

    def _marked(self, body: Any) -> Any:  # noqa: ANN401 - as above
        body.metadata.annotations = {INSTANCE: self._instance, **(body.metadata.annotations or {})}
        return body

    def _written(self, ask: Callable[..., Any], *about: object) -> Any:  # noqa: ANN401 - as above
        try:
            return ask(*about, _request_timeout=_TIMEOUT)
        except ApiException as error:
            if error.status == HTTPStatus.CONFLICT:  # another was first
                raise
            raise TryAgainError(
                str(translated(error))
            ) from error  # else the library would keep it to itself


class _Lock:
    """The library's lock, to which whatever goes wrong is a round that failed and no end of the election.

    Another's lease runs out when this process has seen no change of it for so long, whatever the wall clocks say, and
    when it is deleted too: its holder is still at work.
    """

    def __init__(self, api: Api, name: str, namespace: str, identity: str, instance: str) -> None:
        made: Any = LeaseLock
        self.name, self.namespace, self.identity, self._instance = (
            name,
            namespace,
            identity,
            instance,
        )
        self._lock = made(name, namespace, identity)
        self._leases = _Leases(
            client.CoordinationV1Api(client.ApiClient(api.client.configuration)), instance
        )
        self._lock.api_instance = self._leases
        self.taken: Callable[[], None] = lambda: None  # called when it is seen to be another's
        self.kept: Callable[[float], None] = lambda _: (
            None
        )  # called when it is ours for so many seconds
        self.holder = self.refusal = ""
        self.renewed = 0.0  # monotonic: when we asked for what made, or keeps, it ours
        self.released = False
        self._seen: dict[str, Any] = {}
        self._theirs_until = 0.0  # monotonic
        self._trouble = ""

    def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """What stands there, or why that can't be known."""
        if self.released:
            raise _OverError
        there, found = self._got(name, namespace)
        if there and self.holder != self.identity and time.monotonic() >= self._theirs_until:
            found.holder_identity = (
                None  # else the library would ask the wall clock, which may have been set back
            )
        return there, found

    def _got(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            there, found = self._lock.get(name, namespace)
        except Exception as error:
            # Not only the server answers, but what stands before it too, and the library trips over what is no Lease:
            # without this thread nobody would lead, or a leader never hear that it does no more.
            there, found = False, ApiException(reason=f"{type(error).__name__}: {error}")
        if there:
            self._see(found)
        elif found.status == HTTPStatus.NOT_FOUND:
            self.refusal = ""
        else:
            self._tell(str(found.reason))
        return there, found

    def _see(self, found: Any) -> None:  # noqa: ANN401 - the library's record, without types
        self.holder = found.holder_identity or ""
        self.refusal = self._refusal()
        if self.holder in {"", self.identity}:
            self._theirs_until = 0.0
        elif vars(found) != self._seen:
            self._theirs_until = time.monotonic() + DURATION
        self._seen = dict(vars(found))
        if self.refusal or time.monotonic() < self._theirs_until:
            self._tell(self.refusal)
        if self.refusal or self.holder not in {"", self.identity}:
            self.taken()

    def _refusal(self) -> str:
        theirs, where = self._leases.theirs, f"{self.namespace}/{self.name}"
        if theirs not in {"", self._instance}:
            mend = f"kubectl --namespace {self.namespace} annotate lease {self.name} {INSTANCE}-"
            return (
                f"{where} is of {theirs}, and our key makes us {self._instance}, who must not lead, since it does not "
                f"know their runs: give this receiver their key; for a new key stop all receivers, then `{mend}`"
            )
        if theirs or not self.holder or _IDENTITY.fullmatch(self.holder):
            return ""
        return f"{where} is another product's, held by {self.holder!r}: let `lease` name one that is Fyre's alone"

    def create(self, name: str, namespace: str, election_record: object) -> bool:
        """Whether it is ours now."""
        return self._tried(self._lock.create, name, namespace, election_record)

    def update(self, name: str, namespace: str, updated_record: object) -> bool:
        """Whether it is (still) ours."""
        return not (self.released or self.refusal) and self._tried(
            self._lock.update, name, namespace, updated_record
        )

    def release(self) -> None:
        """Leave it to the first who asks."""
        there, record = self._got(self.name, self.namespace)
        if there and record.holder_identity == self.identity:
            record.holder_identity = None
            self._tried(self._lock.update, self.name, self.namespace, record)

    def _tried(self, ask: Callable[..., bool], *about: object) -> bool:
        asked_at = time.monotonic()
        if asked_at < self._theirs_until:
            return False
        try:
            done = ask(*about)
        except TryAgainError as error:
            self._tell(str(error))
            return False
        except Exception as error:  # as above
            self._tell(f"{type(error).__name__}: {error}")
            return False
        if done:
            self._tell("")
        if done and not self.released:
            self.renewed = asked_at
            self.kept(asked_at + DURATION - time.monotonic())
        return done

    def _tell(self, trouble: str) -> None:
        """Each trouble once, not at each try; "" for none."""
        if trouble and trouble != self._trouble:
            log.warning("the lease: %s", trouble)
        self._trouble = trouble
