"""Read ``.fyre.yaml``: a repository's defaults for its runs, from the very commit that runs. Pure.

PyYAML and jsonschema are loaded only if there is such a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib import resources
from typing import Any

from fyre.message import output_notation, value_parsers
from fyre.message.spec import RunSpec
from fyre.runs import yaml_document, yaml_values
from fyre.runs.yaml_document import BadYamlError, DocumentPath, YamlDocument

CONFIG_PATH = ".fyre.yaml"
SIZE_MAX = 64 * 1024
"""Bytes; a longer file is refused before it is parsed."""


_QUOTE_MAX = 60
"""Characters of a line that an error shows: a status has room for little more than its reason."""


class RepoConfigError(Exception):
    """A mistake in the file: ``line`` counts from 1, ``quote`` is that line as it stands there."""

    def __init__(self, line: int, message: str, hint: str, text: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.hint = hint
        lines = text.splitlines()
        self.quote = lines[line - 1].strip() if 0 < line <= len(lines) else ""

    def __str__(self) -> str:
        shown = self.quote if len(self.quote) <= _QUOTE_MAX else f"{self.quote[:_QUOTE_MAX]}…"
        quote = f"{shown!r}: " if shown else ""
        return f"{CONFIG_PATH} line {self.line}: {quote}{self.message}"


@dataclass(frozen=True, slots=True)
class RunDefaults:
    """Defaults for every run, and for the runs of one name.

    Whatever a ``RunSpec`` here leaves empty is "not given".
    """

    all_runs: RunSpec = RunSpec(command="")  # noqa: RUF009 - frozen, and so safe to share
    by_name: tuple[tuple[str, RunSpec], ...] = ()


def too_large_error(text: str) -> RepoConfigError:
    """Return the error for a file that is larger than ``SIZE_MAX``."""
    message = f"the file is larger than {SIZE_MAX // 1024} KiB"
    return RepoConfigError(1, message, "keep data in files of its own", text)


@lru_cache(maxsize=64)  # the 500 commits of a push mostly hold the same file
def parse_repo_config(text: str) -> RunDefaults:
    """Return the file's defaults. Raises ``RepoConfigError`` with the line."""
    if len(text.encode(errors="replace")) > SIZE_MAX:
        raise too_large_error(text)
    try:
        document = yaml_document.read_document(text)
        if document is None:
            return RunDefaults()
        _check_document(document)
    except BadYamlError as error:
        raise RepoConfigError(error.line, _place_message(error, text), error.hint, text) from error
    data = document.texts
    by_name = tuple(
        (value_parsers.parse_run_name(key), _read_spec(value))
        for key, value in (data.get("names") or {}).items()
    )
    return RunDefaults(_read_spec(data), by_name)


def _place_message(error: BadYamlError, text: str) -> str:
    """Return the message with its key, where neither it nor the quoted line names that."""
    if error.message.startswith(("must ", "lacks ", "it holds ")):
        return f"{error.path_text} {error.message.removeprefix('it ')}"
    lines = text.splitlines()
    line = lines[error.line - 1] if 0 < error.line <= len(lines) else ""
    names = [part for part in error.path if isinstance(part, str)]
    is_named = not names or names[-1] in line or names[-1] in error.message
    return error.message if is_named else f"{error.path_text}: {error.message}"


def apply_repo_defaults(spec: RunSpec, name: str, defaults: RunDefaults) -> RunSpec:
    """Return the spec with its missing values filled in.

    They are the defaults of its name, else those of every run.
    """
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
            outputs=tuple(dict.fromkeys(spec.outputs + layer.outputs)),
        )
    general = defaults.all_runs
    return replace(spec, setup=general.setup, metric_goals=general.metric_goals)


_SCALAR_FIELDS = ("profile", "image", "timeout", "retries", "workdir")
StringPairs = tuple[tuple[str, str], ...]


def _merge_pairs(own_pairs: StringPairs, defaults: StringPairs) -> StringPairs:
    """Return a run's own pairs, and those defaults that it does not name itself."""
    keys = {key for key, _ in own_pairs}
    return (*(pair for pair in defaults if pair[0] not in keys), *own_pairs)


@cache
def repo_config_schema() -> dict[str, Any]:
    """Return the published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "fyre-yaml.schema.json").read_text(
        encoding="utf-8"
    )
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _check_document(document: YamlDocument) -> None:
    """Check the document against the schema, then each value in its own notation."""
    document.validate_schema(repo_config_schema())
    _check_values(document, document.texts, ())
    for name, level in (document.texts.get("names") or {}).items():
        document.parse_at(("names", name), value_parsers.parse_run_name, name)
        _check_values(document, level, ("names", name))
    for index, command in enumerate(document.texts.get("setup") or []):
        document.parse_at(("setup", index), yaml_values.parse_setup_command, command)


def _check_values(document: YamlDocument, data: Mapping[str, Any], path: DocumentPath) -> None:
    """Check each value of one level of the document in its own notation."""
    for key, parse in _VALUE_PARSERS.items():
        if data.get(key) is not None:
            document.parse_at((*path, key), parse, data[key])
    for index, secret in enumerate(data.get("secrets") or []):
        document.parse_at((*path, "secrets", index), value_parsers.parse_secret_name, secret)
    for index, output in enumerate(data.get("outputs") or []):
        document.parse_at((*path, "outputs", index), output_notation.parse_output, output)
    for key, value in (data.get("env") or {}).items():
        document.parse_at((*path, "env", key), partial(yaml_values.parse_env_pair, key), value)
    if isinstance(data.get("resources"), dict):
        for key, value in data["resources"].items():
            document.parse_at(
                (*path, "resources", key), partial(yaml_values.parse_resource_pair, key), value
            )
    elif data.get("resources") is not None:
        document.parse_at((*path, "resources"), value_parsers.parse_resources, data["resources"])


_VALUE_PARSERS: dict[str, Callable[[str], object]] = {
    "image": value_parsers.parse_image,
    "profile": value_parsers.parse_profile_name,
    "timeout": value_parsers.parse_duration,
    "retries": value_parsers.parse_retries,
    "workdir": value_parsers.parse_workdir,
}


def _read_spec(data: Mapping[str, Any]) -> RunSpec:
    """Return one level of the document, values already checked, as a spec."""
    fields = {
        key: parse(data[key]) for key, parse in _VALUE_PARSERS.items() if data.get(key) is not None
    }
    resources = data.get("resources") or ()
    pairs = (
        value_parsers.parse_resources(resources)
        if isinstance(resources, str)
        else tuple(dict(resources).items())
    )
    env = tuple((data.get("env") or {}).items())
    return RunSpec(
        command="",
        resources=pairs,
        env=env,
        secrets=tuple(data.get("secrets") or ()),
        setup=tuple(data.get("setup") or ()),
        outputs=tuple(data.get("outputs") or ()),
        metric_goals=tuple((data.get("metrics") or {}).items()),
        **fields,  # type: ignore[arg-type] # the parsers' results have the fields' types
    )
