"""Errors that are meant for people, and errors that pass.

A ``UserError`` has a line that says what is wrong and a hint that says what to do. Everything else
that escapes is a bug in Fyre and is reported as one (see ``fyre.cli.main``).
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can fix.

    ``message`` is one line without a full stop; ``hint`` is what to do or type next. The process
    exits with ``exit_code``: 1 for a user's error, 2 for wrong usage.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class TooLargeError(Exception):
    """Something is larger than what is read of its kind; the text says what, and the limit."""


class TransientError(Exception):
    """A failure that is expected to pass: try the same thing again later.

    Examples: a timeout, a 502, an object that is being deleted.
    """


class RefusedForNowError(TransientError):
    """A refusal of one object alone, as by a quota: another one may be taken meanwhile.

    It passes when somebody makes room or mends something, which may take hours.
    """


LOCAL_TROUBLE = (OSError, MemoryError)
"""Errors of a machine that lacks something: descriptors, room on the disk, memory, processes. They
say nothing of what was being worked on, and pass."""


def local_trouble_as_transient(error: BaseException) -> TransientError:
    """Return the error to be tried again for one of ``LOCAL_TROUBLE``."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return TransientError(f"the receiver's machine: {reason}")
