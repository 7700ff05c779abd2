"""Put the Kubernetes engine together: the cluster, the policy, and the way code gets to pods."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from fyre.apps.derived_keys import (
    RELAY_SECRET,
    UPLOAD_SECRET,
    instance_name,
    secrets_from_folder,
)
from fyre.apps.job_signing import create_signer
from fyre.artifacts.upload_staging import UploadStaging
from fyre.engines.factory import EngineContext, EngineRuntime, SecretSource
from fyre.engines.kubernetes import KubernetesEngine, kubernetes_profile, pod_facts, rbac
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import AlreadyExists, ObjectNotFound
from fyre.engines.kubernetes.code_delivery import ExecDelivery, RelayDelivery
from fyre.engines.kubernetes.outputs.output_collector import OutputCollector
from fyre.errors import TransientError, UserError
from fyre.git.lfs import LfsObjectStore
from fyre.runs.policy import Policy
from fyre.server import http_server
from fyre.server.git_relay import GitRelay
from fyre.server.upload_endpoint import UploadEndpoint

_RIGHTS_RETRY_PAUSES = (0.0, 0.5, 1.5)
"""Seconds before each question: an API server knows of a new Role only a moment later."""

_PROBE_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"generateName": "fyre-probe-"},
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "busybox", "command": ["true"]}],
            }
        }
    },
}
"""A Job that is never made: the API server is only asked whether it would be."""

_CHECKOUT_SECONDS = 3600.0
"""Seconds for which a checkout may need its key after the longest wait in the queue."""


class KubernetesCluster(EngineRuntime):
    """The engine, and the git relay if there is one."""

    def __init__(self, context: EngineContext) -> None:
        """Check the rights, and start the engine.

        Raises ``UserError`` if the cluster can't be reached, or a right that runs need is missing.
        """
        policy, options, state = context.policy, context.options, context.root / "kubernetes"
        # without profiles nothing would be checked: neither images nor secrets nor limits
        if policy.profiles is None:
            raise UserError(
                "a cluster needs a policy with profiles",
                hint="deploy/policy.example.yaml shows one",
            )
        secret_source = context.secret_source or secrets_from_folder(state)
        api = KubernetesClient(options.kubeconfig, options.context)
        self._api, self._namespaces = api, kubernetes_profile.all_namespaces(policy)
        self._relay_server: RelayServer | None = None
        try:
            check_cluster_rights(api, policy, exec_mode=not options.relay)
            check_namespaces(api, policy)
            signer = create_signer(
                context, secret_source, state, partial(read_server_time, api, self._namespaces[0])
            )
            if options.relay:
                self._relay_server = RelayServer(
                    options.relay,
                    secret_source(RELAY_SECRET),
                    context.find_git_dir_by_id,
                    url=options.relay_url,
                    lfs=context.lfs,
                    fetch_commit=context.fetch_commit,
                )
            outputs = self._create_collector(context, secret_source)
            delivery = (
                RelayDelivery(
                    self._relay_server.url,
                    self._relay_server.newest_secret,
                    policy.queue_limit + _CHECKOUT_SECONDS,
                )
                if self._relay_server
                else ExecDelivery(api, context.find_code)
            )
            engine = KubernetesEngine(
                api,
                state,
                policy=policy,
                delivery=delivery,
                instance=instance_name(secret_source),
                signer=signer,
                checkout_image=options.checkout_image,
                log_store_url=options.log_store,
                outputs=outputs,
            )
        except TransientError as error:
            raise UserError(
                str(error), hint="check `kubectl get jobs` with the same kubeconfig"
            ) from error
        super().__init__(engine, outputs.store if outputs else None)
        self._has_archived = engine.is_archived

    def _create_collector(
        self, context: EngineContext, secret_source: SecretSource
    ) -> OutputCollector | None:
        """Return what collects outputs, and serve its endpoint; None if there is no image for it.

        Pods upload to the address from which they fetch their code.
        """
        relay = self._relay_server
        image = context.options.upload_image
        if not image or relay is None:
            return None
        store, secret = context.open_artifacts(), secret_source(UPLOAD_SECRET)
        staging = UploadStaging(store, context.root / "uploads")
        collector = OutputCollector(store, staging, image=image, url=relay.url, secret=secret)
        relay.add_uploads(
            UploadEndpoint(
                staging,
                secret,
                collector.check_open,
                collector.check_ended,
                collector.note_listing,
            ),
            collector.may_start,
        )
        return collector

    def is_archived(self, key: str) -> bool:
        """Return True if the run's end and log are stored, and its statuses posted."""
        return self._has_archived(key)

    def connection_checks(self) -> Mapping[str, Callable[[], None]]:
        """Return the check of the cluster."""
        return {"cluster": self.check_access}

    def check_access(self) -> None:
        """Check that the cluster can be reached and lets Fyre create Jobs.

        Raises ``TransientError`` while it can't be reached, ``UserError`` if the right is missing.
        """
        for namespace in self._namespaces:
            if not self._api.has_permission(namespace, "batch", "jobs", "create"):
                raise UserError(
                    f"in namespace {namespace} we may not create jobs",
                    hint="fyre manifests prints the Role",
                )

    def start(self) -> None:
        """Start the relay, if there is one."""
        if self._relay_server is not None:
            self._relay_server.start()

    def stop(self) -> None:
        """Stop the relay; pods that are fetching from it try again."""
        if self._relay_server is not None:
            self._relay_server.stop()


