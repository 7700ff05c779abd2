"""``git http-backend`` as a CGI child of an ASGI server: streamed both ways, never a pack in memory."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.types import Send

from fyre.git import git_command

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 16


def cgi_environment(request: Request, git_dir: Path, service: str, **extra: str) -> dict[str, str]:
    """What the child is told of a request for a service (``info/refs``, ``git-upload-pack``) of a repository."""
    headers = request.headers
    # No CONTENT_LENGTH: with one, git-http-backend spins for ever on a body that ends early, as it does when this
    # server is killed (read() answers 0, and it counts on); without one it reads to the end, which uvicorn guards.
    given = {
        "CONTENT_TYPE": headers.get("content-type"),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding"),
        "GIT_PROTOCOL": headers.get("git-protocol"),
    }
    return git_command.clean_env(
        GIT_PROJECT_ROOT=str(git_dir),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=f"/{service}",
        REQUEST_METHOD=request.method,
        QUERY_STRING=request.url.query,
        REMOTE_ADDR=request.client.host if request.client else "127.0.0.1",
        **{key: value for key, value in given.items() if value is not None},
        **extra,
    )


@dataclass(frozen=True)
class CgiProcess:
    """A child in a process group of its own, and its pipes as streams of the loop that made it."""

    process: subprocess.Popen[bytes]
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    _stdout_closer: asyncio.StreamWriter  # what closes the latter

    def has_exited(self) -> bool:
        """Whether it has; then it is reaped."""
        return self.process.poll() is not None

    def send_signal(self, number: signal.Signals) -> None:
        """Tell all of its group."""
        if not self.has_exited():  # once it is reaped, its number may be another's
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    async def drain_and_wait(self) -> None:
        """Wait for it. Its pipe is read to the end too: left full, it would stay open, and so would the child."""
        while await self.stdout.read(CHUNK_BYTES):
            pass
        while (
            not self.has_exited()
        ):  # looked at, not waited for: nobody else reaps it while it is told something
            await asyncio.sleep(0.002)

    def close(self, timeout: float = 0) -> None:
        """Let go of its pipes, and of the child: it is waited for without the loop, and killed after ``patience``."""
        self.stdin.close()
        self._stdout_closer.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            self.process.wait()


@dataclass
class CgiRequest:
    """One request's body into a child, and its answer back. Cancelled, it ends the child."""

    request: Request
    send: Send
    _body_complete: bool = False  # the request's body has arrived

    async def run(self, environment: dict[str, str]) -> None:
        """Run the child to its end, or end it when the client is gone."""
        child = await spawn_http_backend(environment)
        feeding = asyncio.create_task(self._feed_body(child))
        try:
            await self._send_response(child)
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
            await asyncio.shield(self._end_process(child))

    async def _feed_body(self, child: CgiProcess) -> None:
        """The body into the child; then wait for the client to hang up, which ends a child that only reads."""
        gone = False
        # Either error: the child has ended and wants no more; its answer says why. uvloop raises the latter.
        with suppress(ConnectionError, RuntimeError):
            while not self._body_complete and not gone:
                message = await self.request.receive()
                gone = message["type"] == "http.disconnect"
                self._body_complete = not gone and not message.get("more_body", False)
                if message.get("body"):
                    child.stdin.write(message["body"])
                    await child.stdin.drain()
        if not gone:
            child.stdin.close()
            while (await self.request.receive())["type"] != "http.disconnect":
                pass
        if not (self._body_complete and self._is_push()):
            child.send_signal(
                signal.SIGTERM
            )  # a push that has arrived whole counts, though nobody hears the answer

    async def _send_response(self, child: CgiProcess) -> None:
        try:
            head = await child.stdout.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.warning("git http-backend gave no answer to %s", self.request.url.path)
            await self._start_response(502, [])
            await self.send({"type": "http.response.body", "body": b"git gave no answer\n"})
            return
        await self._start_response(*_parse_cgi_head(head))
        while chunk := await child.stdout.read(CHUNK_BYTES):
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def _start_response(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _end_process(self, child: CgiProcess) -> None:
        """Give the child a moment to take back its lock files; what it still says is thrown away."""
        if not (self._body_complete and self._is_push()):
            child.send_signal(signal.SIGTERM)
        patience = 0.0
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(child.drain_and_wait(), 10)
        except (
            asyncio.CancelledError
        ):  # the loop itself ends; a push that has arrived is still taken
            patience = 10.0
            raise
        finally:
            child.close(patience)

    def _is_push(self) -> bool:
        return "receive-pack" in self.request.url.path


async def spawn_http_backend(environment: dict[str, str]) -> CgiProcess:
    """A child that serves one request.

    Python's own ``Popen``, which borrows this process's memory for the instant until git is there (vfork): the loop's
    children are forked, which copies the page tables of a whole server each time, and lets one loop at a time do it.
    """
    direct = _http_backend_path()
    ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
    try:
        process = subprocess.Popen(
            # ``git http-backend`` is one more process, which starts that file and waits; it may move with an upgrade.
            [str(direct)] if direct.exists() else ["git", "http-backend"],
            stdin=theirs[0].fileno(),
            stdout=theirs[1].fileno(),
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except BaseException:
        _close_sockets(*ours)
        raise
    finally:
        _close_sockets(*theirs)
    return await _connect_pipes(process, *ours)


async def _connect_pipes(
    process: subprocess.Popen[bytes], stdin: socket.socket, stdout: socket.socket
) -> CgiProcess:
    """The child with its ends in this loop; they are sockets, as uvloop closes the number of a pipe twice."""
    try:
        _, writing = await asyncio.open_unix_connection(sock=stdin)
        reader, reading = await asyncio.open_unix_connection(sock=stdout)
    except BaseException:  # cancelled, say: nobody will know of it
        _close_sockets(stdin, stdout)
        process.kill()
        process.wait()
        raise
    return CgiProcess(process, writing, reader, reading)


def _close_sockets(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()


@functools.cache
def _http_backend_path() -> Path:
    """Where git says that it keeps programs like this one."""
    return (
        Path(git_command.git_output("--exec-path", env=git_command.clean_env()))
        / "git-http-backend"
    )


def _parse_cgi_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """A CGI head: the ``Status`` header is the code, 200 where there is none."""
    status, headers = 200, []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        elif colon:
            headers.append((name.strip().lower(), value.strip()))
    return status, headers
