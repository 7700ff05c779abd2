"""What a forge's refusals mean: PyGithub's and requests' errors, sorted.

Every failure becomes one of four: ``NotFoundError``, ``DeniedError``, another ``UserError`` (it will fail again) or
``TryAgainError`` (it may pass; ``LimitedError`` knows when); ``MENDABLE`` are those that somebody may mend.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fyre.errors import TransientError, UserError
from fyre.github import rate_limit
from fyre.github.rate_limit import RateLimitHeaders


class NotFoundError(UserError):
    """The forge knows no such repository, commit, branch or file, or does not show it to this token."""


class DeniedError(UserError):
    """The forge does not let this token do that: until somebody mends the token or its rights."""


class NotVisibleError(NotFoundError):
    """A bare 404: the repository was deleted, or made private, or this token may not see it any more."""


class UnauthenticatedError(DeniedError):
    """The forge does not know who we are: a token or a key that was revoked or expired, an App that is not there."""


NEEDS_OPERATOR = (DeniedError, NotVisibleError)
"""What lasts until somebody mends it: nothing that meets one of these is given up."""


class StatusLimitError(UserError):
    """No more statuses are taken for that commit and context: 1,000 are there."""


class RateLimitError(TransientError):
    """A rate limit, primary or secondary; ``told`` is what the answer says of it."""

    def __init__(self, message: str, headers: RateLimitHeaders) -> None:
        super().__init__(message)
        self.headers = headers


@contextmanager
def translate_errors(description: str) -> Iterator[None]:
    """Turn what PyGithub and requests raise into our three errors, keeping the cause."""
    import requests
    from github import GithubException

    try:
        yield
    except GithubException as error:
        raise classify_error(description, error) from error
    except requests.RequestException as error:
        raise TransientError(
            f"{description}: the forge can't be reached ({type(error).__name__})"
        ) from error
    except (ValueError, KeyError, TypeError, AssertionError, AttributeError, RuntimeError) as error:
        raise TransientError(
            f"{description}: the forge's answer makes no sense ({type(error).__name__})"
        ) from error


def classify_error(description: str, error: Any) -> Exception:  # noqa: ANN401 - GithubException, imported lazily
    """One of our errors for a refusal of GitHub's; 403 means a rate limit or a missing right, and headers tell."""
    data = error.data if isinstance(error.data, dict) else {}
    said = str(data.get("message") or error.message or "")[:200]
    told = rate_limit.parse_rate_limit_headers(error.status, error.headers or {}, said, time.time())
    if told.refused:
        return RateLimitError(f"{description}: HTTP {error.status} {said}", told)
    if error.status == 422 and "maximum number of statuses" in str(data.get("errors") or said):
        return StatusLimitError(
            f"{description}: the forge takes no more than 1,000 for one commit and context"
        )
    if error.status == 404:
        return NotVisibleError(
            f"{description}: not found, or not shown to us",
            hint="check the name and the token's rights",
        )
    if error.status == 422 and said.startswith("No commit found"):
        return NotFoundError(f"{description}: not found", hint="was it force-pushed away?")
    if error.status >= 500:
        return TransientError(f"{description}: HTTP {error.status} {said}")
    kind: type[UserError]
    if error.status in (401, 403):
        hint, kind = (
            "check the token and its permissions",
            UnauthenticatedError if error.status == 401 else DeniedError,
        )
    else:
        hint, kind = "", UserError
    return kind(f"{description}: HTTP {error.status} {said}", hint=hint)
