"""``/fyre …`` in a comment: from its text to a command. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO

from fyre.message import notation, request
from fyre.message.spec import RunSpec
from fyre.message.trailers import Trailer

COMMIT_OPTION = "--commit"
LATEST_OPTION = "--latest"

_COMMAND_LINE = re.compile(r"/fyre(?:[ \t]+(?P<rest>.*))?", re.DOTALL)
_LINE_END = re.compile(r"\r\n?|\n")  # Markdown's; a command may hold what else Python takes for one
_CODE_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)", re.DOTALL)
_BLOCK_QUOTE = re.compile(r" {0,3}>[ \t>]*(?P<text>.*)", re.DOTALL)
_PLAIN_TEXT = re.compile(r"(?!.*www\.)[\w '\".,:=…-]{0,200}")  # to Markdown, too
_COMMIT_SHA = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Command:
    """What a comment asks for."""

    verb: str
    run_name: str = ""  # of the run that is meant; "" for all
    spec: RunSpec | None = None  # run: what to run
    latest_image: bool = False  # rerun: the image as it was asked for, not the digest that ran
    commit: str = ""  # a SHA or its beginning, where the comment names one


def is_command(body: str) -> bool:
    """Whether a comment holds a command, one that can't be understood included; linear, since anybody may write one."""
    return _find_command(body) is not None


def parse_command(body: str, parsers: Mapping[str, Callable[[str], Command]]) -> Command | None:
    """Return the command of a comment: its first line that begins with ``/fyre``, or None.

    What is quoted, indented, in a code block or in an HTML comment is talk. ``parsers`` reads what
    stands after each verb. Raises ``units.BadValueError`` for a command that can't be understood.
    """
    found = _find_command(body)
    if found is None:
        return None
    verb, text = _split_word(found["rest"] or "")
    if verb not in parsers:
        written = _quote_code(f"/fyre {verb}".strip())
        raise notation.BadValueError(f"{written} is not a command", _list_verbs(parsers))
    return parsers[verb](text)


def _find_command(body: str) -> re.Match[str] | None:
    return next(
        (match for line in _visible_lines(body) if (match := _COMMAND_LINE.fullmatch(line))), None
    )


def _visible_lines(body: str) -> Iterator[str]:
    """The lines that are neither in a fenced code block nor in an HTML comment, which nobody sees, nor in a quote,
    which goes on to a blank line, as where a mail program has broken a line of it.
    """
    fence, hidden, quoted = "", False, False
    for line in _LINE_END.split(body):
        if fence:
            mark = _CODE_FENCE.fullmatch(line)
            if mark and mark["fence"].startswith(fence) and not mark["info"].strip():
                fence = ""
        elif hidden:
            hidden = "-->" not in line or _opens_html_comment(line)
        elif (mark := _CODE_FENCE.fullmatch(line)) and not (
            mark["fence"][0] == "`" and "`" in mark["info"]
        ):
            fence, quoted = mark["fence"], False
        else:
            mark = _BLOCK_QUOTE.fullmatch(line)
            quoted = bool(mark["text"]) if mark else quoted and not line.isspace() and line != ""
            if not quoted:
                yield line
            hidden = _opens_html_comment(line)


def _opens_html_comment(line: str) -> bool:
    """Whether an HTML comment begins in a line that does not end in it."""
    return line.rfind("<!--") > line.rfind("-->")


