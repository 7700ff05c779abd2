"""Events for the watching thread: changes and ends of supervisors, and wake-ups by callers."""

from __future__ import annotations

import os
import selectors
from contextlib import suppress

from fyre.engines.local import processes


class SupervisorEvents:
    """Pipes of supervisors that this server started, pidfds of those that it adopted.

    ``wake_up`` may be called from any thread.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._key_by_pipe: dict[int, str] = {}  # end to read → key
        self._wake_read, self._wake_write = processes.create_wake_pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def __len__(self) -> int:
        """Return the number of living supervisors that this server started."""
        return len(self._key_by_pipe)

    def watch_pipe(self, pipe: int, key: str) -> None:
        """Watch a supervisor through the pipe that it was given."""
        self._key_by_pipe[pipe] = key
        self._selector.register(pipe, selectors.EVENT_READ)

    def watch_process(self, pid: int) -> None:
        """Wake up at the end of a process that is no child of this one.

        This is only a hint, the lock tells the truth. So it does no harm if the pid is another
        process's by now; and where there is no pidfd (macOS), polling the lock finds the end a
        little later.
        """
        with suppress(AttributeError, OSError):
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ)

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
            key = self._key_by_pipe.get(ready.fd)
            if ready.fd == self._wake_read:
                os.read(ready.fd, 4096)
            elif key is None:
                self._unregister(ready.fd)
            else:
                has_ended = not os.read(ready.fd, 4096)
                if has_ended:
                    del self._key_by_pipe[ready.fd]
                    self._unregister(ready.fd)
                events.append((key, has_ended))
        return events

    def close(self) -> None:
        """Close everything; supervisors go on unwatched."""
        for registered in list(self._selector.get_map().values()):
            self._unregister(registered.fd)
        os.close(self._wake_write)
        self._selector.close()

    def _unregister(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
