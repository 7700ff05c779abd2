"""What the API server refuses, in our words: the answers are those of a real one, over real
HTTP.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException

from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import (
    AlreadyExists,
    ConflictError,
    MissingPermissionError,
    ObjectNotFound,
    translate_api_error,
)
from fyre.engines.kubernetes.logs.collected_chunks import collect_chunks
from fyre.errors import RefusedForNowError, TransientError, UserError
from tests.support.waiting import until

JOB = {"metadata": {"name": "j"}}
NAME = "fyre-0123"
HTML = "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>nginx</body></html>"


def status(code: int, reason: str, message: str) -> str:
    """An API server's refusal (meta/v1 Status)."""
    return json.dumps({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": {}, "code": code,
    })  # fmt: skip


def forbidden(what: str, why: str) -> str:
    return status(403, "Forbidden", f"{what} is forbidden: {why}")


IN_LAB = 'in API group "{}" in the namespace "lab"'
RBAC = forbidden(
    "jobs.batch", 'User "fyre" cannot create resource "jobs" ' + IN_LAB.format("batch")
)
RBAC_POD = forbidden(
    f'pods "{NAME}"', 'User "fyre" cannot get resource "pods/log" ' + IN_LAB.format("")
)
QUOTA = (
    "exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=1, "
    "limited: count/jobs.batch=1"
)
NEW_QUOTA = "status unknown for quota: few, resources: count/jobs.batch"
BROKEN_WEBHOOK = (
    'Internal error occurred: failed calling webhook "jobs.gate.example": failed to call webhook: '
    'Post "https://gate.lab.svc:443/?timeout=10s": dial tcp 10.96.0.7:443: '
    "connect: connection refused"
)
TROUBLED_WEBHOOK = (
    'admission webhook "costs.of.all.jobs.gate.lab.example" denied the request: '
    "its database of cost centres does not answer"
)
SLOW_QUOTA = "Internal error occurred: resource quota evaluation timed out"
GOING = "unable to create new content in namespace lab because it is being terminated"
WEBHOOK = (
    'admission webhook "validate.example" denied the request: '
    "images must come from registry.example"
)
LONG = (
    f'Job.batch "{NAME}" is invalid: metadata.labels: Invalid value: "xxx": '
    "must be no more than 63 characters"
)
BUSY = "Too many requests, please try again later."
LOG = "/var/log/pods/lab_p_7930fcce/run/0.log"
MODIFIED = f'Operation cannot be fulfilled on jobs.batch "{NAME}": the object has been modified'