class RelayServer:
    """The git relay on its own address, so that pods reach no other part of Fyre."""

    def __init__(
        self,
        listen_on: str | socket.socket,
        secret: bytes,
        git_dir_by_id: Callable[[int], Path | None],
        *,
        url: str = "",
        lfs: LfsObjectStore | None = None,
        fetch_commit: Callable[[int, str], None] | None = None,
    ) -> None:
        """Listen on ``listen_on``: HOST:PORT, or a socket that listens already.

        Pods use the same address, unless ``url`` is another one for them.

        Raises ``UserError`` if the address can't be used.
        """
        self._socket = open_relay_socket(listen_on) if isinstance(listen_on, str) else listen_on
        host, port = self._socket.getsockname()[:2]
        self.url = url.rstrip("/") or (
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        )
        self._secret = secret
        self._relay = GitRelay(lambda: [secret], git_dir_by_id, lfs=lfs, fetch_commit=fetch_commit)
        self._app = Starlette(routes=self._relay.routes())
        self._server = uvicorn.Server(http_server.uvicorn_config(self._app))
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="relay", daemon=True
        )

    def newest_secret(self) -> bytes:
        """Return the secret with which new keys are made."""
        return self._secret

    def add_uploads(self, endpoint: UploadEndpoint, may_start: Callable[[str], bool]) -> None:
        """Take uploads too, before this is started; ``may_start`` is asked before code is given."""
        self._relay.may_start = may_start
        self._app.router.routes += endpoint.routes()

    def start(self) -> None:
        """Start the thread that serves."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and close the socket."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


def open_relay_socket(address: str) -> socket.socket:
    """Return a socket that listens on HOST:PORT; raise ``UserError`` if that is not possible."""
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
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        hint = "--relay takes an address of this machine that pods reach, and a free port"
        raise UserError(f"the relay can't listen on {address}: {reason}", hint=hint) from error


def check_cluster_rights(api: KubernetesClient, policy: Policy, *, exec_mode: bool) -> None:
    """Check that the cluster grants every right that a run needs.

    Raises ``UserError`` with the names of the missing ones.
    """
    for namespace in kubernetes_profile.all_namespaces(policy):
        role = rbac.build_role(
            namespace, secret_names=rbac.named_secrets(policy), exec_mode=exec_mode
        )
        missing = list(rbac.required_permissions(role))
        for pause in _RIGHTS_RETRY_PAUSES:
            time.sleep(pause)
            missing = [right for right in missing if not api.has_permission(namespace, *right)]
            if not missing:
                break
        if missing:
            texts = [
                f"{verb} {resource}{f' {name}' if name else ''}"
                for _, resource, verb, name in missing
            ]
            raise UserError(
                f"in namespace {namespace} we may not {', '.join(texts)}",
                hint=f"an admin applies what `fyre manifests --namespace {namespace}"
                f"{' --exec' * exec_mode}` prints, with the same --policy where there is one",
            )


def check_namespaces(api: KubernetesClient, policy: Policy) -> None:
    """Check that the cluster has every namespace; raise ``UserError`` for the first that it lacks.

    No right to read namespaces is needed: a Job that is only tried (a dry run) is asked for. Any
    other refusal of it is told by the status of a run.
    """
    for namespace in kubernetes_profile.all_namespaces(policy):
        try:
            api.create_job(namespace, _PROBE_JOB, dry_run=True)
        except UserError as error:
            if error.message.startswith('namespaces "'):
                raise UserError(
                    f"the cluster at {api.host} has no namespace {namespace}",
                    hint=f"kubectl create namespace {namespace}, or choose another: --namespace",
                ) from error
        except (TransientError, AlreadyExists, ObjectNotFound):
            continue


def read_server_time(api: KubernetesClient, namespace: str) -> float:
    """Return the time by the API server's clock, which dates each Job; ours if it does not tell.

    Times of Jobs are whole seconds, and so is this one.
    """
    try:
        probe = api.create_job(namespace, _PROBE_JOB, dry_run=True)
    except (UserError, TransientError, AlreadyExists, ObjectNotFound):
        return time.time()
    return pod_facts.parse_time(probe["metadata"].get("creationTimestamp")) or time.time()
