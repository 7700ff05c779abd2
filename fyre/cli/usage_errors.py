"""Say in plain words what typer finds wrong with the options of a verb. Pure."""

from __future__ import annotations

import re

from fyre.errors import UserError

_RANGE = re.compile(r"(.*): (\S+) is not in the range (?:(\d+)<=)?x(?:>=(\d+))?(?:<=(\d+))?")
_NUMBER = re.compile(r"(.*): ('.*') is not a valid int(?:eger)?(?: range)?")
_BAD_VALUE = re.compile(r"invalid value for '?(-[^:]*?)'?(?=: )")
_UNKNOWN = re.compile(r"(no such option: \S+) \((?:Did you mean|Possible options:) (.*?)\??\)")
_EXTRA = re.compile(r"got unexpected extra argument(?:s|\(s\))? \((.*)\)")
_NO_VALUE = re.compile(r"option '?(-.*?)'? requires an argument")


def usage_error(verb: str, message: str) -> UserError:
    """Return the error for typer's message about the arguments of a verb."""
    text = message.rstrip(".?") if "(" not in message else message.rstrip(".")
    text = text[:1].lower() + text[1:]
    text = _BAD_VALUE.sub(lambda match: match[1].replace("' / '", " or "), text)
    hint = f"see `fyre {verb} --help`"
    if match := _RANGE.fullmatch(text):
        text = f"{match[1]}: {match[2]} is not allowed"
        hint = _bounds(match[3] or match[4], match[5])
    elif match := _NUMBER.fullmatch(text):
        text = f"{match[1]}: {match[2]} is not a whole number"
        hint = f"write it like {8020 if match[1].endswith('--port') else 3}"
    elif match := _UNKNOWN.fullmatch(text):
        text, hint = match[1], f"did you mean {match[2]}? Else see `fyre {verb} --help`"
    elif match := _EXTRA.fullmatch(text):
        text = f"`fyre {verb}` does not take so many words: {match[1]}"
    elif match := _NO_VALUE.fullmatch(text):
        text = f"{match[1]} needs a value"
    elif verb == "run" and text.startswith("missing argument"):
        text, hint = "missing argument: the command", "fyre run -- python train.py"
    return UserError(text, hint=hint, exit_code=2)


def _bounds(lowest: str | None, highest: str | None) -> str:
    if lowest and highest:
        return f"write a whole number from {lowest} to {highest}"
    return f"write a whole number, {lowest} or more" if lowest else f"write at most {highest}"
