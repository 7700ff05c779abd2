"""What a forge's refusals mean: PyGithub's and requests' errors, sorted.

Every failure becomes one of four: ``NotFoundError``, ``DeniedError``, another ``UserError`` (it will fail again) or
``TryAgainError`` (it may pass; ``LimitedError`` knows when); ``MENDABLE`` are those that somebody may mend.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fyre.errors import TryAgainError, UserError
from fyre.github import rate_limit
from fyre.github.rate_limit import Told


class NotFoundError(UserError):
    """The forge knows no such repository, commit, branch or file, or does not show it to this token."""


class DeniedError(UserError):
    """The forge does not let this token do that: until somebody mends the token or its rights."""


class HiddenError(NotFoundError):
    """A bare 404: the repository was deleted, or made private, or this token may not see it any more."""


class StrangerError(DeniedError):
    """The forge does not know who we are: a token or a key that was revoked or expired, an App that is not there."""


MENDABLE = (DeniedError, HiddenError)
"""What lasts until somebody mends it: nothing that meets one of these is given up."""


class FullError(UserError):
    """No more statuses are taken for that commit and context: 1,000 are there."""


class LimitedError(TryAgainError):
    """A rate limit, primary or secondary; ``told`` is what the answer says of it."""

    def __init__(self, message: str, told: Told) -> None:
        super().__init__(message)
        self.told = told


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what PyGithub and requests raise into our three errors, keeping the cause."""
    import requests
    from github import GithubException

    try:
        yield
    except GithubException as error:
        raise meaning(what, error) from error
    except requests.RequestException as error:
        raise TryAgainError(
            f"{what}: the forge can't be reached ({type(error).__name__})"
        ) from error
    except (ValueError, KeyError, TypeError, AssertionError, AttributeError, RuntimeError) as error:
        raise TryAgainError(
            f"{what}: the forge's answer makes no sense ({type(error).__name__})"
        ) from error


def meaning(what: str, error: Any) -> Exception:  # noqa: ANN401 - GithubException, imported lazily
    """One of our errors for a refusal of GitHub's; 403 means a rate limit or a missing right, and headers tell."""
    data = error.data if isinstance(error.data, dict) else {}
    said = str(data.get("message") or error.message or "")[:200]
    told = rate_limit.read(error.status, error.headers or {}, said, time.time())
    if told.refused:
        return LimitedError(f"{what}: HTTP {error.status} {said}", told)
    if error.status == 422 and "maximum number of statuses" in str(data.get("errors") or said):
        return FullError(f"{what}: the forge takes no more than 1,000 for one commit and context")
    if error.status == 404:
        return HiddenError(
            f"{what}: not found, or not shown to us", hint="check the name and the token's rights"
        )
    if error.status == 422 and said.startswith("No commit found"):
        return NotFoundError(f"{what}: not found", hint="was it force-pushed away?")
    if error.status >= 500:
        return TryAgainError(f"{what}: HTTP {error.status} {said}")
    kind: type[UserError]
    if error.status in (401, 403):
        hint, kind = (
            "check the token and its permissions",
            StrangerError if error.status == 401 else DeniedError,
        )
    else:
        hint, kind = "", UserError
    return kind(f"{what}: HTTP {error.status} {said}", hint=hint)
