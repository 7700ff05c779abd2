"""The settings of `fyre serve`, as a file, variables or options give them, each with its origin."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fyre.apps.engine_registry import engine_names
from fyre.errors import UserError
from fyre.runs import yaml_document
from fyre.runs.yaml_document import BadYamlError

_TRUE_WORDS, _FALSE_WORDS = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and its origin: ``fyre.yaml line 3``, ``FYRE_JOBS``, ``--jobs`` or ``default``."""

    value: Any
    origin: str


@cache
def load_schema() -> dict[str, Any]:
    """Return the published JSON schema of the configuration file."""
    text = (resources.files("fyre") / "schemas" / "serve.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def key_description(key: str) -> str:
    """Return what the schema says of a key, for a hint."""
    return str(load_schema()["properties"][key]["description"])


def _installed_schema() -> dict[str, Any]:
    """Return the schema with the engines of installed packages, which the published one lacks."""
    schema = load_schema()
    engine = {**schema["properties"]["engine"], "enum": engine_names()}
    return {**schema, "properties": {**schema["properties"], "engine": engine}}


def variable_name(key: str) -> str:
    """Return the environment variable of a key.

    None of them is a variable that Kubernetes sets for a Service named fyre.
    """
    return "FYRE_" + re.sub(r"(?=[A-Z])", "_", key).upper()


def option_name(key: str) -> str:
    """Return the command-line option of a key."""
    return "--" + re.sub(r"(?=[A-Z])", "-", key).lower()


def settings_from_file(path: Path) -> dict[str, Setting]:
    """Return the settings of a file; raise ``UserError``, which quotes no line of it."""
    try:
        document = yaml_document.read_document(path.read_text(encoding="utf-8"))
        if document is None:
            return {}
        document.validate_schema(_installed_schema())
    except OSError as error:
        raise UserError(
            f"the configuration can't be read: {path}: {error.strerror}", hint="--config FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", hint="save it as UTF-8") from error
    except BadYamlError as error:  # the line is not quoted: there may be a secret in it
        key = f"{error.path_text}: " if error.path_text else ""
        raise UserError(
            f"{path} line {error.line}: {key}{error.message}", hint=error.hint
        ) from error
    texts = {key for key, value in document.values.items() if isinstance(value, str)}
    for key in texts:
        if "\0" in document.values[key]:  # no path, address or argument can contain it
            raise UserError(
                f"{path} line {document.line_numbers[key,]}: {key}: it has a NUL in it",
                hint="take it out",
            )
    return {
        key: Setting(
            document.texts[key] if key in texts else value,
            f"{path} line {document.line_numbers[key,]}",
        )
        for key, value in document.values.items()
    }


def settings_from_texts(values: Mapping[str, tuple[str, str]]) -> dict[str, Setting]:
    """Return settings for values that were given as text, by origin; empty ones are left out."""
    return {
        key: Setting(_parse_value(origin, key, text), origin)
        for origin, (key, text) in values.items()
        if text
    }


def _parse_value(origin: str, key: str, text: str) -> Any:  # noqa: ANN401 - as the schema types it
    import jsonschema

    schema = _installed_schema() if key == "engine" else load_schema()
    schema_of_key = schema["properties"][key]
    value: Any = text
    if schema_of_key.get("type") == "integer" and re.fullmatch(r"[0-9]{1,18}", text):
        value = int(text)
    elif schema_of_key.get("type") == "boolean" and text.lower() in _TRUE_WORDS + _FALSE_WORDS:
        value = text.lower() in _TRUE_WORDS
    error = next(jsonschema.Draft202012Validator(schema_of_key).iter_errors(value), None)
    if error is not None:
        raise setting_error(key, Setting(text, origin), "is not a valid value")
    return value


def setting_error(key: str, setting: Setting, problem: str) -> UserError:
    """Return the error for a value, such as ``FYRE_JOBS: jobs: 'many' is not a valid value``."""
    return UserError(
        f"{setting.origin}: {key}: {setting.value!r} {problem}",
        hint=load_schema()["properties"][key]["description"],
    )
