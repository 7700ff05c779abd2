"""Open files in whose place somebody else may have put something: no pipe is ever waited for.

That is so in a checkout, in a working tree, and in the directory of a run, whose command may write
there. Standard library only: a supervisor loads it.
"""

from __future__ import annotations

import errno
import os
import stat

_MOVED_SUFFIX = ".moved-away"


class NotRegularFileError(OSError):
    """Something else than a file is there: a directory, a link, a pipe."""


def open_regular(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """Return the descriptor of a file; with ``O_CREAT`` of one that only this user can read.

    Raises ``NotRegularFileError``, and any other ``OSError``.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise
        raise NotRegularFileError(error.errno, "no regular file", path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(errno.EINVAL, "no regular file", path)
    return descriptor


def open_for_writing(path: str | os.PathLike[str], flags: int = 0) -> int:
    """Return the descriptor of our own file, made where there is none.

    Anything else that somebody has put in its place is moved away.
    """
    flags |= os.O_WRONLY | os.O_CREAT
    try:
        return open_regular(path, flags)
    except NotRegularFileError:
        os.replace(path, os.fspath(path) + _MOVED_SUFFIX)  # noqa: PTH105 - as everywhere here
        return open_regular(path, flags)


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file. Raises ``NotRegularFileError``, and any other ``OSError``."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read()


def regular_size(path: str | os.PathLike[str]) -> int:
    """Return the size of a file; 0 of anything else. Raises ``FileNotFoundError``."""
    status = os.lstat(path)
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


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
