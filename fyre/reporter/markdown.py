"""Show text that other people wrote as it is, in GitHub's Markdown. Pure."""

from __future__ import annotations

import html


def code_span(text: str, max_length: int | None = None) -> str:
    """Return a code span on one line, of at most ``max_length`` characters of the text.

    The text formats nothing, links nothing, mentions nobody and ends no cell of a table.
    """
    words = text.encode(errors="replace").decode().split()
    line = html.escape(" ".join(words)[:max_length], quote=False)
    for char in "\\`@|[]*_~$":
        line = line.replace(char, f"&#{ord(char)};")
    return f"<code>{line}</code>"
