"""git http-backend as a child of an event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop
from starlette.requests import Request
from starlette.types import Message

from fyre.git import git_command, http_backend


async def answer() -> bytes:
    child = await http_backend.spawn_http_backend(git_command.clean_env())
    said = await child.stdout.read()
    await child.drain_and_wait()
    child.close()
    return said


def test_loops_of_several_threads_have_children_at_once() -> None:
    """The relay has a loop of its own, and uvloop refuses to fork for two loops at once."""

    async def many() -> list[bytes]:
        return await asyncio.gather(*[answer() for _ in range(10)])

    with ThreadPoolExecutor(4) as threads:
        said = [
            one
            for loop in [threads.submit(uvloop.run, many()) for _ in range(4)]
            for one in loop.result()
        ]
    assert len(said) == 40
    assert all(one.startswith(b"Status: ") for one in said)


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_child_that_ended_leaves_nothing_behind(run) -> None:
    async def gone() -> tuple[int | None, list[int]]:
        child = await http_backend.spawn_http_backend(git_command.clean_env())
        sockets = [
            writer.get_extra_info("socket") for writer in (child.stdin, child._stdout_closer)
        ]
        await child.drain_and_wait()
        child.close()
        await asyncio.gather(child.stdin.wait_closed(), child._stdout_closer.wait_closed())
        return child.process.returncode, [one.fileno() for one in sockets]

    code, numbers = run(gone())
    assert code is not None
    assert numbers == [-1, -1]


def test_a_child_that_is_busy_ends_with_its_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, children, real = [], [], http_backend.spawn_http_backend

    async def spawned(environment: dict[str, str]) -> http_backend.CgiProcess:
        children.append(await real(environment))
        return children[-1]

    async def receive() -> Message:
        await asyncio.sleep(3600)  # a body that does not come
        raise AssertionError

    async def send(message: Message) -> None:
        said.append(message["type"])

    async def begun() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/git-upload-pack",
            "query_string": b"",
            "headers": [(b"content-type", b"application/x-git-upload-pack-request")],
        }
        request = Request(scope, receive)
        exchange = http_backend.CgiRequest(request, send)
        task = asyncio.create_task(
            exchange.run(http_backend.cgi_environment(request, tmp_path, "git-upload-pack"))
        )
        while not said:
            await asyncio.sleep(0.01)
        assert not task.done()

    git_command.run_git("init", "-q", "--bare", str(tmp_path))
    monkeypatch.setattr(http_backend, "spawn_http_backend", spawned)
    uvloop.run(begun())
    assert said == ["http.response.start"]
    assert [child.process.returncode is not None for child in children] == [True]
