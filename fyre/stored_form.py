"""Forms of stored things: the names in their JSON, which are required, and their types. Pure.

A stored thing outlives the version that wrote it, so a form obeys rules that ARCHITECTURE.md, "What
is stored", gives the reasons for:

- A name in the JSON is written down beside its attribute and never changes, whatever the attribute
  is called.
- ``version`` says which form it is; without one it is 1. It is raised, and written, only by a
  change that a reader of the version before would misread. A reader refuses a version above its
  own.
- A field that came after 0.1.0 is written only if it is set, so that older readers and digests meet
  only what they know.
- A reader passes over what it does not know, and keeps it if it writes the same thing back.

Standard library only, and ``json`` and ``logging`` only where they are used: the git hooks load
this and need neither.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

from fyre.regular_files import NotRegularFileError, read_regular

VERSION = "version"
"""The field that says which form a JSON object has."""

_HEX_DIGITS = frozenset("0123456789abcdef")

INTEGER_MAX = 2**53 - 1
"""The largest integer that every reader of JSON takes for the same (RFC 7493, I-JSON)."""

MOMENT_MAX = 253_402_300_799
"""The last second of the year 9999 since the epoch: Python's ``datetime`` knows none beyond it."""

UnknownFields = tuple[tuple[str, str], ...]
"""The fields of a later version as they were read: their names, and their values as JSON text."""

Decoder = Callable[[object], Any]
"""From a JSON value to an attribute's. Raises ``UnreadableError``."""

_Word = TypeVar("_Word", bound=Enum)


class UnreadableError(ValueError):
    """A stored thing has a form that this version does not understand.

    The text says what is wrong.
    """


@dataclass(frozen=True, slots=True)
class StoredField:
    """One field of a form.

    ``name`` is its name in the JSON, which stays; ``attribute`` is the attribute that holds it,
    which may be renamed.
    """

    name: str
    attribute: str
    decode: Decoder
    encode: Callable[[Any], Any] = lambda value: value
    required: bool = False
    """If true, nothing can be read without it."""

    since: int = 0
    """0 for a field that is always written, as 0.1.0 did; else the minor version (0.x) that added
    it: it is written only if it is set."""

    unset: object = None
    """The attribute's value if a later field is not set."""


@dataclass(frozen=True, slots=True)
class StoredForm:
    """The fields of one stored thing. ``thing_name`` names it in errors."""

    thing_name: str
    fields: tuple[StoredField, ...]
    version: int = 1

    def encode(self, thing: object, unknown: UnknownFields = ()) -> dict[str, Any]:
        """Return the thing as plain data, with the fields that ``decode`` passed over in it."""
        import json

        encoded = {
            field.name: field.encode(getattr(thing, field.attribute))
            for field in self.fields
            if not field.since or getattr(thing, field.attribute) != field.unset
        }
        return encoded | {name: json.loads(text) for name, text in unknown}

    def decode(self, data: object) -> dict[str, Any]:
        """Return the attributes that are in ``data``. Raises ``UnreadableError``."""
        members = self.members(data)
        missing = [
            field.name for field in self.fields if field.required and field.name not in members
        ]
        if missing:
            raise UnreadableError(f"{self.thing_name} lacks {', '.join(missing)}")
        return {
            field.attribute: self._value(field, members)
            for field in self.fields
            if field.name in members
        }

    def decode_readable(self, data: object) -> tuple[dict[str, Any], list[str]]:
        """Return the attributes that can be read, and the errors of the others; never raises."""
        try:
            members = self.members(data)
        except UnreadableError as error:
            return {}, [str(error)]
        attributes: dict[str, Any] = {}
        errors: list[str] = []
        for field in self.fields:
            try:
                if field.name in members:
                    attributes[field.attribute] = self._value(field, members)
            except UnreadableError as error:
                errors.append(str(error))
        return attributes, errors

    def unknown_fields(self, data: dict[str, Any]) -> UnknownFields:
        """Return the fields that ``decode`` passes over, to be written back by ``encode``."""
        import json

        known_names = {VERSION, *(field.name for field in self.fields)}
        return tuple(
            (name, json.dumps(value)) for name, value in data.items() if name not in known_names
        )

    def members(self, data: object) -> dict[str, Any]:
        """Return the members of an object of a version that can be read.

        Raises ``UnreadableError``.
        """
        if not isinstance(data, dict):
            raise UnreadableError(f"{self.thing_name} is not a JSON object")
        version = data.get(VERSION, 1)
        if type(version) is not int or not 1 <= version <= self.version:
            raise UnreadableError(
                f"{self.thing_name} has version {version!r:.40}, "
                f"this Fyre reads up to {self.version}"
            )
        return data

    def _value(self, field: StoredField, members: dict[str, Any]) -> Any:  # noqa: ANN401 - what the field holds
        """Return a field's value. Raises ``UnreadableError``."""
        try:
            return field.decode(members[field.name])
        except UnreadableError as error:
            raise UnreadableError(f"{field.name} of {self.thing_name}: {error}") from error


