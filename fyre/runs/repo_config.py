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
from fyre.message.spec import RunSpec
from fyre.runs import yaml_document
from fyre.runs.yaml_document import BadYamlError, DocumentPath, YamlDocument

CONFIG_PATH = ".fyre.yaml"
SIZE_MAX = 64 * 1024
"""Bytes; a longer file is refused before it is parsed."""


class RepoConfigError(Exception):
    """The file can't be taken: ``line`` counts from 1, ``quote`` is that line as it stands there."""

    def __init__(self, line: int, message: str, hint: str, text: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.hint = hint
        lines = text.splitlines()
        self.quote = lines[line - 1].strip() if 0 < line <= len(lines) else ""

    def __str__(self) -> str:
        return f"{CONFIG_PATH} line {self.line}: {self.quote!r}: {self.message}"


@dataclass(frozen=True, slots=True)
class RunDefaults:
    """Defaults for every run, and for the runs of one name; what a ``Spec`` here leaves empty is "not said"."""

    all_runs: RunSpec = RunSpec(command="")  # noqa: RUF009 - a frozen record is safe to share
    by_name: tuple[tuple[str, RunSpec], ...] = ()


@lru_cache(maxsize=64)  # the 500 commits of a push mostly hold the same file
def parse_repo_config(text: str) -> RunDefaults:
    """The file's defaults. Raises ``BadFileError`` with the line."""
    if len(text.encode(errors="replace")) > SIZE_MAX:
        raise RepoConfigError(
            1,
            f"the file is larger than {SIZE_MAX // 1024} KiB",
            "keep data in files of its own",
            text,
        )
    try:
        document = yaml_document.read_document(text)
        if document is None:
            return RunDefaults()
        _check_document(document)
    except BadYamlError as error:
        raise RepoConfigError(error.line, error.message, error.hint, text) from error
    data = document.texts
    named = tuple(
        (notation.parse_run_name(key), _read_spec(value))
        for key, value in (data.get("names") or {}).items()
    )
    return RunDefaults(_read_spec(data), named)


def apply_repo_defaults(spec: RunSpec, name: str, defaults: RunDefaults) -> RunSpec:
    """The run as it will be: what the trailers say, else the defaults of its name, else those of every run."""
    layers = [layer for key, layer in defaults.by_name if key.lower() == name.lower()] + [
        defaults.all_runs
    ]
    for layer in layers:
        spec = replace(
            spec,
            **{key: getattr(layer, key) for key in _SCALAR_FIELDS if getattr(spec, key) is None},
            resources=_merge_pairs(spec.resources, layer.resources),
            env=_merge_pairs(spec.env, layer.env),
            secrets=tuple(dict.fromkeys(spec.secrets + layer.secrets)),
        )
    return replace(spec, setup=defaults.all_runs.setup)


_SCALAR_FIELDS = ("profile", "image", "timeout", "retries", "workdir")
StringPairs = tuple[tuple[str, str], ...]


def _merge_pairs(own: StringPairs, default: StringPairs) -> StringPairs:
    """A run's own pairs, and those defaults that it does not name itself."""
    keys = {key for key, _ in own}
    return (*(pair for pair in default if pair[0] not in keys), *own)


@cache
def repo_config_schema() -> dict[str, Any]:
    """The published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "fyre-yaml.schema.json").read_text(
        encoding="utf-8"
    )
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _check_document(document: YamlDocument) -> None:
    """Hold the document to the schema, then each value to its own notation."""
    document.validate_schema(repo_config_schema())
    _check_values(document, document.texts, ())
    for name, of_name in (document.texts.get("names") or {}).items():
        document.parse_at(("names", name), notation.parse_run_name, name)
        _check_values(document, of_name, ("names", name))
    for index, command in enumerate(document.texts.get("setup") or []):
        document.parse_at(("setup", index), notation.parse_command, command)


def _check_values(document: YamlDocument, data: Mapping[str, Any], path: DocumentPath) -> None:
    for key, parse in _VALUE_PARSERS.items():
        if data.get(key) is not None:
            document.parse_at((*path, key), parse, data[key])
    for index, secret in enumerate(data.get("secrets") or []):
        document.parse_at((*path, "secrets", index), notation.parse_secret_name, secret)
    for key, value in (data.get("env") or {}).items():
        document.parse_at((*path, "env", key), notation.parse_env_entry, f"{key}={value}")
    if isinstance(data.get("resources"), dict):
        for key, value in data["resources"].items():
            document.parse_at(
                (*path, "resources", key), partial(notation.parse_resource, key), value
            )
    elif data.get("resources") is not None:
        document.parse_at((*path, "resources"), notation.parse_resources, data["resources"])


_VALUE_PARSERS: dict[str, Callable[[str], object]] = {
    "image": notation.parse_image,
    "profile": notation.parse_profile_name,
    "timeout": notation.parse_duration,
    "retries": notation.parse_retries,
    "workdir": notation.parse_workdir,
}


def _read_spec(data: Mapping[str, Any]) -> RunSpec:
    """One level of the document, values already checked."""
    given = {
        key: parse(data[key]) for key, parse in _VALUE_PARSERS.items() if data.get(key) is not None
    }
    asked = data.get("resources") or ()
    pairs = (
        notation.parse_resources(asked) if isinstance(asked, str) else tuple(dict(asked).items())
    )
    env = tuple((data.get("env") or {}).items())
    return RunSpec(
        command="",
        resources=pairs,
        env=env,
        secrets=tuple(data.get("secrets") or ()),
        setup=tuple(data.get("setup") or ()),
        **given,  # type: ignore[arg-type] # the parsers' results have the fields' types
    )
