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
