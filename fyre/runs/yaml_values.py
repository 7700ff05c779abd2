"""Values in a YAML file whose notation is a trailer's: a mistake is said in the words of the file.

Pure.
"""

from __future__ import annotations

from fyre.message import value_parsers
from fyre.message.value_parsers import BadValueError


def parse_env_pair(key: str, value: str) -> tuple[str, str]:
    """Return an entry of ``env``. Raises ``BadValueError``."""
    try:
        name, _ = value_parsers.parse_env_entry(f"{key}=")
    except BadValueError as error:
        if not error.hint.startswith("write it like"):  # it is a name, and one that can't be had
            raise
        raise _bad_name(key) from error
    if name != key:
        raise _bad_name(key)
    return value_parsers.parse_env_entry(f"{key}={value}")


def _bad_name(key: str) -> BadValueError:
    return BadValueError(f"{key[:60]!r} is no variable's name", "write it like EPOCHS: 10")


def parse_resource_pair(key: str, quantity: str) -> tuple[str, str]:
    """Return an entry of ``resources``. Raises ``BadValueError``."""
    try:
        return value_parsers.parse_resource(key, quantity)
    except BadValueError as error:
        message: str = error.args[0]
        if message.startswith(f"{key[:60]}="):
            message = message.replace("=", ": ", 1)
        raise BadValueError(message, error.hint.replace("=", ": ")) from error


def parse_setup_command(text: str) -> str:
    """Return a command of ``setup``. Raises ``BadValueError``."""
    if not text.strip():
        raise BadValueError(
            "the command is empty", "write what is to run, like setup: [pip install -e .]"
        )
    return value_parsers.parse_command(text)
