"""git http-backend as a child of an event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from fyre import git, httpbackend


async def answer() -> bytes:
    child = await httpbackend.spawned(git.clean_env())
    said = await child.stdout.read()
    await child.end()
    child.close()
    return said


def test_loops_of_several_threads_have_children_at_once() -> None:
    """The relay has a loop of its own, and uvloop itself refuses to fork for two of them in the same instant."""

    async def many() -> list[bytes]:
        return await asyncio.gather(*[answer() for _ in range(10)])

    with ThreadPoolExecutor(4) as threads:
        said = [one for loop in [threads.submit(uvloop.run, many()) for _ in range(4)] for one in loop.result()]
    assert len(said) == 40
    assert all(one.startswith(b"Status: ") for one in said)


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_child_that_ended_leaves_nothing_behind(run) -> None:
    async def gone() -> httpbackend.Child:
        child = await httpbackend.spawned(git.clean_env())
        await child.end()
        child.close()
        return child

    process = run(gone()).process
    assert process.returncode is not None
    assert process.stdin is not None
    assert process.stdout is not None
    assert (process.stdin.closed, process.stdout.closed) == (True, True)
