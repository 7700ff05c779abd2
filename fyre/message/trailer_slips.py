"""Find last paragraphs that a person meant as ``Fyre-*`` trailers, and that ask for nothing. Pure.

These slips are too close to prose to be refused or fixed as near misses are: a note names them, and
the commit is made. Each line of the paragraph must be a slip or a trailer. What is quoted, indented
or in a list only talks about trailers.
"""

from __future__ import annotations

import re

from fyre.message import near_misses, request, trailers

_OTHER_HYPHENS = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_BEGINNING = re.compile(r"(?:\*\*|__|[*_`])?[A-Za-z]")
_MARKED = re.compile(r"(\*\*|__|[*_`])(.+?)\1(.*)")
_WITH_COLON = re.compile(r"(?:fyre|fire|frye)[- _]?([a-z]+) ?: *(\S.*)", re.IGNORECASE)
_NO_COLON = re.compile(r"Fyre-([A-Z][a-z]+) +(\S|\S.*[^.!?,;:])")
_KEYS = {key.lower().removeprefix("fyre-"): key for key in request.TRAILER_KEYS}


def list_notes(message: str) -> list[str]:
    """Return a note for each slip of a message; none where a line there is plain prose."""
    lines = trailers.message_lines(message)
    while lines and trailers.is_blank_line(lines[-1]):
        lines.pop()
    start = 1 + max(
        (index for index, line in enumerate(lines) if trailers.is_blank_line(line)), default=-1
    )
    if start <= trailers.title_end(lines):
        return []
    known = {near_miss.line - 1 for near_miss in near_misses.find_near_misses(message)}
    meant = {
        index: spelt
        for index, line in enumerate(lines[start:], start)
        if index not in known and (spelt := _correct_slip(line))
    }
    rest = [index for index in range(start, len(lines)) if index not in meant]
    if not all(trailers.is_trailer_line(lines[index]) for index in rest):
        return []
    return [
        f"line {index + 1} asks for nothing: {lines[index][:60]!r}; write {spelt[:60]}"
        for index, spelt in meant.items()
    ]


def _correct_slip(line: str) -> str:
    """Return the trailer that a line was meant to be; "" if it is one, or is prose."""
    if not _BEGINNING.match(line):
        return ""
    text = _OTHER_HYPHENS.sub("-", line).replace("\N{FULLWIDTH COLON}", ":")
    text = text.replace("\N{NO-BREAK SPACE}", " ").strip()
    if marked := _MARKED.fullmatch(text):
        if ": " in marked[2] and marked[3]:
            return ""  # "`Fyre-Run: true` asks for a run"
        text = marked[2] + marked[3]
    match = _WITH_COLON.fullmatch(text) or _NO_COLON.fullmatch(text)
    name = _KEYS.get(match[1].lower(), "") if match else ""
    is_trailer = name and line.lower().startswith(f"{name.lower()}:")
    return f"{name}: {match[2]}" if match and name and not is_trailer else ""
