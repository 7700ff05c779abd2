"""``git http-backend`` as a CGI child of an ASGI server: streamed both ways, never a pack in memory."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.types import Send

from fyre import git

log = logging.getLogger(__name__)

CHUNK = 1 << 16


def environment(request: Request, git_dir: Path, service: str, **more: str) -> dict[str, str]:
    """What the child is told of a request for a service (``info/refs``, ``git-upload-pack``) of a repository."""
    headers = request.headers
    # No CONTENT_LENGTH: with one, git-http-backend spins for ever on a body that ends early, as it does when this
    # server is killed (read() answers 0, and it counts on); without one it reads to the end, which uvicorn guards.
    given = {
        "CONTENT_TYPE": headers.get("content-type"),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding"),
        "GIT_PROTOCOL": headers.get("git-protocol"),
    }
    return git.clean_env(
        GIT_PROJECT_ROOT=str(git_dir),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=f"/{service}",
        REQUEST_METHOD=request.method,
        QUERY_STRING=request.url.query,
        REMOTE_ADDR=request.client.host if request.client else "127.0.0.1",
        **{key: value for key, value in given.items() if value is not None},
        **more,
    )


@dataclass
class Exchange:
    """One request's body into a child, and its answer back. Cancelled, it ends the child."""

    request: Request
    send: Send
    _whole: bool = False  # the request's body has arrived

    async def run(self, environment: dict[str, str]) -> None:
        """Run the child to its end, or end it when the client is gone."""
        child = await spawned(environment)
        feeding = asyncio.create_task(self._feed(child))
        try:
            await self._answer(child)
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
            if not self._whole or child.returncode is None:
                await asyncio.shield(self._end(child))

    async def _feed(self, child: Process) -> None:
        """The body into the child; then wait for the client to hang up, which ends a child that only reads."""
        assert child.stdin is not None  # noqa: S101 - asked for as a pipe
        gone = False
        # Either error: the child has ended and wants no more; its answer says why. uvloop raises the latter.
        with suppress(ConnectionError, RuntimeError):
            while not self._whole and not gone:
                message = await self.request.receive()
                gone = message["type"] == "http.disconnect"
                self._whole = not gone and not message.get("more_body", False)
                if message.get("body"):
                    child.stdin.write(message["body"])
                    await child.stdin.drain()
        if not gone:
            child.stdin.close()
            while (await self.request.receive())["type"] != "http.disconnect":
                pass
        if not (self._whole and self._writes()):
            _signal(child, signal.SIGTERM)  # a push that has arrived whole counts, though nobody hears the answer

    async def _answer(self, child: Process) -> None:
        assert child.stdout is not None  # noqa: S101 - asked for as a pipe
        try:
            head = await child.stdout.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.warning("git http-backend gave no answer to %s", self.request.url.path)
            await self._start(502, [])
            await self.send({"type": "http.response.body", "body": b"git gave no answer\n"})
            return
        await self._start(*_parse(head))
        while chunk := await child.stdout.read(CHUNK):
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _end(self, child: Process) -> None:
        """Give the child a moment to take back its lock files; what it still says is thrown away."""
        if not (self._whole and self._writes()):
            _signal(child, signal.SIGTERM)
        try:
            await asyncio.wait_for(_drained(child), 10)
        except TimeoutError:
            _signal(child, signal.SIGKILL)
            await child.wait()

    def _writes(self) -> bool:
        return "receive-pack" in self.request.url.path


async def spawned(environment: dict[str, str]) -> Process:
    """A child that serves one request."""
    while True:
        try:
            return await asyncio.create_subprocess_exec(
                "git", "http-backend", stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
            )
        except RuntimeError as error:
            if not str(error).startswith("Racing"):
                raise
        # uvloop forks for one thread's loop at a time, and refuses the other: the relay has a loop of its own.
        await asyncio.sleep(0.005)


async def _drained(child: Process) -> None:
    """The child's end. Its pipe is read to the end too: left full, it would stay open, and so would the child."""
    assert child.stdout is not None  # noqa: S101 - asked for as a pipe
    while await child.stdout.read(CHUNK):
        pass
    await child.wait()


def _parse(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """A CGI head: the ``Status`` header is the code, 200 where there is none."""
    status, headers = 200, []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        elif colon:
            headers.append((name.strip().lower(), value.strip()))
    return status, headers


def _signal(child: Process, number: signal.Signals) -> None:
    if child.returncode is None:  # once it is reaped, its number may be another's
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