def parse_json(text: str | bytes) -> object:
    """Return the value of a JSON text. Raises ``UnreadableError``."""
    import json

    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"no JSON ({type(error).__name__})") from error
    return value


def read_json(path: str | os.PathLike[str]) -> object:
    """Return the value of a JSON file. Raises ``FileNotFoundError``, ``UnreadableError``.

    What is no file of ours (a directory, a link, a file of another user) can't be read, and a pipe
    is not waited for. Other errors of the disk are raised as they are: they may pass.
    """
    try:
        content = read_regular(path)
    except (NotRegularFileError, NotADirectoryError, PermissionError) as error:
        raise UnreadableError(f"no file that can be read: {error.strerror}") from error
    return parse_json(content)


@lru_cache(maxsize=1000)
def warn_once(place: str, reason: str) -> None:
    """Log that a stored thing is left out, once for each place and reason."""
    import logging

    logging.getLogger(__name__).warning("%s is left out: %s", place, reason)


def as_text(value: object) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise UnreadableError(f"{value!r:.40} is not text")
    return value


def as_printable_text(value: object) -> str:
    """Return a string that can be sent: what is no character in it is replaced.

    A command may hold bytes that are no UTF-8, and needs them; a name that is shown does not.
    """
    return as_text(value).encode("utf-8", "replace").decode()


def as_printable_or_empty(value: object) -> str:
    """Return a string that can be sent; "" for null."""
    return "" if value is None else as_printable_text(value)


def as_sha(value: object) -> str:
    """Return the SHA of a git object."""
    text = as_text(value)
    if len(text) not in (40, 64) or not set(text) <= _HEX_DIGITS:
        raise UnreadableError(f"{value!r:.40} is no SHA")
    return text


def as_key(value: object) -> str:
    """Return the key of a run: hexadecimal digits."""
    text = as_text(value)
    if not 0 < len(text) <= 64 or not set(text) <= _HEX_DIGITS:
        raise UnreadableError(f"{value!r:.40} is no key")
    return text


def as_shas(value: object) -> tuple[str, ...]:
    """Return a tuple of SHAs."""
    return tuple(as_sha(item) for item in _items(value))


def as_integer(value: object) -> int:
    """Return an integer that is not negative."""
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise UnreadableError(f"{value!r:.40} is not a valid integer")
    return value


def as_signed_integer(value: object) -> int:
    """Return an integer of either sign and any size, such as an API accepts from its callers."""
    if type(value) is not int:
        raise UnreadableError(f"{value!r:.40} is not an integer")
    return value


def as_number(value: object) -> float:
    """Return a number that is not negative, as it is: an integer stays one."""
    if type(value) not in (int, float) or not 0 <= value <= MOMENT_MAX:  # type: ignore[operator] # it is a number
        raise UnreadableError(f"{value!r:.40} is not a valid number")
    return abs(value)  # type: ignore[arg-type] # as above; of -0.0 it is 0.0


as_moment = as_number
"""Return seconds since the epoch."""


def as_boolean(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise UnreadableError(f"{value!r:.40} is neither true nor false")
    return value


def or_null(decode: Decoder) -> Decoder:
    """Return a decoder that takes null as well, for None."""
    return lambda value: None if value is None else decode(value)


def as_texts(value: object) -> tuple[str, ...]:
    """Return a tuple of strings."""
    return tuple(as_text(item) for item in _items(value))


def as_pairs(value: object) -> tuple[tuple[str, str], ...]:
    """Return a tuple of pairs of strings, stored as a list of lists of two."""
    pairs = [as_texts(pair) for pair in _items(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise UnreadableError(f"{value!r:.40} is not a list of pairs")
    return tuple((pair[0], pair[1]) for pair in pairs)


def as_text_map(value: object) -> dict[str, str]:
    """Return an object of strings."""
    if not isinstance(value, dict):
        raise UnreadableError(f"{value!r:.40} is not an object")
    return {name: as_text(text) for name, text in value.items()}


def as_number_map(value: object) -> dict[str, float]:
    """Return an object of finite numbers."""
    if not isinstance(value, dict) or not all(map(_is_finite_number, value.values())):
        raise UnreadableError(f"{value!r:.40} is not an object of numbers")
    return value


def _is_finite_number(value: object) -> bool:
    """Return True for a number that is neither infinite nor NaN."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type] # a number


def one_of(words: Iterable[_Word]) -> Decoder:
    """Return a decoder of the stored words of these members."""
    members = {member.value: member for member in words}

    def decode(value: object) -> _Word:
        if not isinstance(value, str) or value not in members:
            raise UnreadableError(f"{value!r:.40} is none of {', '.join(members)}")
        return members[value]

    return decode


def _items(value: object) -> list[object]:
    """Return the items of a list."""
    if not isinstance(value, list | tuple):
        raise UnreadableError(f"{value!r:.40} is not a list")
    return list(value)
