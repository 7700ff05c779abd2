"""The API server: the few requests that Fyre makes, plain dicts in and out, and its refusals in our words.

The client library is loaded here and nowhere else. ``TryAgainError`` is what may pass by itself or by an admin's hand
(the server is away or busy, a namespace is going, a right is missing); ``UserError`` is what the same request meets
for ever.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator
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
"""The same for a log that is followed: a command may be silent for long; keepalives notice a dead connection."""

EXEC_TIMEOUT = 300.0
"""Seconds that a streamed checkout may take."""

_MAX_CONNECTIONS = 256  # kept open: each log that is followed holds one

_NO_EXIT_CODE_ERRORS = (ValueError, TypeError, LookupError, yaml.YAMLError)
"""What the library raises of a command without an exit code: an error of containerd's, or nothing, in its place."""

_NO_LOG_MESSAGE = re.compile(
    rb"unable to retrieve container logs for [a-z-]+://[0-9a-f]{64}"
    rb"|failed to (try resolving symlinks in path|open log file) \"[^\"\n]+\.log\": [^\n]+"
)
"""All that a kubelet says where it has no log: GetContainerLogs of kuberuntime_container.go, ReadLogs of cri-client."""

_KUBECONFIG_ERRORS = (
    config.ConfigException,
    yaml.YAMLError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
)
"""What the library raises of a kubeconfig that is none: it looks into whatever the file holds."""


