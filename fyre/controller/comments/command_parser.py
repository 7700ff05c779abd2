"""Parse ``/fyre …`` in the text of a comment. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO

from fyre.controller.comments import markdown_text
from fyre.message import request, value_parsers
from fyre.message.spec import RunSpec
from fyre.message.trailers import Trailer

COMMIT_OPTION = "--commit"
LATEST_OPTION = "--latest"

_COMMAND_LINE = re.compile(r"/fyre(?:[ \t]+(?P<rest>.*))?", re.DOTALL)
_LINE_END = re.compile(r"\r\n?|\n")  # Markdown's; Python's other line ends may be in a command
_CODE_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)", re.DOTALL)
_BLOCK_QUOTE = re.compile(r" {0,3}>[ \t>]*(?P<text>.*)", re.DOTALL)
_PLAIN_TEXT = re.compile(r"(?!.*www\.)[\w '\".,:=…-]{0,200}")  # Markdown shows it as it is
_COMMIT_SHA = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Command:
    """The command of a comment."""

    verb: str
    run_name: str = ""  # of the selected run; "" for all
    spec: RunSpec | None = None  # of the verb run: what to run
    latest_image: bool = False  # of rerun: the image as it was requested, not the digest that ran
    commit: str = ""  # a SHA or its beginning, if the comment names one


def is_command(body: str) -> bool:
    """Return True if a comment holds a command, even one that can't be understood.

    It takes linear time, since anybody may write a comment.
    """
    return _find_command(body) is not None


def parse_command(body: str, parsers: Mapping[str, Callable[[str], Command]]) -> Command | None:
    """Return the command of a comment: its first line that begins with ``/fyre``, or None.

    A line that is quoted, indented, code, struck out or not shown at all is no command.
    ``parsers`` has for each verb the parser of the text after it.

    Raises ``value_parsers.BadValueError`` for a command that can't be understood.
    """
    match = _find_command(body)
    if match is None:
        return None
    verb, text = _split_word(match["rest"] or "")
    if verb not in parsers:
        command = _quote_code(f"/fyre {verb}".strip())
        raise value_parsers.BadValueError(f"{command} is not a command", _list_verbs(parsers))
    return parsers[verb](text)


def _find_command(body: str) -> re.Match[str] | None:
    lines = _LINE_END.split(body)
    matches = {
        index: match
        for index in _visible_lines(lines)
        if (match := _COMMAND_LINE.fullmatch(lines[index]))
    }
    said = markdown_text.find_said_line(lines, matches)
    return matches[said] if said is not None else None


def _visible_lines(lines: Sequence[str]) -> Iterator[int]:
    """Yield the indices of the lines outside fenced code blocks, HTML comments and quotes.

    It takes no library, and keeps it from most comments. What the library says besides counts too.

    A quote continues to a blank line, as where a mail program has broken a line of it.
    """
    fence, in_html_comment, in_quote = "", False, False
    for index, line in enumerate(lines):
        if fence:
            match = _CODE_FENCE.fullmatch(line)
            if match and match["fence"].startswith(fence) and not match["info"].strip():
                fence = ""
        elif in_html_comment:
            in_html_comment = "-->" not in line or _opens_html_comment(line)
        elif (match := _CODE_FENCE.fullmatch(line)) and not (
            match["fence"][0] == "`" and "`" in match["info"]
        ):
            fence, in_quote = match["fence"], False
        else:
            match = _BLOCK_QUOTE.fullmatch(line)
            is_blank = line.isspace() or line == ""
            in_quote = bool(match["text"]) if match else in_quote and not is_blank
            if not in_quote:
                yield index
            in_html_comment = _opens_html_comment(line)


def _opens_html_comment(line: str) -> bool:
    """Return True if an HTML comment begins in a line and does not end in it."""
    return line.rfind("<!--") > line.rfind("-->")


def parse_run(text: str) -> Command:
    """Parse ``[--name NAME] [--timeout 2h] … [--] COMMAND``.

    The options are those of ``fyre commit --run``; the command is taken verbatim.
    """
    trailers, commit = [], ""
    while text.startswith("--"):
        word, text = _split_word(text)
        if word == "--":
            break
        key, equals, value = word.partition("=")
        if key != COMMIT_OPTION and key not in request.OPTION_TRAILERS:
            raise _unknown_option(key, "run", (*request.OPTION_TRAILERS, COMMIT_OPTION))
        if not equals:
            value, text = _take_value(key, text)
        if key == COMMIT_OPTION:
            commit = _parse_sha(value)
        else:
            trailers.append(Trailer(request.OPTION_TRAILERS[key], value))
    if not text:
        raise value_parsers.BadValueError(
            "`/fyre run` needs a command", "write `/fyre run python train.py`"
        )
    run_request = request.request_from_trailers([Trailer("Fyre-Run", text), *trailers])
    if run_request.problems:
        problem = run_request.problems[0]
        raise value_parsers.BadValueError(
            _option_message(problem.message), _escape_error(request.in_option_words(problem.hint))
        )
    spec = run_request.runs[0]
    return Command("run", spec.name, spec, commit=commit)


def parse_selection(verb: str, text: str, *, latest: bool = False) -> Command:
    """Parse ``[NAME] [--commit SHA]``, and ``[--latest]`` if ``latest`` is true."""
    words = _read_words(verb, text, (COMMIT_OPTION, LATEST_OPTION) if latest else (COMMIT_OPTION,))
    name = _parse_name(" ".join(words.names)) if words.names else ""
    return Command(verb, name, latest_image=words.latest, commit=words.commit)


def parse_approval(text: str) -> Command:
    """Parse ``SHA``, or ``[NAME] --commit SHA``."""
    words = _read_words("approve", text, (COMMIT_OPTION,))
    if not words.commit:
        return Command("approve", commit=_parse_sha(" ".join(words.names)))
    name = _parse_name(" ".join(words.names)) if words.names else ""
    return Command("approve", name, commit=words.commit)


@dataclass
class _Words:
    """The words after a verb, sorted."""

    names: list[str] = field(default_factory=list)
    latest: bool = False
    commit: str = ""


def _read_words(verb: str, text: str, options: tuple[str, ...]) -> _Words:
    """Sort the words of a text into options and names."""
    words = _Words()
    while text:
        word, text = _split_word(text)
        key, equals, value = word.partition("=")
        if key == COMMIT_OPTION:
            value, text = (value, text) if equals else _take_value(key, text)
            words.commit = _parse_sha(value)
        elif word == LATEST_OPTION and LATEST_OPTION in options:
            words.latest = True
        elif word.startswith("--"):
            raise _unknown_option(key, verb, options)
        else:
            words.names.append(word)
    return words


def _split_word(text: str) -> tuple[str, str]:
    """Return the first word, quoted as in a shell or not, and the text after it, verbatim."""
    stream = StringIO(text, newline="")  # no line end is translated: the rest is verbatim
    lexer = shlex.shlex(stream, posix=True, punctuation_chars=False)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    try:
        word = lexer.get_token()
    except ValueError as error:
        raise value_parsers.BadValueError(
            f"{_quote_code(text)} has a quote that does not end", "end it, or escape it"
        ) from error
    return word or "", stream.read().strip(" \t")


def _take_value(option: str, text: str) -> tuple[str, str]:
    if not text:
        raise value_parsers.BadValueError(f"`{option}` needs a value", f"write `{option} VALUE`")
    return _split_word(text)


def _parse_name(text: str) -> str:
    try:
        return value_parsers.parse_run_name(text)
    except value_parsers.BadValueError as error:
        raise value_parsers.BadValueError(_escape_error(error.args[0]), error.hint) from error


def _parse_sha(text: str) -> str:
    if not _COMMIT_SHA.fullmatch(text.lower()):
        raise value_parsers.BadValueError(
            f"{_quote_code(text)} is not a commit's SHA", "write 7 digits of it at least"
        )
    return text.lower()


def _unknown_option(name: str, verb: str, options: tuple[str, ...]) -> value_parsers.BadValueError:
    matches = get_close_matches(name, options, n=1)
    hint = (
        f"did you mean `{matches[0]}`?" if matches else f"the options are `{'`, `'.join(options)}`"
    )
    if verb == "run":
        hint += " A command that begins so stands after `--`"
    return value_parsers.BadValueError(
        f"{_quote_code(name)} is not an option of `/fyre {verb}`", hint
    )


def _option_message(message: str) -> str:
    """Return a trailer's error message as one of the option that stands for the trailer."""
    for option, key in request.OPTION_TRAILERS.items():
        if message.startswith(f"{key}:"):
            return f"`{option}`: {_escape_error(message.partition(': ')[2])}"
    return _escape_error(message)


def _list_verbs(verbs: Iterable[str]) -> str:
    return f"write {', '.join(f'`/fyre {verb}`' for verb in verbs)}"


def _escape_error(message: str) -> str:
    """Return an error message, which may quote somebody, so that Markdown changes nothing in it.

    It is code where it would mention somebody, link or format anything.
    """
    return message if _PLAIN_TEXT.fullmatch(message) else _quote_code(message, 200)


def _quote_code(text: str, max_length: int = 60) -> str:
    """Return what somebody wrote in a code span that it can't leave.

    It mentions nobody and links nothing.
    """
    line = " ".join(value_parsers.replace_invalid_utf8(text).replace("`", "'").split())
    return f"`{line if len(line) <= max_length else line[: max_length - 3] + '…'}`"
