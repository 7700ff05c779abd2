"""The meaning of a bucket's error, in one line that holds no key, no address and no signature."""

from __future__ import annotations

import errno
import re

from obstore import exceptions

_CODE = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,60})\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<>]{1,200}?)\s*</Message>")
_STATUS = re.compile(r"non-2xx status code: (\d{3}[A-Za-z ]{0,40})")
_NO_CREDENTIALS = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "metadata.google.internal")
_REFUSALS = frozenset({"401", "403"})

_ADVICE = {
    "RequestTimeTooSkewed": "this machine's clock and the store's differ",
    "SlowDown": "the store asks for fewer requests",
}


def to_os_error(error: Exception) -> OSError:
    """Return what is wrong as an ``OSError``, whose ``strerror`` is one line for people."""
    text = str(error)
    line = describe_error(error)
    if isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError):
        return FileExistsError(errno.EEXIST, line)
    code, status = _first(_CODE, text), _first(_STATUS, text)[:3]
    is_missing = isinstance(error, FileNotFoundError) or status == "404"
    if is_missing or code == "NoSuchBucket":
        return FileNotFoundError(errno.ENOENT, line)
    if status in _REFUSALS or isinstance(
        error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError
    ):
        return PermissionError(errno.EACCES, line)
    return OSError(errno.EIO, line)


def describe_error(error: Exception) -> str:
    """Return one line: the server's own code and sentence, or what kept it from answering."""
    text = str(error)
    if any(address in text for address in _NO_CREDENTIALS):
        return "there are no credentials in the environment"
    code, message, status = (_first(pattern, text) for pattern in (_CODE, _MESSAGE, _STATUS))
    if code:
        return f"the store answers {code}: {_ADVICE.get(code, message)}".rstrip(": ")
    if status:
        return f"the store answers {status}".rstrip()
    for words, line in _OUR_WORDS:
        if words in text:
            return line
    return "the store's answer can't be understood"


_TOO_LONG = "the store takes too long to answer"
_OUR_WORDS = (
    ("operation timed out", _TOO_LONG),
    ("TimedOut", _TOO_LONG),
    ("error sending request", "the store can't be reached"),
    ("error decoding response body", "the store broke off its answer"),
    ("connection closed", "the store broke off its answer"),
    ("request or response body error", "the store broke off its answer"),
    ("Bucket name", "it names no bucket"),
    ("Unable to recognise URL", "its kind is not known"),
)
"""Words of the library where no server answered, and their meaning; the first match counts."""


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return " ".join(found[1].split()) if found else ""