class KubernetesClient:
    """One cluster, as one user. Thread-safe."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        """Read a kubeconfig (``KUBECONFIG``, ``~/.kube/config``), else be a pod. Raises ``UserError``."""
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
        settings.retries = urllib3.Retry(
            0
        )  # what is asked again, and when, is decided where it is known what for
        self.host: str = settings.host
        self.api_client = client.ApiClient(settings)
        # Any: their types want models, and plain dicts cost a tenth (first use of a model: 240 ms).
        self._batch_api: Any = client.BatchV1Api(self.api_client)
        self._core_api: Any = client.CoreV1Api(self.api_client)
        self._authorization_api: Any = client.AuthorizationV1Api(self.api_client)

    def create_job(self, namespace: str, job: KubeObject, *, dry_run: bool = False) -> KubeObject:
        """Create a Job. Raises ``Taken``."""
        more = {"dry_run": "All"} if dry_run else {}
        return request_object(
            lambda: self._batch_api.create_namespaced_job(
                namespace, job, field_validation="Strict", **more, **RAW_RESPONSE
            )
        )

    def get_job(self, namespace: str, name: str) -> KubeObject:
        """One Job. Raises ``Gone``."""
        return request_object(
            lambda: self._batch_api.read_namespaced_job(name, namespace, **RAW_RESPONSE)
        )

    def patch_job(self, namespace: str, name: str, patch: KubeObject) -> KubeObject:
        """Merge into a Job. Raises ``Gone``."""
        return request_object(
            lambda: self._batch_api.patch_namespaced_job(name, namespace, patch, **RAW_RESPONSE)
        )

    def list_pods(self, namespace: str, selector: str) -> list[KubeObject]:
        """Some pods as they are at this moment."""
        found = request_object(
            lambda: self._core_api.list_namespaced_pod(
                namespace, label_selector=selector, **RAW_RESPONSE
            )
        )
        return [pod_facts.strip_unused(pod) for pod in found["items"]]

    def list_events(self, namespace: str, uid: str) -> list[KubeObject]:
        """What is told of an object, oldest first."""
        selector = f"involvedObject.uid={uid}"
        found = request_object(
            lambda: self._core_api.list_namespaced_event(
                namespace, field_selector=selector, **RAW_RESPONSE
            )
        )
        return sorted(
            found["items"], key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or ""
        )

    def get_secret(self, namespace: str, name: str) -> tuple[dict[str, str], float]:
        """A secret's values, base64 as they are kept, and when it was last changed. Raises ``Gone``."""
        found = request_object(
            lambda: self._core_api.read_namespaced_secret(name, namespace, **RAW_RESPONSE)
        )
        about = found["metadata"]
        times = [
            about.get("creationTimestamp"),
            *(entry.get("time") for entry in about.get("managedFields") or []),
        ]
        return dict(found.get("data") or {}), max(
            filter(None, map(pod_facts.parse_time, times)), default=0.0
        )

    def stream_container_log(
        self, namespace: str, pod: str, container: str, *, follow: bool
    ) -> Iterator[bytes]:
        """A container's output. Raises ``Gone``, and ``TryAgainError`` when it breaks off or has not begun.

        A kubelet that has no such log (any more) may say so in its place, as an answer that is well (200).
        """
        timeout = FOLLOW_TIMEOUT if follow else REQUEST_TIMEOUT
        raw = {**RAW_RESPONSE, "_request_timeout": timeout}
        answer = _send_request(
            lambda: self._core_api.read_namespaced_pod_log(
                pod, namespace, container=container, follow=follow, **raw
            )
        )
        try:
            pieces = answer.stream(amt=65536, decode_content=False)
            first = next(pieces, b"")
            if not (
                first or "Transfer-Encoding" in answer.headers or "Content-Length" in answer.headers
            ):
                raise TransientError(
                    "the log broke off in the answer's head"
                )  # which is taken for an empty answer
            if _NO_LOG_MESSAGE.fullmatch(first):
                following = next(pieces, None)
                if following is None:
                    raise ObjectNotFound(first.decode(errors="replace"))
                first += following
            yield first
            yield from pieces
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(f"the log broke off: {error}") from error
        finally:
            answer.close()

    def exec_in_container(
        self, namespace: str, pod: str, container: str, command: list[str], stdin: Iterator[bytes]
    ) -> tuple[int, str]:
        """Run a command in a container and feed it: its exit code, and the end of what it said."""
        head = next(
            stdin, b""
        )  # made first: what can't be had is known before anybody waits for it
        try:
            # A client of its own: the library turns the one it is given into a websocket's for the time of the call.
            told = stream.stream(
                client.CoreV1Api(client.ApiClient(self.api_client.configuration)).connect_get_namespaced_pod_exec,
                pod, namespace, container=container, command=command, stdin=True, stdout=True, stderr=True,
                binary=True, _preload_content=False,
            )  # fmt: skip
            told.sock.settimeout(
                EXEC_TIMEOUT
            )  # else a connection that is no more would be written to for ever
            try:
                return _feed_stdin(told, chain([head], stdin))
            finally:
                told.sock.shutdown()  # its own close() leaves the socket open where the server was first
        except ApiException as error:
            raise translate_api_error(error) from error
        except (WebSocketException, OSError, *_NO_EXIT_CODE_ERRORS) as error:
            raise TransientError(
                f"exec into {pod} broke off: {pod_facts.to_one_line(str(error))[:200]}"
            ) from error

    def has_permission(
        self, namespace: str, group: str, resource: str, verb: str, name: str = ""
    ) -> bool:
        """Whether we have a right, by SelfSubjectAccessReview."""
        resource, _, sub = resource.partition("/")
        asked = {
            "namespace": namespace,
            "group": group,
            "resource": resource,
            "subresource": sub,
            "verb": verb,
            "name": name,
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                  "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}}}  # fmt: skip
        answer = request_object(
            lambda: self._authorization_api.create_self_subject_access_review(
                review, **RAW_RESPONSE
            )
        )
        return bool(answer["status"].get("allowed"))

    def list_managed_objects(
        self, namespace: str, kinds: Collection[str] = ("Job", "RoleBinding", "Role")
    ) -> list[KubeObject]:
        """Everything of Fyre's in a namespace, whichever instance's."""
        rbac: Any = client.RbacAuthorizationV1Api(self.api_client)
        role = "rbac.authorization.k8s.io/v1"
        found: list[KubeObject] = []
        for lister, kind, version in (
            (self._batch_api.list_namespaced_job, "Job", "batch/v1"),
            (rbac.list_namespaced_role_binding, "RoleBinding", role),
            (rbac.list_namespaced_role, "Role", role),
        ):
            if kind not in kinds:
                continue
            listed = request_object(
                partial(
                    lister, namespace, label_selector=job_labels.MANAGED_SELECTOR, **RAW_RESPONSE
                )
            )
            found += [{"apiVersion": version, "kind": kind, **thing} for thing in listed["items"]]
        return found

    def close(self) -> None:
        """Close the connections that are kept."""
        self.api_client.rest_client.close()

    def list_function(self, kind: str) -> Callable[..., Any]:
        """The list-or-watch function of Jobs or pods, for the library's informer."""
        listers: dict[str, Callable[..., Any]] = {
            "jobs": self._batch_api.list_namespaced_job,
            "pods": self._core_api.list_namespaced_pod,
        }
        return listers[kind]


def _feed_stdin(exec_stream: Any, stdin: Iterator[bytes]) -> tuple[int, str]:  # noqa: ANN401 - it comes without types
    """Give a command its input; its exit code, and the end of what it said."""
    for piece in stdin:
        exec_stream.write_stdin(piece)
    exec_stream.run_forever(timeout=EXEC_TIMEOUT)
    said = (exec_stream.read_stdout(timeout=0) or b"") + (exec_stream.read_stderr(timeout=0) or b"")
    code = exec_stream.returncode
    return (1 if code is None else code), pod_facts.to_one_line(said.decode(errors="replace"))[
        -200:
    ]


RAW_RESPONSE: dict[str, Any] = {"_preload_content": False, "_request_timeout": REQUEST_TIMEOUT}
"""For every request: the answer as it came, since models cost more than the request."""


def request_object(send: Callable[[], Any]) -> KubeObject:
    """The object that a request is answered with; refusals as exceptions of ours."""
    answer = _send_request(send)
    try:
        found: KubeObject = json.loads(answer.data)
    except (
        urllib3.exceptions.HTTPError,
        OSError,
        ValueError,
    ) as error:  # ValueError: no JSON, or half of it
        raise TransientError(f"the API server's answer broke off: {error}") from error
    return found


def _send_request(send: Callable[[], Any]) -> Any:  # noqa: ANN401 - urllib3's response
    try:
        return send()
    except ApiException as error:
        raise translate_api_error(error) from error
    except (
        ValidationError
    ) as error:  # the library holds an object against its models before it asks
        raise UserError(
            f"that is no object of Kubernetes: {_first_invalid_field(error)}"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"the API server can't be reached: {_root_cause(error)}") from error


def _first_invalid_field(error: ValidationError) -> str:
    """The first field that does not fit; the outermost name is the argument's number."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"


def _root_cause(error: BaseException) -> str:
    """The innermost words: urllib3 wraps a refused connection three times."""
    reason = getattr(error, "reason", None)
    return _root_cause(reason) if isinstance(reason, BaseException) else str(error)


def _kubeconfig_error(error: BaseException, path: str | None) -> UserError:
    why = pod_facts.to_one_line(str(error)) or "there is none"
    where = path or os.environ.get("KUBECONFIG", "~/.kube/config")
    return UserError(
        f"no cluster: {why} ({where})",
        hint="set KUBECONFIG, or check `kubectl config current-context`",
    )
