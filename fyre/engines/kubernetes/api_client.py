"""The API server's client: the few requests that Fyre makes, with plain dicts in and out.

Refusals become the exceptions of ``api_errors``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

import urllib3
import yaml
from kubernetes import client, config, stream
from kubernetes.client import ApiException
from pydantic import ValidationError  # what the client library checks with
from websocket import WebSocketException

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.api_errors import ObjectNotFound, translate_api_error
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.errors import TransientError, UserError

REQUEST_TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and between two bytes of an answer."""

FOLLOW_TIMEOUT = (5.0, 3600.0)
"""The same for a log that is followed.

A command may be silent for long; keepalives notice a dead connection.
"""

EXEC_TIMEOUT = 300.0
"""Seconds that a streamed checkout may take."""

_MAX_CONNECTIONS = 256  # kept open: each log that is followed holds one

_NO_EXIT_CODE_ERRORS = (ValueError, TypeError, LookupError, yaml.YAMLError)
"""Errors of the library for a command without an exit code.

In its place is an error of containerd's, or nothing.
"""

_NO_LOG_MESSAGE = re.compile(
    rb"unable to retrieve container logs for [a-z-]+://[0-9a-f]{64}"
    rb"|failed to (try resolving symlinks in path|open log file) \"[^\"\n]+\.log\": [^\n]+"
)
"""All texts of a kubelet that has no log.

They are from GetContainerLogs in kuberuntime_container.go, and from ReadLogs in cri-client.
"""

_KUBECONFIG_ERRORS = (
    config.ConfigException,
    yaml.YAMLError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
)
"""Errors of the library for a kubeconfig that is none: it looks into whatever the file holds."""


