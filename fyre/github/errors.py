"""Translate the errors of PyGithub and requests into ours.

Every failure becomes one of four: ``NotFoundError``, ``DeniedError``, another ``UserError`` (it
will fail again) or ``TransientError`` (it may pass; ``RateLimitError`` knows when).
``NEEDS_OPERATOR`` holds those that somebody may fix.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fyre import http_session
from fyre.errors import TransientError, UserError
from fyre.github import rate_limit
from fyre.github.rate_limit import RateLimitHeaders

if TYPE_CHECKING:
    from requests import RequestException


_PASSING = (408, 421, 425)
"""Codes that say: try again."""


class NotFoundError(UserError):
    """The forge knows no such repository, commit, branch or file, or hides it from this token."""


class DeniedError(UserError):
    """The forge does not let this token do that, until somebody fixes the token or its rights."""


class NotVisibleError(NotFoundError):
    """A bare 404: the repository was deleted, made private, or hidden from this token."""


class UnauthenticatedError(DeniedError):
    """The forge does not know who we are.

    A token or a key was revoked or has expired, or the App is not there.
    """


NEEDS_OPERATOR = (DeniedError, NotVisibleError)
"""Errors that last until somebody fixes them: no run and no status that meets one is given up.

A reply is given up where it alone is refused, as it takes a right of its own.
"""


class StatusLimitError(UserError):
    """The forge accepts no more statuses for that commit and context: 1,000 are there."""


class RateLimitError(TransientError):
    """A rate limit, primary or secondary; ``headers`` is what the response says of it."""

    def __init__(self, message: str, headers: RateLimitHeaders) -> None:
        super().__init__(message)
        self.headers = headers


class UnreachableError(TransientError):
    """The forge gave no answer; the text says at which address. ``hint`` is for a person."""

    def __init__(self, description: str, error: RequestException) -> None:
        reason = http_session.describe_failure(error)
        super().__init__(f"{description}: the forge can't be reached: {reason}")
        host = http_session.failed_url(error).hostname or ""
        is_here = host in ("localhost", "::1") or host.startswith("127.")
        elsewhere = "try again in a moment"
        if http_session.is_name_unknown(error):
            elsewhere = "is that name right? `git remote -v` shows it; else try again in a moment"
        self.hint = "is `fyre up` running?" if is_here else elsewhere


@contextmanager
def translate_errors(description: str) -> Iterator[None]:
    """Turn what PyGithub and requests raise into our errors, keeping the cause."""
    import requests
    from github import GithubException

    try:
        yield
    except GithubException as error:
        raise classify_error(description, error) from error
    except requests.RequestException as error:
        raise UnreachableError(description, error) from error
    except (ValueError, KeyError, TypeError, AssertionError, AttributeError, RuntimeError) as error:
        raise TransientError(f"{description}: unexpected answer from the forge") from error


def classify_error(description: str, error: Any) -> Exception:  # noqa: ANN401 - GithubException, imported lazily
    """Return the error of ours for a refusal of GitHub's.

    403 means a rate limit or a missing right, and the headers tell which. Every refusal of the
    API's own has a message: one without is of something before it, as a proxy or a page for
    maintenance, and says nothing of a repository, a person or a commit.
    """
    data = error.data if isinstance(error.data, dict) else {}
    message = str(data.get("message") or error.message or "")[:200]
    headers = rate_limit.parse_rate_limit_headers(
        error.status, error.headers or {}, message, time.time()
    )
    if headers.refused:
        return RateLimitError(f"{description}: HTTP {error.status} {message}", headers)
    if error.status == 422 and "maximum number of statuses" in str(data.get("errors") or message):
        return StatusLimitError(
            f"{description}: the forge takes no more than 1,000 for one commit and context"
        )
    is_own_answer = isinstance(data.get("message"), str) or error.status == 401
    if error.status >= 500 or error.status in _PASSING or not is_own_answer:
        what = message or ("" if is_own_answer else "without a message of the forge's")
        return TransientError(f"{description}: HTTP {error.status} {what}")
    if error.status == 404:
        return NotVisibleError(
            f"{description}: not found, or not shown to us",
            hint="check the name and the token's rights",
        )
    if error.status == 422 and message.startswith("No commit found"):
        return NotFoundError(f"{description}: not found", hint="was it force-pushed away?")
    error_type: type[UserError]
    if error.status in (401, 403):
        hint, error_type = (
            "check the token and its permissions",
            UnauthenticatedError if error.status == 401 else DeniedError,
        )
    else:
        hint, error_type = "", UserError
    return error_type(f"{description}: HTTP {error.status} {message}", hint=hint)
