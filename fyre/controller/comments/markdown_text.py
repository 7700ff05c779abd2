"""Say which line of a comment GitHub shows as words of its author. Pure.

What Markdown makes code, a quote, a table, a footnote or an attribute, and what stands inside of an
HTML element that is code, a quote or not shown at all, is not said. GitHub's own library reads the
Markdown, and selectolax builds the tree of its HTML as browsers do: rules of our own would leave
some out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from fyre.message.value_parsers import replace_invalid_utf8

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

PARSED_LENGTH_MAX = 65_536
"""Characters that are read, GitHub's limit of a comment: no text of this length takes seconds."""

_DEPTH_MAX = 2_000
"""Elements inside each other: deeper trees take browsers' rules quadratic time, and say nothing."""

_HIDING_ELEMENTS = frozenset((
    *("applet", "audio", "bdo", "blockquote", "canvas", "cite", "code", "datalist", "del", "head"),
    *("iframe", "kbd", "listing", "math", "meter", "noembed", "noframes", "noscript", "object"),
    *("optgroup", "option", "plaintext", "pre", "progress", "q", "rp", "s", "samp", "script"),
    *("select", "strike", "style", "svg", "table", "template", "textarea", "title", "tt", "var"),
    *("video", "xmp"),
))  # fmt: skip
_HIDING_ATTRIBUTES = frozenset({"hidden", "popover", "style", "data-footnotes"})
_CLOSED_ELEMENTS = frozenset({"details", "dialog"})
"""They show only their summary, unless they are open."""
_MARKS = re.compile("fyre(z*)")
_PARAGRAPHS = frozenset({"p", "li", "h1", "h2", "h3", "h4", "h5", "h6"})
_TAG = re.compile(
    r"""<!--.*?(?:--!?>|\Z)
    |<(?P<slash>/?)(?P<name>[a-z][^\s/>]*)(?:[^>"']++|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))*+(?:>|\Z)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_VOID_ELEMENTS = frozenset({"area", "br", "col", "embed", "hr", "img", "input", "source", "wbr"})
_BOGUS_COMMENT = re.compile(r"<(?=[!?](?!--)|/[^a-z])", re.IGNORECASE)
_REORDERED_TAG = re.compile(r"(</?)(svg|math|table)\b", re.IGNORECASE)


def find_said_line(lines: Sequence[str], indices: Iterable[int]) -> int | None:
    """Return the first of these lines that is shown as words of the comment's author.

    Each of them begins with ``/``. It takes bounded time, since anybody may write a comment.
    """
    wanted = sorted(indices)
    if not wanted:
        return None
    if not any(lines[: wanted[0]]) and "-" not in "".join(lines[wanted[0] + 1 : wanted[0] + 2]):
        return wanted[0]  # nothing stands before it that could hide it, and no table begins
    ends = accumulate(len(line) + 1 for line in lines)
    read = lines[: sum(end <= PARSED_LENGTH_MAX for end in ends)]
    return _find_in_markdown(read, [index for index in wanted if index < len(read)])


def _find_in_markdown(lines: Sequence[str], indices: Sequence[int]) -> int | None:
    """Return the first line that is shown as said, in a text that can be read.

    Their ``/`` is escaped: only where it is text, and no code or HTML, the escape isn't shown.
    """
    if not indices:
        return None
    marked = list(lines)
    used = (len(match) for line in lines for match in _MARKS.findall(line))
    word = "fyre" + "z" * (max(used, default=-1) + 1)  # which stands nowhere in the comment
    for index in indices:
        marked[index] = f"\\/{word}{index}q{lines[index][len('/fyre') :]}"
    shown = re.compile(rf"(?<!\\)/{word}(\d+)q")
    text = replace_invalid_utf8("\n".join(marked))
    said = set.intersection(*(_shown_indices(html, shown) for html in _render_readings(text)))
    return min(said, default=None)


def _render_readings(text: str) -> set[str]:
    """Return the text as HTML that browsers may be given: what is said is so by each of them."""
    from fyre.controller.comments import github_markdown  # loaded only for what may be a command

    extensions = github_markdown.EXTENSIONS
    html = _cut_html(github_markdown.render_html(text, extensions))
    filtered = github_markdown.render_html(text, (*extensions, github_markdown.TAG_FILTER))
    return {
        html,
        _cut_html(filtered),
        # Pictures and formulas end where a paragraph begins, and what has no cell leaves a table.
        _REORDERED_TAG.sub(r"\1object", html),
        _BOGUS_COMMENT.sub("&lt;", html),  # which older parsers show as text
    }


def _cut_html(html: str) -> str:
    """Return HTML up to a tag that goes on in the next block, or is nested too deeply.

    Readers do not agree on such a tag, which only HTML of the comment's own can be.
    """
    depth = 0
    for tag in _TAG.finditer(html):
        if not tag["name"]:
            continue
        if tag["name"].lower() not in _VOID_ELEMENTS:
            depth += -1 if tag["slash"] else 1
        if depth > _DEPTH_MAX or "\n<" in tag[0] or not tag[0].endswith(">"):
            return html[: tag.start()]
    return html


def _shown_indices(html: str, word: re.Pattern[str]) -> set[int]:
    """Return the indices of the words that a browser shows, outside of all that hides them."""
    from selectolax.lexbor import LexborHTMLParser

    said: set[int] = set()
    for text in _shown_paragraphs(LexborHTMLParser(html).root):
        said |= {int(index) for index in word.findall(_drop_formulas(text))}
    return said


def _shown_paragraphs(root: LexborNode | None) -> Iterator[str]:
    """Yield the text of each paragraph that is shown."""
    texts: list[str] = []
    for node in _shown_nodes(root):
        if node.is_text_node:
            texts.append(node.text_content or "")
        elif node.tag in _PARAGRAPHS:
            yield "".join(texts)
            texts.clear()
    yield "".join(texts)


def _shown_nodes(root: LexborNode | None) -> Iterator[LexborNode]:
    """Yield the nodes of a tree that stand in no element that hides them."""
    hiding: set[int] = set()
    closed: set[int] = set()  # of which no summary came yet
    for node in root.traverse(include_text=True) if root else ():
        parent = node.parent.mem_id if node.parent else 0
        if parent in hiding and not (node.tag == "summary" and parent in closed):
            hiding.add(node.mem_id)
            continue
        closed.discard(parent)
        if node.is_text_node:
            yield node
        elif node.tag in _HIDING_ELEMENTS or _HIDING_ATTRIBUTES & node.attributes.keys():
            hiding.add(node.mem_id)
        else:
            if node.tag in _CLOSED_ELEMENTS and "open" not in node.attributes:
                hiding.add(node.mem_id)
                closed.add(node.mem_id)
            yield node


def _drop_formulas(text: str) -> str:
    """Return a text without the inside of what GitHub shows as mathematics."""
    parts, position = [], 0
    for start, end in sorted(_find_formulas(text)):
        parts.append(text[position : max(position, start)])
        position = max(position, end)
    return "$".join([*parts, text[position:]])


def _find_formulas(text: str) -> list[tuple[int, int]]:
    """Return what GitHub shows as mathematics: what two "$$" enclose, or two "$" beside a word.

    What a "$$" begins goes on to the paragraph's end.
    """
    marks = [match.start() for match in re.finditer(r"\$\$", text)]
    formulas = list(zip(marks[::2], [*marks[1::2], len(text)], strict=False))
    begun: int | None = None
    for at in (match.start() for match in re.finditer(r"(?<!\$)\$(?!\$)", text)):
        before, after = text[max(0, at - 1) : at], text[at + 1 : at + 2]
        if begun is None:
            begun = at if not before.isalnum() and after.strip() else None
        elif before.strip() and not after.isalnum():
            formulas.append((begun, at))
            begun = None
    return formulas