def parse_run(text: str) -> Command:
    """Read ``[--name NAME] [--timeout 2h] … [--] COMMAND``.

    The options are those of ``fyre commit --run``, the rest is verbatim.
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
        raise notation.BadValueError(
            "`/fyre run` needs a command", "write `/fyre run python train.py`"
        )
    wanted = request.request_from_trailers([Trailer("Fyre-Run", text), *trailers])
    if wanted.problems:
        raise notation.BadValueError(
            _option_message(wanted.problems[0].message), _escape_error(wanted.problems[0].hint)
        )
    return Command("run", wanted.runs[0].name, wanted.runs[0], commit=commit)


def parse_selection(verb: str, text: str, *, latest: bool = False) -> Command:
    """Read ``[NAME] [--commit SHA]``, and ``[--latest]`` where the verb takes it."""
    words = _read_words(verb, text, (COMMIT_OPTION, LATEST_OPTION) if latest else (COMMIT_OPTION,))
    name = _parse_name(" ".join(words.names)) if words.names else ""
    return Command(verb, name, latest_image=words.latest, commit=words.commit)


def parse_approval(text: str) -> Command:
    """Read ``SHA``, or ``[NAME] --commit SHA``."""
    words = _read_words("approve", text, (COMMIT_OPTION,))
    if not words.commit:
        return Command("approve", commit=_parse_sha(" ".join(words.names)))
    name = _parse_name(" ".join(words.names)) if words.names else ""
    return Command("approve", name, commit=words.commit)


@dataclass
class _Words:
    names: list[str] = field(default_factory=list)
    latest: bool = False
    commit: str = ""


def _read_words(verb: str, text: str, options: tuple[str, ...]) -> _Words:
    """Sort words into options and names."""
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
    """The first word, quoted as in a shell or not, and what follows it as it stands."""
    stream = StringIO(text, newline="")  # nothing is translated: the rest is verbatim
    lexer = shlex.shlex(stream, posix=True, punctuation_chars=False)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    try:
        word = lexer.get_token()
    except ValueError as error:
        raise notation.BadValueError(
            f"{_quote_code(text)} has a quote that does not end", "end it, or escape it"
        ) from error
    return word or "", stream.read().strip(" \t")


def _take_value(option: str, text: str) -> tuple[str, str]:
    if not text:
        raise notation.BadValueError(f"`{option}` needs a value", f"write `{option} VALUE`")
    return _split_word(text)


def _parse_name(text: str) -> str:
    try:
        return notation.parse_run_name(text)
    except notation.BadValueError as error:
        raise notation.BadValueError(_escape_error(error.args[0]), error.hint) from error


def _parse_sha(text: str) -> str:
    if not _COMMIT_SHA.fullmatch(text.lower()):
        raise notation.BadValueError(
            f"{_quote_code(text)} is not a commit's SHA", "write 7 digits of it at least"
        )
    return text.lower()


def _unknown_option(name: str, verb: str, options: tuple[str, ...]) -> notation.BadValueError:
    close = get_close_matches(name, options, n=1)
    instead = (
        f"did you mean `{close[0]}`?" if close else f"the options are `{'`, `'.join(options)}`"
    )
    hint = f"{instead} A command that begins so stands after `--`" if verb == "run" else instead
    return notation.BadValueError(f"{_quote_code(name)} is not an option of `/fyre {verb}`", hint)


def _option_message(message: str) -> str:
    """A problem of a trailer, as one of the option that stood for it."""
    option = next(
        (
            option
            for option, key in request.OPTION_TRAILERS.items()
            if message.startswith(f"{key}:")
        ),
        "",
    )
    return (
        f"`{option}`: {_escape_error(message.partition(': ')[2])}"
        if option
        else _escape_error(message)
    )


def _list_verbs(verbs: Iterable[str]) -> str:
    return f"write {', '.join(f'`/fyre {verb}`' for verb in verbs)}"


def _escape_error(message: str) -> str:
    """What is wrong, which may quote somebody: as it is, or where it would mention, link or show anything, as code."""
    return message if _PLAIN_TEXT.fullmatch(message) else _quote_code(message, 200)


def _quote_code(text: str, max_length: int = 60) -> str:
    """What somebody wrote, in a code span that it can't leave: nobody is mentioned, no link is made."""
    line = " ".join(notation.replace_invalid_utf8(text).replace("`", "'").split())
    return f"`{line if len(line) <= max_length else line[: max_length - 3] + '…'}`"
