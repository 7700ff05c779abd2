"""Read YAML, check it against a schema and parse its values, with the line of each mistake. Pure.

A text is read once, checked against a JSON schema, then each value is parsed in its own notation.
PyYAML and jsonschema are loaded only if there is something to read.

A scalar has a type as in YAML 1.2's core schema: null, a boolean, an integer, a float or text. Also
taken is what YAML 1.1 spelt otherwise and files of Kubernetes hold: ``yes`` and ``on`` for true
(where the schema wants text, they are text), ``0644`` in octal, ``1_000``. Not taken are 1.1's
numbers to the base of 60, dates, merges and ``=``: these are text.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from math import inf, nan
from typing import TYPE_CHECKING, Any, TypeVar

from fyre.message import value_parsers
from fyre.runs.schema_words import describe_error, describe_remedy

if TYPE_CHECKING:
    from yaml import SafeLoader
    from yaml.events import Event
    from yaml.nodes import Node

_DIGITS_MAX = 1000
"""Digits of an integer, in any notation: Python prints none of more than 4,300."""

DEPTH_MAX = 50
"""Lists and mappings inside each other that a document may have; a policy has no use for ten."""

_KEY_SHOWN_MAX = 60

T = TypeVar("T")

DocumentPath = tuple[str | int, ...]
"""Place of a value in a document: ("profiles", "gpu", "secrets", 0)."""


class BadYamlError(Exception):
    """A mistake in a document.

    ``line`` counts from 1, ``hint`` says what is allowed, ``path`` may be empty.
    """

    def __init__(self, line: int, message: str, hint: str = "", path: DocumentPath = ()) -> None:
        super().__init__(message)
        self.line, self.message, self.hint, self.path = line, message, hint, path

    @property
    def path_text(self) -> str:
        """The path as people write it: ``profiles.gpu.secrets[0]``."""
        return "".join(
            f"[{part}]" if isinstance(part, int) else f".{_shorten(part)}" for part in self.path
        ).removeprefix(".")


@dataclass(frozen=True)
class YamlDocument:
    """A text that was read, or a part of it, with its scalars in two forms.

    Paths begin at the part; errors name the whole path.
    """

    texts: Any
    """Every scalar as the text that was written: ``1.10`` stays 1.10, ``yes`` stays yes."""

    values: Any
    """Every scalar with its type. ``validate_schema`` makes ``yes`` text where text is meant."""

    line_numbers: Mapping[DocumentPath, int]
    """By path in the whole document."""

    path: DocumentPath = ()
    """Place of the part in the whole document."""

    key_paths: Mapping[str | int, DocumentPath] = field(default_factory=dict)
    """Places in the whole document of those keys of a part that stand elsewhere."""

    def values_at(self, path: DocumentPath) -> Any:  # noqa: ANN401 - what YAML holds
        """Return the value at a path that there is, as YAML types it."""
        return _value_at(self.values, path)

    def part_at(
        self, path: DocumentPath, key_paths: Mapping[str | int, DocumentPath] | None = None
    ) -> YamlDocument:
        """Return the part at a path, a mapping, with the keys that stand elsewhere (``key_paths``).

        Where there is nothing, the mapping has only those keys.
        """
        moved = key_paths or {}
        texts, values = (
            _value_at(form, path, {}) | {key: _value_at(form, moved[key]) for key in moved}
            for form in (self.texts, self.values)
        )
        whole_paths = {key: self._whole_path(moved[key]) for key in moved}
        return YamlDocument(texts, values, self.line_numbers, self._whole_path(path), whole_paths)

    def _whole_path(self, path: DocumentPath) -> DocumentPath:
        """Return the path in the whole document."""
        if path and path[0] in self.key_paths:
            return (*self.key_paths[path[0]], *path[1:])
        return (*self.path, *path)

    def error_at(self, path: DocumentPath, message: str, hint: str = "") -> BadYamlError:
        """Return the error for the value at a path.

        If that is not in the document, the line is that of the mapping or list that it would be in.
        """
        path = self._whole_path(path)
        line = next(
            (
                self.line_numbers[path[:n]]
                for n in range(len(path), -1, -1)
                if path[:n] in self.line_numbers
            ),
            1,
        )
        return BadYamlError(line, message, hint, path)

    def parse_at(self, path: DocumentPath, parse: Callable[[str], T], text: str) -> T:
        """Return the value at a path, parsed in its own notation.

        The parsers are those of ``fyre.message.value_parsers``. Raises ``BadYamlError``.
        """
        try:
            return parse(text)
        except value_parsers.BadValueError as error:
            raise self.error_at(path, error.args[0], error.hint) from error

    def parse_pairs(
        self, path: DocumentPath, parse: Callable[[str, str], tuple[str, str]]
    ) -> tuple[tuple[str, str], ...]:
        """Return the mapping at a path, each value parsed with its key; () if there is none.

        Raises ``BadYamlError``.
        """
        return tuple(
            self.parse_at((*path, key), partial(parse, key), text)
            for key, text in _value_at(self.texts, path, {}).items()
        )

    def validate_schema(self, schema: Mapping[str, Any]) -> None:
        """Raise ``BadYamlError`` for the first thing that the schema does not allow.

        The hint is what to write, as far as the schema says it.
        """
        error = self._first_error(schema)
        if error is not None and self._words_became_text(schema):
            error = self._first_error(schema)
        if error is None:
            return
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known_keys = [*error.schema.get("properties", ())]
            patterns = [*error.schema.get("patternProperties", ())]
            key = next(
                key
                for key in error.instance
                if key not in known_keys and not any(re.search(each, key) for each in patterns)
            )
            raise self.error_at(
                (*path, key), f"unknown key {_shorten(key)!r}", key_hint(key, known_keys)
            )
        message = describe_error(error)
        if not path and message.startswith("must"):
            message = f"the file {message}"
        raise self.error_at(path, message, describe_remedy(error))

    def _first_error(self, schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - jsonschema's, or None
        import jsonschema

        errors = jsonschema.Draft202012Validator(schema).iter_errors(self.values)
        return min(errors, key=lambda error: [str(part) for part in error.path], default=None)

    def _words_became_text(self, schema: Mapping[str, Any]) -> bool:
        """Turn each ``yes``, ``no``, ``on`` and ``off`` that the schema refuses into text."""
        import jsonschema

        changed = False
        for error in [*jsonschema.Draft202012Validator(schema).iter_errors(self.values)]:
            path = tuple(error.absolute_path)
            text = _value_at(self.texts, path)
            if path and isinstance(error.instance, bool) and text.lower() not in _CORE_BOOLEANS:
                _value_at(self.values, path[:-1])[path[-1]] = text
                changed = True
        return changed


def _value_at(data: Any, path: DocumentPath, default: Any = None) -> Any:  # noqa: ANN401 - what YAML holds
    """Return the value at a path; the default, if one is given, where the path leads nowhere."""
    for key in path:
        if default is not None and key not in data:
            return default
        data = data[key]
    return data


def _shorten(key: str) -> str:
    """Return a key as an error shows it: in a status there is room for little more."""
    return key if len(key) <= _KEY_SHOWN_MAX else f"{key[:_KEY_SHOWN_MAX]}…"


def key_hint(key: str, known_keys: Collection[str]) -> str:
    """Return the hint for an unknown key: the closest one, or all of them."""
    from difflib import get_close_matches

    close = get_close_matches(key, known_keys, n=1)
    return f"did you mean {close[0]}?" if close else f"the keys are {', '.join(known_keys)}"


def read_document(text: str) -> YamlDocument | None:
    """Return the document; None if the text holds none. Raises ``BadYamlError``."""
    import yaml

    try:
        _check_limits(yaml.parse(text, Loader=yaml.SafeLoader))
        node = yaml.compose(text, Loader=_loader_class())
        if node is None:
            return None
        lines = _line_numbers(node)
        return YamlDocument(
            _convert_node(node, lambda scalar: scalar.value),
            _convert_node(node, _type_scalar),
            lines,
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BadYamlError(
            line, f"not YAML: {error.problem}", "check the indentation and the colons"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadYamlError(
            1, "not YAML", "check for characters that YAML does not allow"
        ) from error


def _check_limits(events: Iterable[Event]) -> None:
    """Raise ``BadYamlError`` for text that costs far more to read than to write.

    An alias makes a few lines into gigabytes once walked, and each level makes every token below it
    cost more: three thousand brackets keep PyYAML busy for seconds. Nobody needs either here.
    """
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise BadYamlError(1, "YAML aliases are not allowed", "write the values out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        if depth > DEPTH_MAX:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise BadYamlError(line, f"nested deeper than {DEPTH_MAX} levels", "nest fewer")


_TAG_PREFIX = "tag:yaml.org,2002:"
_CORE_BOOLEANS = ("true", "false")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_SPECIAL_FLOATS = {".inf": inf, "+.inf": inf, "-.inf": -inf, ".nan": nan}
_SCALAR_TYPES: Mapping[str, tuple[re.Pattern[str], str]] = {
    # Tag: what a plain scalar of it looks like, and the characters with which it begins.
    "null": (re.compile(r"~|null|Null|NULL|"), "~nN"),
    "bool": (
        re.compile(
            r"true|True|TRUE|false|False|FALSE"
            r"|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
        ),
        "tTfFyYnNoO",
    ),
    "int": (
        re.compile(
            r"[-+]?(?:0b[01_]*[01][01_]*|0o?[0-7_]*[0-7][0-7_]*"
            r"|0x[0-9a-fA-F_]*[0-9a-fA-F][0-9a-fA-F_]*|0|[1-9][0-9_]*)"
        ),
        "-+0123456789",
    ),
    "float": (
        re.compile(
            r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        "-+.0123456789",
    ),
}
_TEXT_TAGS = ("str", "timestamp", "merge", "value")


@cache
def _loader_class() -> type[SafeLoader]:
    """Return PyYAML's loader with the scalar types of this module."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {}
    for name, (pattern, first) in _SCALAR_TYPES.items():
        anchored = re.compile(rf"(?:{pattern.pattern})\Z")
        Loader.add_implicit_resolver(
            _TAG_PREFIX + name, anchored, [*first, *([""] if name == "null" else [])]
        )
    return Loader


