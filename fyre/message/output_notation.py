"""The notation of an output: which files of the checkout are kept when the command has ended. Pure.

``model.pt`` a file, ``ckpt/`` a directory with all that is below it, ``plots/*.png`` a pattern
(``*``, ``?``, ``[…]`` within a name, ``**`` over directories); ``?`` in front of any of them says
that it need not be there.
"""

from __future__ import annotations

from dataclasses import dataclass

from fyre.message.value_parsers import BadValueError

OUTPUT_MAX = 4096
"""Bytes of one output: the longest path that Linux opens (PATH_MAX)."""

ANY_FOLDERS_MAX = 2
"""Times that ``**`` may stand in one pattern: each goes through the whole tree once more."""

_WRITE_IT = "write it like model.pt, ckpt/ or plots/*.png"


@dataclass(frozen=True, slots=True)
class DeclaredOutput:
    """One output that a run declares. ``path`` is relative to the checkout, without a final ``/``.

    A pattern or a directory may match any number of files.
    """

    path: str
    is_optional: bool = False
    is_directory: bool = False

    @property
    def is_pattern(self) -> bool:
        """True if the path is a pattern of names."""
        return any(char in self.path for char in "*?[")


def parse_output(text: str) -> str:
    """Return the text of an output that ``read_output`` reads. Raises ``BadValueError``."""
    if " -> " in text:
        raise BadValueError(
            "an output at a URL is not supported yet", "leave ' -> ' and the URL out: it is kept"
        )
    if text.startswith(">"):
        raise BadValueError(
            "to keep what a command prints as a file is not supported yet",
            "write it in the command: python eval.py | tee eval.txt",
        )
    read_output(text)
    return text


def read_output(text: str) -> DeclaredOutput:
    """Return what a text declares. Raises ``BadValueError`` for no path inside the checkout."""
    is_optional = text.startswith("?")
    path = text.removeprefix("?")
    parts = path.rstrip("/").split("/")
    if not path.strip("/") or path.startswith("/") or "." in parts or ".." in parts or "" in parts:
        raise BadValueError(f"{text[:60]!r} is not a path inside the checkout", _WRITE_IT)
    if any(part.lower() == ".git" for part in parts):
        raise BadValueError("what is in .git is no output", _WRITE_IT)
    if parts.count("**") > ANY_FOLDERS_MAX:
        raise BadValueError(f"it has '**' more than {ANY_FOLDERS_MAX} times", _WRITE_IT)
    if any(char in path for char in "\0\n\r") or len(path.encode(errors="replace")) > OUTPUT_MAX:
        raise BadValueError("the path is too long, or holds a line break or a NUL", _WRITE_IT)
    return DeclaredOutput("/".join(parts), is_optional, path.endswith("/"))


def below(prefix: str, text: str) -> str:
    """Return the text of an output that is written from a directory: ``prefix`` ends with ``/``."""
    is_optional = text.startswith("?")
    return "?" * is_optional + prefix + text.removeprefix("?") if text.strip("?/") else text
