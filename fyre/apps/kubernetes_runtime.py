"""Putting the Kubernetes engine together: which cluster, under which policy, and how the code gets there."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from fyre.apps.derived_keys import Own, instance
from fyre.engines.kubernetes import KubernetesEngine, rbac
from fyre.engines.kubernetes.api_client import Api
from fyre.engines.kubernetes.code_delivery import ByExec, ByRelay
from fyre.errors import TryAgainError, UserError
from fyre.git.lfs import Lfs
from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.run import Run
from fyre.server import http_server
from fyre.server.git_relay import Relay

_HEARD_OF = (
    0.0,
    0.5,
    1.5,
)  # seconds between two questions: an API server hears of a new Role a moment later
_CHECKOUT = (
    3600.0  # seconds that a checkout may still need its key after the longest wait in the queue
)


@dataclass(frozen=True)
class OnCluster:
    """Which cluster, and what of it."""

    policy: Policy
    kubeconfig: str | None = None
    context: str | None = None
    checkout_image: str = ""  # "" for the run's own
    relay: str | socket.socket = (
        ""  # HOST:PORT to listen on for pods, or what does; "" streams the code in by exec
    )
    relay_url: str = ""  # where pods reach that; "" for http://HOST:PORT
    store: str = ""  # URL of the logs; "" keeps them beside the other state


class Cluster:
    """The engine, and the relay where there is one."""

    def __init__(
        self,
        on: OnCluster,
        state: Path,
        *,
        own: Own,
        code: Callable[[Run], Path],  # a repository with that commit in it
        by_id: Callable[[int], Path | None],
        lfs: Lfs | None = None,  # where objects come from that the mirrors lack
    ) -> None:
        """Raises ``UserError`` when the cluster can't be reached, or does not let us do what a run takes."""
        if (
            on.policy.profiles is None
        ):  # nothing would be checked: neither images nor secrets nor caps
            raise UserError(
                "a cluster needs a policy with profiles",
                hint="deploy/policy.example.yaml shows one",
            )
        api = Api(on.kubeconfig, on.context)
        self._api, self._namespaces = api, policies.namespaces(on.policy)
        self._relay: RelayServer | None = None
        try:
            check_rights(api, on.policy, exec_mode=not on.relay)
            if on.relay:
                self._relay = RelayServer(
                    on.relay, own("relay.secret"), by_id, url=on.relay_url, lfs=lfs
                )
            delivery = (
                ByRelay(
                    self._relay.url, self._relay.newest_secret, on.policy.queue_limit + _CHECKOUT
                )
                if self._relay
                else ByExec(api, code)
            )
            self.engine = KubernetesEngine(
                api,
                state,
                policy=on.policy,
                delivery=delivery,
                instance=instance(own),
                checkout_image=on.checkout_image,
                store=on.store,
            )
        except TryAgainError as error:
            raise UserError(
                str(error), hint="check `kubectl get jobs` with the same kubeconfig"
            ) from error

    def reach(self) -> None:
        """Raises ``TryAgainError`` while the cluster can't be reached, ``UserError`` where it lets us start nothing."""
        for space in self._namespaces:
            if not self._api.may(space, "batch", "jobs", "create"):
                raise UserError(
                    f"in namespace {space} we may not create jobs",
                    hint="fyre manifests prints the Role",
                )

    def start(self) -> None:
        """Serve the relay."""
        if self._relay is not None:
            self._relay.start()

    def stop(self) -> None:
        """End the relay; pods that fetch just then try again."""
        if self._relay is not None:
            self._relay.stop()


class RelayServer:
    """The relay on an address of its own: pods reach nothing else of ours."""

    def __init__(
        self,
        door: str | socket.socket,
        secret: bytes,
        by_id: Callable[[int], Path | None],
        *,
        url: str = "",
        lfs: Lfs | None = None,
    ) -> None:
        """``door`` is HOST:PORT, or listens there already; pods see it so unless ``url`` says how they do.

        Raises ``UserError`` when it can't be listened on.
        """
        self._socket = relay_socket(door) if isinstance(door, str) else door
        host, port = self._socket.getsockname()[:2]
        self.url = url.rstrip("/") or (
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        )
        self._secret = secret
        app = Starlette(routes=Relay(lambda: [secret], by_id, lfs=lfs).routes())
        self._server = uvicorn.Server(http_server.config(app))
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="relay", daemon=True
        )

    def newest_secret(self) -> bytes:
        """What new keys are made with."""
        return self._secret

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


def relay_socket(address: str) -> socket.socket:
    """A socket that listens on HOST:PORT. Raises ``UserError`` when that can't be had."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(
            f"{address!r} is not HOST:PORT",
            hint="--relay 192.168.1.20:8021, as pods reach this machine",
        )
    host, family = host.strip("[]"), socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=512)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        hint = "--relay takes an address of this machine that pods reach, and a free port"
        raise UserError(f"the relay can't listen on {address}: {why}", hint=hint) from error


def check_rights(api: Api, policy: Policy, *, exec_mode: bool) -> None:
    """Ask the cluster for every right that a run takes. Raises ``UserError`` that names those which are missing."""
    for space in policies.namespaces(policy):
        role = rbac.role(space, secrets=rbac.secrets(policy), exec_mode=exec_mode)
        missing = list(rbac.needed(role))
        for pause in _HEARD_OF:
            time.sleep(pause)
            missing = [right for right in missing if not api.may(space, *right)]
            if not missing:
                break
        if missing:
            named = [
                f"{verb} {resource}{f' {name}' if name else ''}"
                for _, resource, verb, name in missing
            ]
            raise UserError(
                f"in namespace {space} we may not {', '.join(named)}",
                hint=f"an admin applies what `fyre manifests --namespace {space}{' --exec' * exec_mode}` prints, "
                "with the same --policy where there is one",
            )