def _type_scalar(scalar: Node) -> Any:  # noqa: ANN401 - what YAML holds
    """Return a scalar as its tag says. Raises ``BadYamlError`` if it is none of that type."""
    name, text = scalar.tag.removeprefix(_TAG_PREFIX), scalar.value
    line = scalar.start_mark.line + 1 if scalar.start_mark else 1
    if name in _TEXT_TAGS:
        return text
    if name == "binary":
        return _decode_binary(text, line)
    pattern = _SCALAR_TYPES.get(name, (None, ""))[0]
    if pattern is None:
        message = f"not YAML: the tag {scalar.tag[:60]!r} is not known"
        raise BadYamlError(line, message, "check it, or leave it out")
    if not pattern.fullmatch(text):
        raise BadYamlError(line, f"{text[:60]!r} is no {name}", f"leave out the tag !!{name}")
    try:
        return _parse_scalar(name, text)
    except ValueError as error:  # Python reads numbers of a few thousand digits
        raise BadYamlError(line, f"{text[:20]!r}… is too long a number", "shorten it") from error


def _decode_binary(text: str, line: int) -> bytes:
    """Return what ``!!binary`` holds, which no schema takes."""
    try:
        return b64decode(text.encode("ascii"))
    except ValueError as error:
        raise BadYamlError(line, f"{text[:60]!r} is no base64", "leave out the tag") from error


