"""Say an error of a JSON schema in the words of somebody who has never seen one. Pure."""

from __future__ import annotations

from typing import Any

_TYPE_WORDS = {
    "array": "a list",
    "object": "a mapping of keys to values",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}
_SHOWN_MAX = 60


def describe_error(error: Any) -> str:  # noqa: ANN401 - jsonschema's, which is imported lazily
    """Return what a value must be: "must be a list, not 'echo hi'"."""
    wanted, value = error.validator_value, error.instance
    shown = _show_value(value)
    match error.validator:
        case "type":
            text = f"must be {_join_types(wanted)}, not {shown}"
        case "oneOf" | "anyOf":
            types = [one["type"] for one in wanted if "type" in one]
            fits = [one for one in error.context or () if one.validator != "type"]
            text = describe_error(fits[0]) if fits else f"must be {_join_types(types)}, not {shown}"
        case "enum" | "const":
            names = wanted if isinstance(wanted, list) else [wanted]
            text = f"must be one of {', '.join(map(_yaml_word, names))}, not {shown}"
        case "minimum":
            text = f"must be at least {wanted}, not {shown}"
        case "maximum":
            text = f"must be at most {wanted}, not {shown}"
        case "minLength" | "minItems" | "minProperties":
            text = "must not be empty"
        case "pattern":
            text = f"{shown} is not a valid value"
        case "required":
            text = f"lacks {', '.join(key for key in wanted if key not in value)}"
        case _:
            text = str(error.message).splitlines()[0][:200]
    return text


def describe_remedy(error: Any) -> str:  # noqa: ANN401 - jsonschema's, which is imported lazily
    """Return what to write instead: "write setup: [echo hi]", else the schema's description."""
    schema, value, path = error.schema, error.instance, tuple(error.absolute_path)
    wanted_types = schema.get("type", "")
    if error.validator == "type" and wanted_types == "array" and _is_short_text(value):
        return f"write {_yaml_line(path[-1:], [value])}"
    if "minimum" in schema and "maximum" in schema:
        return f"write a whole number from {schema['minimum']} to {schema['maximum']}"
    if error.validator in ("type", "oneOf") and schema.get("examples"):
        line = _yaml_line(path[-1:], schema["examples"][0])
        return f"write {line}" if path else f"write lines like {line}"
    return str(schema.get("description", ""))


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _SHOWN_MAX


def _yaml_line(path: tuple[str | int, ...], value: object) -> str:
    """Return a value below its key as one line of YAML; without a key, that of a whole file."""
    import yaml

    document = {path[0]: value} if path and isinstance(path[0], str) else value
    line = yaml.safe_dump(document, default_flow_style=True, allow_unicode=True, width=1000)
    return line.strip().removeprefix("{").removesuffix("}")


def _show_value(value: object) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _join_types(types: str | list[Any]) -> str:
    names = [types] if isinstance(types, str) else types
    return " or ".join(dict.fromkeys(_TYPE_WORDS.get(str(name), str(name)) for name in names))


def _yaml_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