class ContainerOutput(Iterator[bytes]):
    """The chunks of a container's output. Another thread can break off the reading of them."""

    def __init__(self, request: Callable[[], Any]) -> None:
        self._answer: Any = None
        self._is_interrupted = False
        self._chunks = self._read(request)

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Close the connection, in the thread that reads."""
        self._chunks.close()

    def interrupt(self) -> None:
        """Have the thread that reads get a ``TransientError`` instead of waiting for more."""
        self._is_interrupted = True
        if self._answer is not None:
            with suppress(ValueError, RuntimeError, OSError):  # it is closed already
                self._answer.shutdown()

    def _read(self, request: Callable[[], Any]) -> Generator[bytes]:
        self._answer = answer = _send_request(request)
        try:
            if self._is_interrupted:
                raise TransientError("the log is not wanted any more")
            chunks = answer.stream(amt=65536, decode_content=False)
            first = next(chunks, b"")
            has_body = "Transfer-Encoding" in answer.headers or "Content-Length" in answer.headers
            if not first and not has_body:
                # The library takes a head that was cut short for an empty answer.
                raise TransientError("the log broke off in the answer's head")
            if _NO_LOG_MESSAGE.fullmatch(first):
                second = next(chunks, None)
                if second is None:
                    raise ObjectNotFound(first.decode(errors="replace"))
                first += second
            yield first
            yield from chunks
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(f"the log broke off: {error}") from error
        finally:
            answer.close()


class KubernetesClient:
    """A client of one cluster, with the rights of one user. Thread-safe."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        """Read a kubeconfig (``KUBECONFIG``, ``~/.kube/config``), else use the pod's own account.

        Raises ``UserError``.
        """
        settings = client.Configuration()
        load: Any = config  # it comes without types
        try:
            load.load_kube_config(kubeconfig, context=context, client_configuration=settings)
        except _KUBECONFIG_ERRORS as error:
            if kubeconfig or context:
                raise _kubeconfig_error(error, kubeconfig) from error
            try:
                load.load_incluster_config(client_configuration=settings)
            except config.ConfigException as inside:
                raise _kubeconfig_error(error, kubeconfig) from inside
        settings.keep_alive = True
        settings.connection_pool_maxsize = _MAX_CONNECTIONS
        # The callers decide what is requested again, and when: they know what it is for.
        settings.retries = urllib3.Retry(0)
        self.host: str = settings.host
        self.api_client = client.ApiClient(settings)
        # Any: the typed API takes models; plain dicts cost a tenth (first use of a model: 240 ms).
        self._batch_api: Any = client.BatchV1Api(self.api_client)
        self._core_api: Any = client.CoreV1Api(self.api_client)
        self._authorization_api: Any = client.AuthorizationV1Api(self.api_client)

    def create_job(self, namespace: str, job: KubeObject, *, dry_run: bool = False) -> KubeObject:
        """Create a Job. Raises ``AlreadyExists``."""
        more = {"dry_run": "All"} if dry_run else {}
        return request_object(
            lambda: self._batch_api.create_namespaced_job(
                namespace, job, field_validation="Strict", **more, **RAW_RESPONSE
            )
        )

    def get_job(self, namespace: str, name: str) -> KubeObject:
        """Return a Job. Raises ``ObjectNotFound``."""
        return request_object(
            lambda: self._batch_api.read_namespaced_job(name, namespace, **RAW_RESPONSE)
        )

    def patch_job(self, namespace: str, name: str, patch: KubeObject) -> KubeObject:
        """Merge a patch into a Job. Raises ``ObjectNotFound``.

        With a ``resourceVersion`` in it, it is for that version of the Job alone: raises
        ``ConflictError`` for another.
        """
        return request_object(
            lambda: self._batch_api.patch_namespaced_job(name, namespace, patch, **RAW_RESPONSE)
        )

    def list_pods(self, namespace: str, selector: str) -> list[KubeObject]:
        """Return the selected pods as they are at this moment."""
        pods = request_object(
            lambda: self._core_api.list_namespaced_pod(
                namespace, label_selector=selector, **RAW_RESPONSE
            )
        )
        return [pod_facts.strip_unused(pod) for pod in pods["items"]]

    def list_events(self, namespace: str, uid: str) -> list[KubeObject]:
        """Return the events of an object, oldest first."""
        selector = f"involvedObject.uid={uid}"
        events = request_object(
            lambda: self._core_api.list_namespaced_event(
                namespace, field_selector=selector, **RAW_RESPONSE
            )
        )
        return sorted(
            events["items"],
            key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "",
        )

    def get_secret(self, namespace: str, name: str) -> tuple[dict[str, str], float]:
        """Return a secret's values, base64 as they are stored, and the time of its last change.

        The time is in seconds since the epoch. Raises ``ObjectNotFound``.
        """
        secret = request_object(
            lambda: self._core_api.read_namespaced_secret(name, namespace, **RAW_RESPONSE)
        )
        metadata = secret["metadata"]
        times = [
            metadata.get("creationTimestamp"),
            *(entry.get("time") for entry in metadata.get("managedFields") or []),
        ]
        changed_at = max(filter(None, map(pod_facts.parse_time, times)), default=0.0)
        return dict(secret.get("data") or {}), changed_at

    def stream_container_log(
        self, namespace: str, pod: str, container: str, *, follow: bool
    ) -> ContainerOutput:
        """Return a container's output, which is requested when its first chunk is.

        Reading it raises ``ObjectNotFound``, and ``TransientError`` when the log breaks off or has
        not begun. A kubelet that has no such log (any more) may say so in its place, with status
        200.
        """
        timeout = FOLLOW_TIMEOUT if follow else REQUEST_TIMEOUT
        raw = {**RAW_RESPONSE, "_request_timeout": timeout}
        return ContainerOutput(
            lambda: self._core_api.read_namespaced_pod_log(
                pod, namespace, container=container, follow=follow, **raw
            )
        )

    def exec_in_container(
        self, namespace: str, pod: str, container: str, command: list[str], stdin: Iterator[bytes]
    ) -> tuple[int, str]:
        """Run a command in a container and feed it; return its exit code and the end of its
        output.
        """
        # Made first: an input that can't be had is known before anybody waits for it.
        head = next(stdin, b"")
        try:
            # A client of its own: during the call the library makes it one of websockets.
            core_api = client.CoreV1Api(client.ApiClient(self.api_client.configuration))
            exec_stream = stream.stream(
                core_api.connect_get_namespaced_pod_exec,
                pod,
                namespace,
                container=container,
                command=command,
                stdin=True,
                stdout=True,
                stderr=True,
                binary=True,
                _preload_content=False,
            )
            # Without a timeout a connection that is gone would be written to for ever.
            exec_stream.sock.settimeout(EXEC_TIMEOUT)
            try:
                return _feed_stdin(exec_stream, chain([head], stdin))
            finally:
                # Its own close() leaves the socket open where the server closed first.
                exec_stream.sock.shutdown()
        except ApiException as error:
            raise translate_api_error(error) from error
        except (WebSocketException, OSError, *_NO_EXIT_CODE_ERRORS) as error:
            raise TransientError(
                f"exec into {pod} broke off: {pod_facts.to_one_line(str(error))[:200]}"
            ) from error

    def has_permission(
        self, namespace: str, group: str, resource: str, verb: str, name: str = ""
    ) -> bool:
        """Return True if we have a right, by SelfSubjectAccessReview."""
        resource, _, subresource = resource.partition("/")
        attributes = {
            "namespace": namespace,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "verb": verb,
            "name": name,
        }
        given_attributes = {key: value for key, value in attributes.items() if value}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": given_attributes},
        }
        answer = request_object(
            lambda: self._authorization_api.create_self_subject_access_review(
                review, **RAW_RESPONSE
            )
        )
        return bool(answer["status"].get("allowed"))

    def list_managed_objects(
        self, namespace: str, kinds: Collection[str] = ("Job", "RoleBinding", "Role")
    ) -> list[KubeObject]:
        """Return all objects of Fyre's in a namespace, whichever instance's."""
        rbac: Any = client.RbacAuthorizationV1Api(self.api_client)
        role = "rbac.authorization.k8s.io/v1"
        objects: list[KubeObject] = []
        for lister, kind, version in (
            (self._batch_api.list_namespaced_job, "Job", "batch/v1"),
            (rbac.list_namespaced_role_binding, "RoleBinding", role),
            (rbac.list_namespaced_role, "Role", role),
        ):
            if kind not in kinds:
                continue
            selector = job_labels.MANAGED_SELECTOR
            page = request_object(
                partial(lister, namespace, label_selector=selector, **RAW_RESPONSE)
            )
            objects += [{"apiVersion": version, "kind": kind, **obj} for obj in page["items"]]
        return objects

    def close(self) -> None:
        """Close the connections that are kept open."""
        self.api_client.rest_client.close()

    def list_function(self, kind: str) -> Callable[..., Any]:
        """Return the list-or-watch function of Jobs or pods, for the library's informer."""
        listers: dict[str, Callable[..., Any]] = {
            "jobs": self._batch_api.list_namespaced_job,
            "pods": self._core_api.list_namespaced_pod,
        }
        return listers[kind]


