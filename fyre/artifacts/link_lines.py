"""Read the links that a command named: lines of ``title url``, such as a tracker's page."""

from __future__ import annotations

LINKS_SIZE = 256 * 1024
"""Bytes that are read of the file of links."""

LINKS_MAX = 20
"""Links of one run."""

_LINE_MAX = 2000  # characters


def parse_links(text: str) -> tuple[tuple[str, str], ...]:
    """Return the links, each as title and URL; lines that are none are passed over."""
    links = []
    for line in text.splitlines():
        title, _, url = line.strip().rpartition(" ")
        is_web = url.startswith(("https://", "http://"))
        if is_web and url.isprintable() and len(line) <= _LINE_MAX:
            shown = "".join(char for char in title if char.isprintable()).strip()
            links.append((shown or url, url))
    return tuple(links[:LINKS_MAX])
