"""What the watching thread waits for: news from supervisors, the end of one, a caller who wakes it."""

from __future__ import annotations

import os
import selectors
from contextlib import suppress

from fyre.engines.local import processes


class SupervisorEvents:
    """Pipes of supervisors that this server started, pidfds of those that it adopted. ``wake`` is for any thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._key_by_pipe: dict[int, str] = {}  # end to read → key
        self._wake_read, self._wake_write = processes.create_wake_pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def __len__(self) -> int:
        """Supervisors that this server started and that are alive."""
        return len(self._key_by_pipe)

    def watch_pipe(self, pipe: int, key: str) -> None:
        """Hear of a supervisor through the pipe that it was given."""
        self._key_by_pipe[pipe] = key
        self._selector.register(pipe, selectors.EVENT_READ)

    def watch_process(self, pid: int) -> None:
        """Wake at the end of a process that is no child of ours. Only a hint, the lock tells the truth: no harm if it
        is another's by now, and where there is no pidfd (macOS), whoever polls the lock finds out a little later."""
        with suppress(AttributeError, OSError):
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ)

    def wake_up(self) -> None:
        """Have ``wait`` return."""
        with suppress(BlockingIOError):  # it is full of wake-ups: one will do
            os.write(self._wake_write, b".")

    def wait_for_events(self, seconds: float) -> list[tuple[str, bool]]:
        """The keys of supervisors with news, and whether they are gone for good; none when time or a wake-up came."""
        heard = []
        for event, _ in self._selector.select(seconds):
            key = self._key_by_pipe.get(event.fd)
            if event.fd == self._wake_read:
                os.read(event.fd, 4096)
            elif key is None:
                self._unregister(event.fd)
            else:
                gone = not os.read(event.fd, 4096)
                if gone:
                    del self._key_by_pipe[event.fd]
                    self._unregister(event.fd)
                heard.append((key, gone))
        return heard

    def close(self) -> None:
        """Close everything; supervisors go on without being heard."""
        for registered in list(self._selector.get_map().values()):
            self._unregister(registered.fd)
        os.close(self._wake_write)
        self._selector.close()

    def _unregister(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
