"""git http-backend as a child of an event loop."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process

import pytest
import uvloop

from fyre import git, httpbackend


def test_a_loop_that_may_not_fork_just_now_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop's words where another thread's loop forks in that instant: too rare to be waited for."""
    tries, real = [], asyncio.create_subprocess_exec

    async def racing(*words: str, **how: object) -> Process:
        tries.append(words)
        if len(tries) < 3:
            raise RuntimeError("Racing with another loop to spawn a process.")
        return await real(*words, **how)  # type: ignore[arg-type] # as they came

    async def answer() -> bytes:
        child = await httpbackend.spawned(git.clean_env())
        assert child.stdout is not None
        said = await child.stdout.read()
        await child.wait()
        return said

    monkeypatch.setattr(asyncio, "create_subprocess_exec", racing)
    assert uvloop.run(answer()).startswith(b"Status: ")
    assert len(tries) == 3
