"""Text of other people's in GitHub's Markdown, shown as it is. Pure."""

from __future__ import annotations

import html


def code_span(text: str, max_length: int | None = None) -> str:
    """A code span on one line, of ``most`` characters of the text: it formats nothing, links nothing, mentions nobody
    and ends no cell of a table.
    """
    line = html.escape(
        " ".join(text.encode(errors="replace").decode().split())[:max_length], quote=False
    )
    for char in "\\`@|[]*_~$":
        line = line.replace(char, f"&#{ord(char)};")
    return f"<code>{line}</code>"
