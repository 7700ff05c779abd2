"""Run ``git http-backend`` as a CGI process of an ASGI server.

Both directions are streamed; no pack is held in memory.
"""

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
    """Return the environment of a CGI request for a service of a repository.

    A service is ``info/refs`` or ``git-upload-pack``, for example.
    """
    headers = request.headers
    # No CONTENT_LENGTH: with one, git-http-backend loops for ever on a body that ends early, which
    # happens when this server is killed (read() returns 0, and it goes on counting). Without one it
    # reads to the end of the body, and uvicorn makes sure of that end.
    variables = {
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
        **{key: value for key, value in variables.items() if value is not None},
        **extra,
    )


@dataclass(frozen=True)
class CgiProcess:
    """A child process in its own process group, and its pipes.

    The pipes are streams of the event loop that started it.
    """

    process: subprocess.Popen[bytes]
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    _stdout_closer: asyncio.StreamWriter  # closes the transport of ``stdout``

    def has_exited(self) -> bool:
        """Return True if the process has exited; it is reaped then."""
        return self.process.poll() is not None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group."""
        if not self.has_exited():  # once it is reaped, its pid may belong to another process
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    async def drain_and_wait(self) -> None:
        """Wait for the process to exit, and read its output to the end.

        Unread output would keep the pipe open, and the process with it.
        """
        while await self.stdout.read(CHUNK_BYTES):
            pass
        # Poll instead of waiting: nothing else may reap it while it is sent a signal.
        while not self.has_exited():
            await asyncio.sleep(0.002)

    def close(self, timeout: float = 0) -> None:
        """Close the pipes and reap the process, without the event loop.

        Kills it after ``timeout`` seconds.
        """
        self.stdin.close()
        self._stdout_closer.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            self.process.wait()


@dataclass
class CgiRequest:
    """One HTTP request as a CGI exchange: its body into a process, the response back.

    Cancelling it ends the process.
    """

    request: Request
    send: Send
    _body_complete: bool = False  # the request's body has arrived

    async def run(self, environment: dict[str, str]) -> None:
        """Run the process until it exits, or end it when the client disconnects."""
        process = await spawn_http_backend(environment)
        feed_task = asyncio.create_task(self._feed_body(process))
        try:
            await self._send_response(process)
        finally:
            feed_task.cancel()
            with suppress(asyncio.CancelledError):
                await feed_task
            await asyncio.shield(self._end_process(process))

    async def _feed_body(self, process: CgiProcess) -> None:
        """Write the body to the process, then wait for the client to disconnect.

        A disconnect ends a process that only reads.
        """
        disconnected = False
        # Either error: the process has exited and reads no more, and its response says why.
        # uvloop raises the latter.
        with suppress(ConnectionError, RuntimeError):
            while not self._body_complete and not disconnected:
                message = await self.request.receive()
                disconnected = message["type"] == "http.disconnect"
                self._body_complete = not disconnected and not message.get("more_body", False)
                if message.get("body"):
                    process.stdin.write(message["body"])
                    await process.stdin.drain()
        if not disconnected:
            process.stdin.close()
            while (await self.request.receive())["type"] != "http.disconnect":
                pass
        # A push that has arrived completely counts, though nobody reads the response.
        if not (self._body_complete and self._is_push()):
            process.send_signal(signal.SIGTERM)

    async def _send_response(self, process: CgiProcess) -> None:
        try:
            head = await process.stdout.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.warning("git http-backend sent no response to %s", self.request.url.path)
            await self._start_response(502, [])
            await self.send({"type": "http.response.body", "body": b"git sent no response\n"})
            return
        await self._start_response(*_parse_cgi_head(head))
        while chunk := await process.stdout.read(CHUNK_BYTES):
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def _start_response(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _end_process(self, process: CgiProcess) -> None:
        """Give the process time to remove its lock files; drop the rest of its output."""
        if not (self._body_complete and self._is_push()):
            process.send_signal(signal.SIGTERM)
        timeout = 0.0
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.drain_and_wait(), 10)
        except asyncio.CancelledError:  # the event loop ends; accept a push that has arrived
            timeout = 10.0
            raise
        finally:
            process.close(timeout)

    def _is_push(self) -> bool:
        return "receive-pack" in self.request.url.path


async def spawn_http_backend(environment: dict[str, str]) -> CgiProcess:
    """Start a process that serves one request.

    Uses Python's own ``Popen``, which borrows this process's memory until git has started (vfork).
    The event loop would fork: that copies the page tables of a whole server each time, and only one
    loop at a time can do it.
    """
    program = _http_backend_path()
    # ``git http-backend`` would be one more process, which starts that file and waits for it.
    # The file may move with an upgrade of git.
    command = [str(program)] if program.exists() else ["git", "http-backend"]
    parent_ends, child_ends = zip(socket.socketpair(), socket.socketpair(), strict=True)
    try:
        process = subprocess.Popen(
            command,
            stdin=child_ends[0].fileno(),
            stdout=child_ends[1].fileno(),
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except BaseException:
        _close_sockets(*parent_ends)
        raise
    finally:
        _close_sockets(*child_ends)
    return await _connect_pipes(process, *parent_ends)


async def _connect_pipes(
    process: subprocess.Popen[bytes], stdin: socket.socket, stdout: socket.socket
) -> CgiProcess:
    """Return the process with its pipes as streams of this event loop.

    The pipes are sockets, because uvloop closes the descriptor of a pipe twice.
    """
    try:
        _, stdin_writer = await asyncio.open_unix_connection(sock=stdin)
        stdout_reader, stdout_closer = await asyncio.open_unix_connection(sock=stdout)
    except BaseException:  # cancellation included: nothing else knows of the process yet
        _close_sockets(stdin, stdout)
        process.kill()
        process.wait()
        raise
    return CgiProcess(process, stdin_writer, stdout_reader, stdout_closer)


def _close_sockets(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


@functools.cache
def _http_backend_path() -> Path:
    """Return the path of ``git-http-backend`` in git's own directory of programs."""
    directory = git_command.git_output("--exec-path", env=git_command.clean_env())
    return Path(directory) / "git-http-backend"


def _parse_cgi_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Parse a CGI head; the ``Status`` header is the status code, 200 if there is none."""
    status, headers = 200, []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        elif colon:
            headers.append((name.strip().lower(), value.strip()))
    return status, headers
