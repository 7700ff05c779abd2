"""Say which line of a comment GitHub shows as words of its author. Pure.

What Markdown makes code, a quote or an attribute, and what stands inside of an HTML element that
is code, a quote or not shown at all, is not said. markdown-it-py reads the Markdown, by the rules
of CommonMark with GitHub's strikethrough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

PARSED_LENGTH_MAX = 20_000
"""Characters that are given to the library, which takes seconds for some texts of GitHub's limit
of 65,536. In longer ones, a line after anything that could hide it counts as hidden."""

_HIDING_ELEMENTS = (
    "applet|blockquote|cite|code|del|head|iframe|kbd|listing|math|noembed|noframes|noscript|object"
    "|option|plaintext|pre|q|s|samp|script|select|strike|style|svg|template|textarea|title|tt|var"
    "|video|audio|canvas|xmp"
)
_HIDING_TAG = re.compile(
    rf"<(?:{_HIDING_ELEMENTS})\b|<[a-z][^>]*\s(?:hidden|style)\b", re.IGNORECASE
)
_TAG = re.compile(
    r"""<!--.*?(?:-->|(?P<cut_comment>\Z))
    |<(?P<end>/?)(?P<name>[a-z][^\s/>]*)(?:[^>"']++|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))*+(?:>|(?P<cut_tag>\Z))""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_HIDING_NAME = re.compile(_HIDING_ELEMENTS, re.IGNORECASE)
_HIDING_ATTRIBUTE = re.compile(r"\s(?:hidden|style)(?:[\s=/>]|\Z)", re.IGNORECASE)
_MARKUP = re.compile(r"[`<>\[\]~$]|\Z(?<=\\)")


def find_said_line(lines: Sequence[str], indices: Iterable[int]) -> int | None:
    """Return the first of these lines that is shown as words of the comment's author.

    Each of them begins with ``/``. It takes linear time, since anybody may write a comment.
    """
    wanted = sorted(indices)
    if not wanted or not any(lines[: wanted[0]]):
        return next(iter(wanted), None)  # nothing stands before it that could hide it
    parsed = _parsed_line_count(lines)
    said = _find_in_markdown(lines[:parsed], [index for index in wanted if index < parsed])
    if said is None and wanted[-1] >= parsed:
        return _find_surely_said(lines, {index for index in wanted if index >= parsed})
    return said


def _parsed_line_count(lines: Sequence[str]) -> int:
    """Return how many lines are given to the library: as many as fit."""
    length = 0
    for number, line in enumerate(lines):
        length += len(line) + 1
        if length > PARSED_LENGTH_MAX:
            return number
    return len(lines)


def _find_in_markdown(lines: Sequence[str], indices: Sequence[int]) -> int | None:
    """Return the first line that the library shows as said, in a text that it can read."""
    marked, word = list(lines), "fyre"
    while any(word in line for line in lines):
        word += "z"
    words = {f"{word}{index}q": index for index in indices}
    for replacement, index in words.items():  # letters in place of the "/" change no markup
        marked[index] = replacement + lines[index][1:]
    if not words:
        return None
    shown = _shown_words(_markdown_parser().parse("\n".join(marked)), re.compile(rf"{word}\d+q"))
    return next((words[text] for text in shown), None)


def _find_surely_said(lines: Sequence[str], indices: Set[int]) -> int | None:
    """Return the first line before which nothing stands that could hide it, in a long comment."""
    is_marked_up = False
    for index, line in enumerate(lines):
        if index in indices and not is_marked_up:
            return index
        if _HIDING_TAG.search(line):
            return None
        is_marked_up = bool(line.strip()) and (is_marked_up or bool(_MARKUP.search(line)))
    return None


@cache
def _markdown_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # loaded only for a comment that may hold a command

    return MarkdownIt("commonmark").enable("strikethrough")


def _shown_words(tokens: Sequence[Token], word: re.Pattern[str]) -> Iterator[str]:
    """Yield the words with which a line of plain text, outside of any quote, begins."""
    quotes, elements = 0, _OpenElements()
    for token in tokens:
        quotes += (token.type == "blockquote_open") - (token.type == "blockquote_close")
        if token.type == "html_block":
            elements.read(token.content)
        elif token.type == "inline":
            shown = list(_inline_words(token.children or [], word, elements))
            yield from () if quotes else shown


def _inline_words(
    children: Sequence[Token], word: re.Pattern[str], elements: _OpenElements
) -> Iterator[str]:
    """Yield the words with which a line of a text begins, unless something hides them."""
    struck, dollars, begins_line = 0, 0, True
    for child in children:
        struck += (child.type == "s_open") - (child.type == "s_close")
        if child.type == "html_inline":
            elements.read(child.content)
        elif child.type == "text":
            match = word.match(child.content) if begins_line else None
            if match and not (struck or elements.is_hiding or dollars % 2):
                yield match[0]
            dollars += child.content.count("$$")  # GitHub's mathematics
        begins_line = child.type in ("softbreak", "hardbreak") or (
            begins_line and not child.content
        )


class _OpenElements:
    """The HTML elements that are open and hide what stands in them."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    @property
    def is_hiding(self) -> bool:
        return any(self._open.values())

    def read(self, html: str) -> None:
        """Follow the tags of a piece of HTML, as a browser would."""
        for tag in _TAG.finditer(html):
            name = (tag["name"] or "").lower()
            if tag["cut_comment"] is not None or tag["cut_tag"] is not None:
                self._open[""] = 1  # a browser looks for its end in all that follows
            elif tag["end"]:
                self._open[name] = max(0, self._open.get(name, 0) - 1)
            elif _HIDING_NAME.fullmatch(name) or _HIDING_ATTRIBUTE.search(tag[0]):
                self._open[name] = self._open.get(name, 0) + 1