REFUSALS = [
    (
        "rbac",
        403,
        RBAC,
        MissingPermissionError,
        (
            "the cluster does not let us create jobs in namespace lab: "
            "`fyre manifests` prints the Role that does"
        ),
    ),
    (
        "rbac-pod",
        403,
        RBAC_POD,
        MissingPermissionError,
        (
            "the cluster does not let us get pods/log in namespace lab: "
            "`fyre manifests` prints the Role that does"
        ),
    ),
    ("quota", 403, forbidden("pods", QUOTA), RefusedForNowError, QUOTA),
    (
        "9_26-new-quota",
        403,
        forbidden("jobs", NEW_QUOTA),
        RefusedForNowError,
        f"jobs is forbidden: {NEW_QUOTA}",
    ),
    (
        "9_26-broken-webhook",
        500,
        status(500, "InternalError", BROKEN_WEBHOOK),
        RefusedForNowError,
        'admission webhook "jobs.gate.example" does not work: connection refused',
    ),
    (
        "9_26-troubled-webhook",
        503,
        status(503, "ServiceUnavailable", TROUBLED_WEBHOOK),
        RefusedForNowError,
        "its database of cost centres does not answer",
    ),
    (
        "9_26-slow-quota",
        500,
        status(500, "InternalError", SLOW_QUOTA),
        RefusedForNowError,
        SLOW_QUOTA,
    ),
    (
        "terminating",
        403,
        forbidden("jobs", GOING),
        RefusedForNowError,
        f"jobs is forbidden: {GOING}",
    ),
    (
        "webhook",
        403,
        status(403, "Forbidden", WEBHOOK),
        UserError,
        f"the cluster refused it: {WEBHOOK}",
    ),
    (
        "webhook-400",
        400,
        status(400, "BadRequest", WEBHOOK),
        UserError,
        f"the cluster refused it: {WEBHOOK}",
    ),
    ("invalid", 422, status(422, "Invalid", LONG), UserError, f"the cluster refused it: {LONG}"),
    (
        "no-namespace",
        404,
        status(404, "NotFound", 'namespaces "lab" not found'),
        UserError,
        'namespaces "lab" not found',
    ),
    (
        "no-job",
        404,
        status(404, "NotFound", f'jobs.batch "{NAME}" not found'),
        ObjectNotFound,
        f'jobs.batch "{NAME}" not found',
    ),
    (
        "no-such-path",
        404,
        "404 page not found\n",
        TransientError,
        "the API server answered 404: Not Found",
    ),
    (
        "exists",
        409,
        status(409, "AlreadyExists", f'jobs.batch "{NAME}" already exists'),
        AlreadyExists,
        f'jobs.batch "{NAME}" already exists',
    ),
    (
        "conflict",
        409,
        status(409, "Conflict", MODIFIED),
        ConflictError,
        f"the API server answered 409: {MODIFIED}",
    ),
    (
        "expired",
        410,
        status(410, "Expired", "too old resource version: 1 (2)"),
        TransientError,
        "the API server answered 410: too old resource version: 1 (2)",
    ),
    (
        "busy",
        429,
        status(429, "TooManyRequests", BUSY),
        TransientError,
        f"the API server answered 429: {BUSY}",
    ),
    (
        "etcd",
        500,
        status(500, "InternalError", "etcdserver: request timed out"),
        TransientError,
        "the API server answered 500: etcdserver: request timed out",
    ),
    (
        "stranger",
        401,
        status(401, "Unauthorized", "Unauthorized"),
        TransientError,
        "the cluster does not take our credentials: have they expired?",
    ),
    ("proxy", 502, HTML, TransientError, "the API server answered 502: Bad Gateway"),
    ("nothing", 503, "", TransientError, "the API server answered 503: Service Unavailable"),
    ("list", 500, "[]", TransientError, "the API server answered 500: Internal Server Error"),
    ("null", 500, "null", TransientError, "the API server answered 500: Internal Server Error"),
    ("lines", 500, status(500, "", "a\n  b"), TransientError, "the API server answered 500: a b"),
]


