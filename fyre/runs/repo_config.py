"""``.fyre.yaml``: what a repository says of all its runs, read from the very commit that runs. Pure.

PyYAML and jsonschema are loaded only when there is such a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib import resources
from typing import Any

from fyre.message import notation
from fyre.message.spec import Spec
from fyre.runs import yaml_document
from fyre.runs.yaml_document import BadYamlError, Document, Keys

PATH = ".fyre.yaml"
SIZE_MAX = 64 * 1024
"""Bytes; a longer file is refused before it is parsed."""


class BadFileError(Exception):
    """The file can't be taken: ``line`` counts from 1, ``quote`` is that line as it stands there."""

    def __init__(self, line: int, message: str, hint: str, text: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.hint = hint
        lines = text.splitlines()
        self.quote = lines[line - 1].strip() if 0 < line <= len(lines) else ""

    def __str__(self) -> str:
        return f"{PATH} line {self.line}: {self.quote!r}: {self.message}"


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults for every run, and for the runs of one name; what a ``Spec`` here leaves empty is "not said"."""

    every: Spec = Spec(command="")  # noqa: RUF009 - a frozen record is safe to share
    named: tuple[tuple[str, Spec], ...] = ()


@lru_cache(maxsize=64)  # the 500 commits of a push mostly hold the same file
def read(text: str) -> Defaults:
    """The file's defaults. Raises ``BadFileError`` with the line."""
    if len(text.encode(errors="replace")) > SIZE_MAX:
        raise BadFileError(
            1,
            f"the file is larger than {SIZE_MAX // 1024} KiB",
            "keep data in files of its own",
            text,
        )
    try:
        document = yaml_document.read(text)
        if document is None:
            return Defaults()
        _check(document)
    except BadYamlError as error:
        raise BadFileError(error.line, error.message, error.hint, text) from error
    data = document.said
    named = tuple(
        (notation.name(key), _spec(value)) for key, value in (data.get("names") or {}).items()
    )
    return Defaults(_spec(data), named)


def settle(spec: Spec, name: str, defaults: Defaults) -> Spec:
    """The run as it will be: what the trailers say, else the defaults of its name, else those of every run."""
    layers = [layer for key, layer in defaults.named if key.lower() == name.lower()] + [
        defaults.every
    ]
    for layer in layers:
        spec = replace(
            spec,
            **{key: getattr(layer, key) for key in _SCALARS if getattr(spec, key) is None},
            resources=_under(spec.resources, layer.resources),
            env=_under(spec.env, layer.env),
            secrets=tuple(dict.fromkeys(spec.secrets + layer.secrets)),
        )
    return replace(spec, setup=defaults.every.setup)


_SCALARS = ("profile", "image", "timeout", "retries", "workdir")
Pairs = tuple[tuple[str, str], ...]


def _under(own: Pairs, default: Pairs) -> Pairs:
    """A run's own pairs, and those defaults that it does not name itself."""
    keys = {key for key, _ in own}
    return (*(pair for pair in default if pair[0] not in keys), *own)


@cache
def schema() -> dict[str, Any]:
    """The published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "fyre-yaml.schema.json").read_text(
        encoding="utf-8"
    )
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _check(document: Document) -> None:
    """Hold the document to the schema, then each value to its own notation."""
    document.hold_to(schema())
    _check_values(document, document.said, ())
    for name, of_name in (document.said.get("names") or {}).items():
        document.at(("names", name), notation.name, name)
        _check_values(document, of_name, ("names", name))
    for index, command in enumerate(document.said.get("setup") or []):
        document.at(("setup", index), notation.command, command)


def _check_values(document: Document, data: Mapping[str, Any], path: Keys) -> None:
    for key, parse in _PARSERS.items():
        if data.get(key) is not None:
            document.at((*path, key), parse, data[key])
    for index, secret in enumerate(data.get("secrets") or []):
        document.at((*path, "secrets", index), notation.secret, secret)
    for key, value in (data.get("env") or {}).items():
        document.at((*path, "env", key), notation.env, f"{key}={value}")
    if isinstance(data.get("resources"), dict):
        for key, value in data["resources"].items():
            document.at((*path, "resources", key), partial(notation.resource, key), value)
    elif data.get("resources") is not None:
        document.at((*path, "resources"), notation.resources, data["resources"])


_PARSERS: dict[str, Callable[[str], object]] = {
    "image": notation.image,
    "profile": notation.profile,
    "timeout": notation.duration,
    "retries": notation.retries,
    "workdir": notation.workdir,
}


def _spec(data: Mapping[str, Any]) -> Spec:
    """One level of the document, values already checked."""
    given = {key: parse(data[key]) for key, parse in _PARSERS.items() if data.get(key) is not None}
    asked = data.get("resources") or ()
    pairs = notation.resources(asked) if isinstance(asked, str) else tuple(dict(asked).items())
    env = tuple((data.get("env") or {}).items())
    return Spec(
        command="",
        resources=pairs,
        env=env,
        secrets=tuple(data.get("secrets") or ()),
        setup=tuple(data.get("setup") or ()),
        **given,  # type: ignore[arg-type] # the parsers' results have the fields' types
    )
