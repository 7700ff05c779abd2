"""``.fyre.yaml``: what a repository says of all its runs, read from the very commit that runs. Pure.

PyYAML and jsonschema are loaded only when there is such a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from fyre import units
from fyre.spec import Spec

if TYPE_CHECKING:
    from yaml.nodes import Node

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
        raise BadFileError(1, f"the file is larger than {SIZE_MAX // 1024} KiB", "keep data in files of its own", text)
    node, typed = _compose(text)
    if node is None:
        return Defaults()
    lines = _lines(node, text)
    try:
        data = _plain(node)
        _validate(data, typed)
        named = tuple((units.name(key), _spec(value)) for key, value in (data.get("names") or {}).items())
        return Defaults(_spec(data), named)
    except _AtError as error:
        line = lines.get(error.path, 1) if error.path else 1
        raise BadFileError(line, error.message, error.hint, text) from error


def settle(spec: Spec, name: str, defaults: Defaults) -> Spec:
    """The run as it will be: what the trailers say, else the defaults of its name, else those of every run."""
    layers = [layer for key, layer in defaults.named if key.lower() == name.lower()] + [defaults.every]
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
    text = (resources.files("fyre") / "schemas" / "fyre-yaml.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


class _AtError(Exception):
    """Something wrong at a path of the document, before the line is known."""

    def __init__(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path, self.message, self.hint = path, message, hint


def _compose(text: str) -> tuple[Node | None, Any]:
    """The document as nodes, which know their lines, and as values, which know their types."""
    import yaml

    try:
        # An alias can make a few lines into gigabytes once walked, and nobody needs one here.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise BadFileError(1, "YAML aliases are not taken", "write the values out", text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        typed = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BadFileError(line, f"not YAML: {error.problem}", "check the indentation and the colons", text) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadFileError(1, "not YAML", "check for characters that YAML does not allow", text) from error
    return node, typed


def _plain(node: Node) -> Any:  # noqa: ANN401 - what YAML holds
    """The document with every scalar as the text that was written: ``1.10`` stays 1.10, ``yes`` stays yes."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return node.value


def _lines(node: Node, text: str, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], int]:
    """The line of each path, counting from 1; a key given twice is an error."""
    import yaml

    lines = {path: node.start_mark.line + 1} if node.start_mark else {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            if below in lines:
                raise BadFileError(key.start_mark.line + 1, f"{key.value!r} is given twice", "keep one of them", text)
            lines |= _lines(value, text, below) | {below: key.start_mark.line + 1}
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines |= _lines(item, text, (*path, index))
    return lines


def _validate(data: Any, typed: Any) -> None:  # noqa: ANN401 - what YAML holds
    """Hold the document to the schema, then each value to its own notation."""
    import jsonschema

    error = next(iter(sorted(jsonschema.Draft202012Validator(schema()).iter_errors(typed), key=lambda e: e.path)), None)
    if error is not None:
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = [*error.schema["properties"]]
            key = next(str(key) for key in error.instance if key not in known)
            raise _AtError((*path, key), f"unknown key {key!r}", f"the keys are {', '.join(known)}")
        raise _AtError(path, error.message.splitlines()[0][:200], error.schema.get("description", ""))
    _check_values(data, ())
    for name, of_name in (data.get("names") or {}).items():
        _at(("names", name), units.name, name)
        _check_values(of_name, ("names", name))
    for index, command in enumerate(data.get("setup") or []):
        _at(("setup", index), units.command, command)


def _check_values(data: Mapping[str, Any], path: tuple[str | int, ...]) -> None:
    for key, parse in _PARSERS.items():
        if data.get(key) is not None:
            _at((*path, key), parse, data[key])
    for index, secret in enumerate(data.get("secrets") or []):
        _at((*path, "secrets", index), units.secret, secret)
    for key, value in (data.get("env") or {}).items():
        _at((*path, "env", key), units.env, f"{key}={value}")
    if isinstance(data.get("resources"), dict):
        for key, value in data["resources"].items():
            _at((*path, "resources", key), partial(units.resource, key), value)
    elif data.get("resources") is not None:
        _at((*path, "resources"), units.resources, data["resources"])


def _at(path: tuple[str | int, ...], parse: Callable[[str], object], value: str) -> None:
    try:
        parse(value)
    except units.BadValueError as error:
        raise _AtError(path, error.args[0], error.hint) from error


_PARSERS: dict[str, Callable[[str], object]] = {
    "image": units.image,
    "profile": units.profile,
    "timeout": units.duration,
    "retries": units.retries,
    "workdir": units.workdir,
}


def _spec(data: Mapping[str, Any]) -> Spec:
    """One level of the document, values already checked."""
    given = {key: parse(data[key]) for key, parse in _PARSERS.items() if data.get(key) is not None}
    asked = data.get("resources") or ()
    pairs = units.resources(asked) if isinstance(asked, str) else tuple(dict(asked).items())
    env = tuple((data.get("env") or {}).items())
    return Spec(
        command="",
        resources=pairs,
        env=env,
        secrets=tuple(data.get("secrets") or ()),
        setup=tuple(data.get("setup") or ()),
        **given,  # type: ignore[arg-type] # the parsers' results have the fields' types
    )