class Handler(BaseHTTPRequestHandler):
    """Answers everything with what the server holds."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, body, length = self.server.answer  # type: ignore[attr-defined] # ours
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "1")
        self.close_connection = True
        if self.server.is_silent:  # type: ignore[attr-defined] # ours
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            if self.connection.recv(1) == b"":
                self.server.left.set()  # type: ignore[attr-defined] # ours
            return
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = do_GET  # noqa: N815 - the names that http.server looks for

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """An API server that always says the same."""

    answer = (200, b"{}", 0)
    asked = 0
    is_silent = False  # after what it says, until the client leaves

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.left = threading.Event()

    def say(self, code: int, body: str, length: int = 0) -> None:
        self.answer = (code, body.encode(), length)

    def process_request(self, *args: object) -> None:
        self.asked += 1
        super().process_request(*args)  # type: ignore[arg-type] # handed on


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def written(path: Path, url: str) -> str:
    told = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(told))
    return str(path)


@pytest.fixture(scope="module")
def api(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesClient]:
    url = f"http://127.0.0.1:{server.server_port}"
    api = KubernetesClient(written(tmp_path_factory.mktemp("kube") / "config", url))
    yield api
    api.close()


@pytest.mark.parametrize("refusal", REFUSALS, ids=[refusal[0] for refusal in REFUSALS])
def test_what_a_refusal_means(
    api: KubernetesClient, server: Server, refusal: tuple[str, int, str, type[Exception], str]
) -> None:
    _, code, body, kind, said = refusal
    server.say(code, body)
    before = server.asked
    for ask in (
        lambda: api.get_job("lab", NAME),
        lambda: api.create_job("lab", JOB),
        lambda: api.patch_job("lab", NAME, JOB),
        lambda: b"".join(api.stream_container_log("lab", NAME, "run", follow=False)),
    ):
        with pytest.raises(kind) as refused:
            ask()
        assert str(refused.value) == said
        assert type(refused.value) is kind
    assert server.asked == before + 4, "what is asked again is not the client library's to decide"


def test_a_missing_namespace_comes_with_a_hint(api: KubernetesClient, server: Server) -> None:
    server.say(404, status(404, "NotFound", 'namespaces "lab" not found'))
    with pytest.raises(UserError) as refused:
        api.create_job("lab", JOB)
    assert "fyre manifests" in refused.value.hint


def test_an_object_that_is_none_is_refused_before_it_is_sent(
    api: KubernetesClient, server: Server
) -> None:
    before = server.asked
    with pytest.raises(UserError, match=r"spec\.sekret") as refused:
        api.create_job(
            "lab", {"metadata": {"name": "j"}, "spec": {"sekret": "sesame", "template": {}}}
        )
    assert "sesame" not in str(refused.value)
    assert server.asked == before


@pytest.mark.parametrize(("body", "length"), [('{"a"', 100), ("{", 0), (HTML, 0), ("", 0)])
def test_an_answer_that_breaks_off_may_come_whole_next_time(
    api: KubernetesClient, server: Server, body: str, length: int
) -> None:
    server.say(200, body, length)
    with pytest.raises(TransientError):
        api.get_job("lab", NAME)


@pytest.mark.parametrize(
    "words",
    [
        f"unable to retrieve container logs for containerd://{'c347bdb9' * 8}",
        f'failed to try resolving symlinks in path "{LOG}": lstat {LOG}: no such file or directory',
        f'failed to open log file "{LOG}": open {LOG}: no such file or directory',
    ],
)
def test_what_a_kubelet_says_in_a_logs_place_is_no_log(
    api: KubernetesClient, server: Server, words: str
) -> None:
    server.say(200, words)
    with pytest.raises(ObjectNotFound, match=r"^(unable|failed) to "):
        b"".join(api.stream_container_log("lab", NAME, "run", follow=False))
    for said in (words + "\n", "on\n" + words):  # a command's own
        server.say(200, said)
        assert b"".join(api.stream_container_log("lab", NAME, "run", follow=False)) == said.encode()


def test_a_log_that_breaks_off(api: KubernetesClient, server: Server) -> None:
    server.say(200, "half", 100)
    pieces = api.stream_container_log("lab", NAME, "run", follow=True)
    assert next(pieces) == b"half"
    with pytest.raises(TransientError, match="broke off"):
        next(pieces)


def test_9_6_a_log_that_nobody_reads_any_more_is_left(
    api: KubernetesClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "is_silent", True)
    server.say(200, "half")
    chunks = collect_chunks(api.stream_container_log("lab", NAME, "run", follow=True))
    assert next(chunks) == b"half"
    chunks.close()
    assert server.left.wait(30), "the connection stayed open"
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "log-chunks"])


def test_an_answer_is_a_plain_dict(api: KubernetesClient, server: Server) -> None:
    job = {
        "metadata": {"name": NAME},
        "status": {"uncountedTerminatedPods": {}},
        "of the future": [1],
    }
    server.say(200, json.dumps(job))
    assert api.get_job("lab", NAME) == job
    times = [{"time": "2026-01-01T00:00:00Z"}, {"time": "2026-01-02T00:00:00Z"}, {}]
    about = {"creationTimestamp": "2025-01-01T00:00:00Z", "managedFields": times}
    server.say(200, json.dumps({"data": {"K": "dg=="}, "metadata": about}))
    assert api.get_secret("lab", "s") == ({"K": "dg=="}, 1767312000.0)
    server.say(200, '{"metadata": {}}')
    assert api.get_secret("lab", "s") == ({}, 0.0)
    server.say(201, '{"status": {"allowed": true}}')
    assert api.has_permission("lab", "", "pods/log", "get")


class Cut(BaseHTTPRequestHandler):
    """Is killed while it says its first words."""

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-En")

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], tmp_path: Path
) -> Iterator[tuple[ThreadingHTTPServer, KubernetesClient]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        api = KubernetesClient(
            written(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")
        )
        yield server, api
        api.close()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("follow", [True, False])
def test_a_log_whose_head_broke_off_is_no_empty_one(tmp_path: Path, *, follow: bool) -> None:
    with (
        serving(Cut, tmp_path) as (_, api),
        pytest.raises(TransientError, match="the log broke off"),
    ):
        b"".join(api.stream_container_log("lab", NAME, "run", follow=follow))


class Proxied(BaseHTTPRequestHandler):
    """An empty log, by way of a proxy that writes the names of headers small, as Envoy does."""

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        """Nothing."""


def test_an_empty_log_is_one_however_its_head_is_written(tmp_path: Path) -> None:
    with serving(Proxied, tmp_path) as (_, api):
        assert b"".join(api.stream_container_log("lab", NAME, "run", follow=True)) == b""


class Upgraded(BaseHTTPRequestHandler):
    """Lets a websocket in, says what the server holds, and has no more to say."""

    def do_GET(self) -> None:
        key = (
            self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        )  # RFC 6455, 1.3
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nSec-WebSocket-Accept: "
            + base64.b64encode(hashlib.sha1(key.encode()).digest())
            + b"\r\n\r\n"
            + self.server.answer  # type: ignore[attr-defined] # ours
        )
        self.rfile.read(1)

    def log_message(self, *args: object) -> None:
        """Nothing."""


CLOSE = b"\x88\x00"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"{: nothing like yaml",
        b'{"status": "Failure", "message": "error dialing backend: EOF"}',
        b'{"status": "Failure", "details": {"causes": [{"message": "no code"}]}}',
    ],
)
def test_a_command_that_ends_without_an_exit_code_is_tried_again(
    tmp_path: Path, said: bytes
) -> None:
    with serving(Upgraded, tmp_path) as (server, api):
        told = b"\x03" + said  # the channel of errors
        server.answer = (bytes([0x82, len(told)]) + told if said else b"") + CLOSE  # type: ignore[attr-defined] # ours
        with pytest.raises(TransientError, match="exec into p broke off"):
            api.exec_in_container("lab", "p", "checkout", ["sh"], iter([b"the pack"]))


def test_events_come_oldest_first(api: KubernetesClient, server: Server) -> None:
    events = [
        {"lastTimestamp": "2026-01-02T00:00:00Z"},
        {"lastTimestamp": None, "eventTime": "2026-01-01T00:00:00.0Z"},
        {},
    ]
    server.say(200, json.dumps({"items": events}))
    assert api.list_events("lab", "uid") == events[::-1]


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as gone:
        port = gone.server_port
    api = KubernetesClient(written(tmp_path / "config", f"http://127.0.0.1:{port}"))
    with pytest.raises(TransientError, match=r"can't be reached.*refused"):
        api.get_job("lab", NAME)
    api.close()


@pytest.mark.parametrize(
    "error", [ApiException(status=0, reason="SSLError\ncertificate verify failed"), ApiException()]
)
def test_a_failure_without_an_answer_is_one_line(error: ApiException) -> None:
    told = translate_api_error(error)
    assert isinstance(told, TransientError)
    assert "\n" not in str(told)
    assert "answered" not in str(told)


@pytest.mark.parametrize(
    "text", [None, "", "a: [", "[]", "apiVersion: v1\nkind: Config\ncurrent-context: nope\n"]
)
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="no cluster: ") as refused:
        KubernetesClient(str(path))
    assert refused.value.hint
    assert "\n" not in refused.value.message
