"""Read a forge's listings to an end: an entry that can't be read stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

from fyre import http_deadline

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGES_MAX = 1000
"""Pages of a listing that are asked for."""

ENTRIES_MAX = 100_000
"""Entries on so many full pages."""

LISTING_SECONDS = 300.0
"""Seconds after which no further page of a listing is asked for."""

READ_SECONDS = http_deadline.REQUEST_SECONDS
"""Seconds for a listing of few pages."""

REPEATED_MAX = 100
"""Entries that may come again, as others that come meanwhile move them to the next page."""

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)


class EndlessListingError(ValueError):
    """A listing whose pages lead back to one of them, or do not come to an end."""


def parse_readable(subject: str, entries: Iterable[Any], parse: Callable[[Any], T]) -> Iterator[T]:
    """Yield what ``parse`` makes of each entry; leave out what it can't read, with one log line.

    ``subject`` names the listing in it. Raises ``ValueError`` at the end if no entry can be read:
    then it is the answer that has no sense.
    """
    read_count, errors = 0, list[Exception]()
    try:
        for entry in entries:
            try:
                parsed = parse(entry)
            except _UNREADABLE as error:
                errors.append(error)
                continue
            read_count += 1
            yield parsed
    finally:
        if errors and read_count:
            what = "one entry" if len(errors) == 1 else f"{len(errors)} entries"
            log.warning("%s: %s left out, as unreadable: %r", subject, what, errors[0])
    if errors and not read_count:
        raise ValueError("no entry can be read") from errors[0]


def read_pages(
    pages: Iterable[T],
    ident: Callable[[T], Hashable],
    seconds: float = http_deadline.REQUEST_SECONDS,
) -> list[T]:
    """Return the entries of a listing that PyGithub pages through, each once.

    It has so many seconds in total. Raises ``EndlessListingError`` if its entries come again.
    """
    entries, repeated_count = dict[Hashable, T](), 0
    with http_deadline.bound_requests(seconds):
        for entry in pages:
            repeated_count += ident(entry) in entries
            if repeated_count > REPEATED_MAX or len(entries) >= ENTRIES_MAX:
                raise EndlessListingError("the pages come to no end")
            entries[ident(entry)] = entry
    return list(entries.values())
