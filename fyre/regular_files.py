"""Read files that somebody else may have put there: in a checkout, or in a working tree."""

from __future__ import annotations

import os


def read_beginning(path: str | os.PathLike[str], length: int) -> bytes:
    """Return the first bytes of a file; nothing of one that can't be read, or is a link.

    A pipe is not waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, length)
    except OSError:  # a directory
        return b""
    finally:
        os.close(descriptor)