def _feed_stdin(
    exec_stream: Any,  # noqa: ANN401 - the library has no types
    stdin: Iterator[bytes],
) -> tuple[int, str]:
    """Give a command its input; return its exit code and the end of its output."""
    for chunk in stdin:
        exec_stream.write_stdin(chunk)
    exec_stream.run_forever(timeout=EXEC_TIMEOUT)
    stdout = exec_stream.read_stdout(timeout=0) or b""
    stderr = exec_stream.read_stderr(timeout=0) or b""
    output = pod_facts.to_one_line((stdout + stderr).decode(errors="replace"))
    code = exec_stream.returncode
    return (1 if code is None else code), output[-200:]


RAW_RESPONSE: dict[str, Any] = {"_preload_content": False, "_request_timeout": REQUEST_TIMEOUT}
"""For every request: the answer as it came, since models cost more than the request."""


def request_object(send: Callable[[], Any]) -> KubeObject:
    """Send a request and return the object in the answer; raise refusals as exceptions of ours."""
    answer = _send_request(send)
    try:
        obj: KubeObject = json.loads(answer.data)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # ValueError: no JSON, or half of it.
        raise TransientError(f"the API server's answer broke off: {error}") from error
    return obj


def _send_request(send: Callable[[], Any]) -> Any:  # noqa: ANN401 - urllib3's response
    try:
        return send()
    except ApiException as error:
        raise translate_api_error(error) from error
    except ValidationError as error:  # the library checks objects before it sends them
        raise UserError(
            f"this is no valid Kubernetes object: {_first_invalid_field(error)}"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"the API server can't be reached: {_root_cause(error)}") from error


def _first_invalid_field(error: ValidationError) -> str:
    """Return the first field that does not fit.

    Its outermost name is the number of an argument, and left out.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"


def _root_cause(error: BaseException) -> str:
    """Return the innermost message: urllib3 wraps a refused connection three times."""
    reason = getattr(error, "reason", None)
    return _root_cause(reason) if isinstance(reason, BaseException) else str(error)


def _kubeconfig_error(error: BaseException, path: str | None) -> UserError:
    reason = pod_facts.to_one_line(str(error)) or "there is no kubeconfig"
    tried_path = path or os.environ.get("KUBECONFIG", "~/.kube/config")
    return UserError(
        f"no cluster: {reason} ({tried_path})",
        hint="set KUBECONFIG, or check `kubectl config current-context`",
    )
