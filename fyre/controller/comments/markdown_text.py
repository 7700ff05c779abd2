"""Say which line of a comment GitHub shows as words of its author. Pure.

What Markdown makes code, a quote, a table, a footnote or an attribute, and what stands inside of an
HTML element that is code, a quote or not shown at all, is not said. markdown-it-py reads the
Markdown, and selectolax builds the tree of the HTML as browsers do: both follow the published
rules, of which a list of our own would leave some out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from selectolax.lexbor import LexborNode

PARSED_LENGTH_MAX = 20_000
"""Characters that are given to the libraries, which take seconds for some texts of GitHub's limit
of 65,536. In longer ones, a line after anything that could hide it counts as hidden."""

_HIDING_ELEMENTS = frozenset((
    *("applet", "audio", "blockquote", "canvas", "cite", "code", "del", "head", "iframe", "kbd"),
    *("listing", "math", "noembed", "noframes", "noscript", "object", "option", "plaintext"),
    *("pre", "q", "s", "samp", "script", "select", "strike", "style", "svg", "table", "template"),
    *("textarea", "title", "tt", "var", "video", "xmp"),
))  # fmt: skip
_HIDING_ATTRIBUTES = frozenset({"hidden", "style"})
_HIDING_TAG = re.compile(
    rf"<(?:{'|'.join(_HIDING_ELEMENTS)})\b|<[a-z][^>]*\s(?:hidden|style)\b"
    r"|<(?:[!?]|/[^a-z])|<[a-z/][^>]*$",  # a comment of HTML's; a tag that goes on
    re.IGNORECASE,
)
_TAG = re.compile(
    r"""<!--.*?(?:-->|(?P<cut_comment>\Z))
    |</?[a-z](?:[^>"']++|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))*+(?:>|(?P<cut_tag>\Z))""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_FOREIGN_TAG = re.compile(r"(</?)(svg|math)\b", re.IGNORECASE)
_MARKUP = re.compile(r"[`<>\[\]~$|]|\Z(?<=\\)")


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
    text, said = "\n".join(marked), set(words)
    for parser in _markdown_parsers() if words else ():
        said &= _shown_words(parser, text, re.compile(rf"{word}\d+q"))
    return min((words[replacement] for replacement in said), default=None)


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
def _markdown_parsers() -> tuple[MarkdownIt, ...]:
    """Return a parser of CommonMark, and one with GitHub's tables, footnotes and single tildes.

    What is said is so by both: nobody gains by what one of them reads otherwise than GitHub does.
    """
    from markdown_it import MarkdownIt  # loaded only for a comment that may hold a command
    from mdit_py_plugins.footnote import footnote_plugin

    common = MarkdownIt("commonmark").enable("strikethrough")
    github = MarkdownIt("commonmark", {"strikethrough_single_tilde": True})
    github.enable(["strikethrough", "table"])
    return common, github.use(footnote_plugin, inline=False, move_to_end=False)


def _shown_words(parser: MarkdownIt, text: str, word: re.Pattern[str]) -> set[str]:
    """Return the words that a browser shows, outside of all that hides them."""
    from selectolax.lexbor import LexborHTMLParser

    environment: dict[str, object] = {}
    tokens = _drop_footnotes(parser.parse(text, environment))
    _drop_unsaid(tokens, word)
    html = parser.renderer.render(tokens, parser.options, environment)
    # Pictures and formulas end where a paragraph begins; GitHub leaves their names out.
    readings = {html, _FOREIGN_TAG.sub(r"\1object", html)}
    texts = ("\n".join(_shown_texts(LexborHTMLParser(reading).root)) for reading in readings)
    return set.intersection(*(set(word.findall(text)) for text in texts))


def _shown_texts(root: LexborNode | None) -> Iterator[str]:
    """Yield the texts in a tree that stand in no element that hides them."""
    hiding: set[int] = set()
    for node in root.traverse(include_text=True) if root else ():
        if node.parent and node.parent.mem_id in hiding:
            hiding.add(node.mem_id)
        elif node.is_text_node:
            yield node.text_content or ""
        elif node.tag in _HIDING_ELEMENTS or _HIDING_ATTRIBUTES & node.attributes.keys():
            hiding.add(node.mem_id)


def _drop_footnotes(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens without footnotes, which GitHub shows at the end or not at all."""
    changes = {"footnote_reference_open": 1, "footnote_reference_close": -1}
    depths = accumulate(changes.get(token.type, 0) for token in tokens)
    return [
        token
        for token, depth in zip(tokens, depths, strict=True)
        if not depth and token.type not in changes
    ]


def _drop_unsaid(tokens: Iterable[Token], word: re.Pattern[str]) -> None:
    """Remove the words in HTML, after HTML that is cut off within a tag, and in mathematics."""
    is_cut = False
    for token in tokens:
        dollars = 0  # GitHub shows as mathematics what stands between two "$$" of a paragraph
        for part in (token, *(token.children or ())):
            is_html = part.type in ("html_block", "html_inline")
            is_cut = is_cut or (is_html and _is_cut_off(part.content))
            if is_html or is_cut or dollars % 2:
                part.content = word.sub("", part.content)
            dollars += part.content.count("$$") if part.type == "text" else 0


def _is_cut_off(html: str) -> bool:
    tags = _TAG.finditer(html)
    return any(tag["cut_comment"] is not None or tag["cut_tag"] is not None for tag in tags)
