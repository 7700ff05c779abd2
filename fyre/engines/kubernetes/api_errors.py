"""Refusals of the API server, as exceptions of ours.

``TransientError`` is for what may pass by itself or by an admin's hand: the server is away or busy,
a namespace is being deleted, a right is missing. ``UserError`` is for what the same request meets
every time.
"""

from __future__ import annotations

import json
import re

from kubernetes.client import ApiException

from fyre.engines.kubernetes import pod_facts
from fyre.errors import RefusedForNowError, TransientError, UserError


class AlreadyExists(Exception):  # noqa: N818 - an answer, not an error
    """There is already an object of that name."""


class ObjectNotFound(Exception):  # noqa: N818 - an answer, not an error
    """There is no such object (any more)."""


class ConflictError(TransientError):
    """The object has changed since it was read: the request was for a version of before."""


class MissingPermissionError(RefusedForNowError):
    """A right is missing: this passes when an admin grants it, and not before."""


FINAL_DENIALS = (400, 403, 422)
"""The codes with which a request is refused for good, but for what ``is_transient_denial`` knows.

A webhook may choose another one, such as 500 or 503 for its own trouble."""


def translate_api_error(error: ApiException) -> Exception:
    """Return the exception that a refusal means for us."""
    message, reason = _parse_status(error)
    match error.status:
        case status if status not in FINAL_DENIALS and _TROUBLE_OF_ONE.search(message):
            return RefusedForNowError(_shorten_denial(message))
        case 404 if reason == "NotFound":
            return _not_found(message)
        case 409 if reason == "AlreadyExists":
            return AlreadyExists(message)
        case 409 if reason == "Conflict":
            return ConflictError(_explain_status(error.status, message))
        case status if status in FINAL_DENIALS and not is_transient_denial(message):
            return UserError(f"the cluster refused it: {_shorten_denial(message)}")
        case status:
            return _transient_error(status, message)


def _not_found(message: str) -> Exception:
    if not message.startswith('namespaces "'):
        return ObjectNotFound(message)
    hint = "an admin creates the namespace, and in it the Role that `fyre manifests` prints"
    return UserError(message, hint=hint)


def _transient_error(status: int, message: str) -> TransientError:
    """Return the exception for what may pass: of a refused object, or of any request."""
    if status == 500 and (broken := broken_webhook_text(message)):
        return RefusedForNowError(broken)
    kind: type[TransientError] = TransientError
    if status in FINAL_DENIALS:
        missing = _MISSING_PERMISSION.search(message)
        kind = MissingPermissionError if missing else RefusedForNowError
    return kind(_explain_status(status, message))


def broken_webhook_text(message: str) -> str:
    """Return which webhook gave no answer, and why; "" for other messages."""
    webhook = _BROKEN_WEBHOOK.search(message)
    cause = message.rpartition(": ")[2]
    return f'admission webhook "{webhook[1]}" does not work: {cause}' if webhook else ""


def _shorten_denial(message: str) -> str:
    if len(message) <= _SHORT_MESSAGE:
        return message
    return pod_facts.denial_text(message) or message


_SHORT_MESSAGE = 100
"""Characters of a refusal that fit into a commit status with the words around it."""

_BROKEN_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')
"""The API server's words where a webhook with ``failurePolicy: Fail`` gives no answer."""

_TROUBLE_OF_ONE = re.compile(
    r'admission webhook "[^"]+" denied the request|resource quota evaluation timed out'
)
"""The words for trouble with one object alone; the API server itself is well."""

_MISSING_PERMISSION = re.compile(
    r'cannot (\w+) resource "(\S+)"(?: in API group "\S*")?(?: in the namespace "(\S+)")?'
)


def is_transient_denial(message: str) -> bool:
    """Return True if what was refused may be let in later, as it is."""
    return (
        bool(_MISSING_PERMISSION.search(message))
        or "being terminated" in message
        or "exceeded quota" in message
        or "status unknown for quota" in message  # a new one: nobody has counted yet
    )


def _explain_status(status: int, message: str) -> str:
    missing = _MISSING_PERMISSION.search(message)
    if missing:
        verb, resource, namespace = missing.groups()
        location = f" in namespace {namespace}" if namespace else ""
        return (
            f"the cluster does not let us {verb} {resource}{location}: "
            "`fyre manifests` prints the Role that does"
        )
    if status == 401:
        return "the cluster does not take our credentials: have they expired?"
    if not status:  # with 0 the library says that there was no answer: TLS
        return f"the API server can't be reached: {message}"
    return (
        _shorten_denial(message)
        if status == 403
        else f"the API server answered {status}: {message}"
    )


def _parse_status(error: ApiException) -> tuple[str, str]:
    """Return the message and the reason of a ``Status``; of any other body a short text."""
    try:
        status = json.loads(error.body or "")
        return pod_facts.to_one_line(str(status["message"])), str(status.get("reason", ""))
    except (TypeError, ValueError, KeyError):
        return pod_facts.to_one_line(str(error.reason or "no reason given"))[:200], ""
