"""Events for the watching thread: changes and ends of supervisors, and wake-ups by callers."""

from __future__ import annotations

import os
import re
import selectors
import time
from contextlib import suppress
from dataclasses import dataclass, field

from fyre.engines.local import processes

_PID = re.compile(rb"(\d+)\n")


@dataclass(slots=True)
class _Supervisor:
    """A supervisor that this server started."""

    key: str
    pipe: int  # the end to read
    asked_at: float  # on the monotonic clock
    pid: int | None = None  # None until it is forked
    descriptors: list[int] = field(default_factory=list)


class SupervisorEvents:
    """Pipes of supervisors that this server started, and pidfds of all supervisors.

    A command may get hold of the pipe, which then hides its supervisor's death; the pidfd does not.
    ``wake_up`` may be called from any thread.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._by_key: dict[str, _Supervisor] = {}
        self._wake_read, self._wake_write = processes.create_wake_pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def __len__(self) -> int:
        """Return the number of living supervisors that this server started."""
        return len(self._by_key)

    def watch_pipe(self, pipe: int, key: str) -> None:
        """Watch a supervisor through the pipe that it was given."""
        self._by_key[key] = _Supervisor(key, pipe, time.monotonic())
        self._register(pipe, self._by_key[key])

    def watch_process(self, pid: int) -> None:
        """Wake up at the end of a process that is no child of this one.

        This is only a hint, the lock tells the truth. So it does no harm if the pid is another
        process's by now; and where there is no pidfd (macOS), polling the lock finds the end a
        little later.
        """
        with suppress(AttributeError, OSError):
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ)

    def pids(self) -> dict[str, int | None]:
        """Return the pids of the living supervisors that this server started, by their runs' keys.

        The pid is None until the supervisor is forked.
        """
        return {key: supervisor.pid for key, supervisor in self._by_key.items()}

    def has_unanswered(self, seconds: float) -> bool:
        """Return True if a supervisor was asked for so long ago, and was not forked."""
        latest = time.monotonic() - seconds
        return any(one.pid is None and one.asked_at < latest for one in self._by_key.values())

    def wake_up(self) -> None:
        """Make ``wait_for_events`` return."""
        with suppress(BlockingIOError):  # the pipe is full of wake-ups: one is enough
            os.write(self._wake_write, b".")

    def wait_for_events(self, seconds: float) -> list[tuple[str, bool]]:
        """Return the keys of supervisors with news, each with whether the supervisor has ended.

        The list is empty when the time is over or a wake-up came.
        """
        events = []
        for ready, _ in self._selector.select(seconds):
            supervisor: _Supervisor | None = ready.data
            if ready.fd == self._wake_read:
                os.read(ready.fd, 4096)
            elif supervisor is None:
                self._unregister(ready.fd)  # of a supervisor that is adopted
            elif self._by_key.get(supervisor.key) is supervisor:  # its end isn't told yet
                has_ended = ready.fd != supervisor.pipe or not self._read_news(supervisor)
                if has_ended:
                    self._forget(supervisor)
                events.append((supervisor.key, has_ended))
        return events

    def close(self) -> None:
        """Close everything; supervisors go on unwatched."""
        for registered in list(self._selector.get_map().values()):
            self._unregister(registered.fd)
        os.close(self._wake_write)
        self._selector.close()

    def _read_news(self, supervisor: _Supervisor) -> bool:
        """Read what came through a pipe, and return True if its supervisor lives."""
        news = os.read(supervisor.pipe, 4096)
        match = _PID.search(news)
        if match and supervisor.pid is None:
            supervisor.pid = int(match[1])
            try:
                self._register(os.pidfd_open(supervisor.pid), supervisor)
            except ProcessLookupError:
                return False
            except (AttributeError, OSError):
                pass  # there is none (macOS), or no descriptor: the pipe ends as well
        return bool(news)

    def _forget(self, supervisor: _Supervisor) -> None:
        del self._by_key[supervisor.key]
        for descriptor in supervisor.descriptors:
            self._unregister(descriptor)

    def _register(self, descriptor: int, supervisor: _Supervisor) -> None:
        supervisor.descriptors.append(descriptor)
        self._selector.register(descriptor, selectors.EVENT_READ, supervisor)

    def _unregister(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