def _parse_scalar(name: str, text: str) -> bool | float | None:
    """Return a scalar of the type ``null``, ``bool``, ``int`` or ``float``."""
    lower = text.lower().replace("_", "")
    match name:
        case "null":
            return None
        case "bool":
            return _BOOLEANS[lower]
        case "float":
            return _SPECIAL_FLOATS[lower] if lower in _SPECIAL_FLOATS else float(lower)
    sign, digits = (-1 if lower[0] == "-" else 1), lower.lstrip("+-")
    if len(digits) > _DIGITS_MAX:
        raise ValueError
    if digits[:2] in ("0b", "0o", "0x"):
        return sign * int(digits[2:], {"b": 2, "o": 8, "x": 16}[digits[1]])
    return sign * int(digits, 8 if digits[0] == "0" else 10)


def _convert_node(node: Node, convert_scalar: Callable[[Node], Any]) -> Any:  # noqa: ANN401 - what YAML holds
    """Return the document as dicts with text as keys, lists, and scalars that are converted."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _convert_node(value, convert_scalar) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_convert_node(item, convert_scalar) for item in node.value]
    return convert_scalar(node)


def _line_numbers(node: Node, path: DocumentPath = ()) -> dict[DocumentPath, int]:
    """Return the line of each path, counting from 1.

    Raises ``BadYamlError`` for a key that is given twice.
    """
    import yaml

    lines: dict[DocumentPath, int] = {path: node.start_mark.line + 1} if node.start_mark else {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise BadYamlError(
                    line, "a key is a list or a mapping", "write a word before the colon", path
                )
            key_path = (*path, str(key.value))
            if key_path in lines:
                raise BadYamlError(
                    line, f"{_shorten(key.value)!r} is given twice", "keep one of them", key_path
                )
            lines |= _line_numbers(value, key_path) | {key_path: line}
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines |= _line_numbers(item, (*path, index))
    return lines
