"""The file in which git hands a message to a hook: comments, scissors and all, and what git will keep of it."""

from __future__ import annotations

import os

from fyre import hooks
from fyre.message import compose, near_misses, trailers

_SCISSORS_LINE = " ------------------------ >8 ------------------------"


class MessageDraft:
    """A message under way. ``text`` is the file as it is, ``kept`` what git will commit of it."""

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs more than all the rest of a hook
            self.text = file.read().decode(errors="surrogateescape")
        self.comment_string = ""
        self.kept_text = self._strip_uncommitted()

    def _strip_uncommitted(self) -> str:
        settings = hooks.git_output(
            "config", "--get-regexp", r"^(commit\.cleanup|core\.comment(char|string))$"
        )
        of = dict(row.split(" ", 1) for row in settings.splitlines() if " " in row)
        # git says GIT_EDITOR=: to its hooks when nobody edits, and then it keeps lines that look like comments.
        cleanup = of.get("commit.cleanup", "default")
        edited = os.environ.get("GIT_EDITOR") != ":"
        if cleanup in ("verbatim", "whitespace") or (cleanup != "strip" and not edited):
            return self.text
        char = of.get("core.commentstring") or of.get("core.commentchar") or "#"
        self.comment_string = self._auto_comment_char() if char == "auto" else char
        return near_misses.strip_comments(self.text, self.comment_string)

    def _auto_comment_char(self) -> str:
        """The character that git chose for ``auto``: that of its own last line."""
        last = next((row for row in reversed(self.text.split("\n")) if row.strip()), "#")
        return last[0] if last[0] in "#;@!$%^&|:" else "#"

    def find_line(self, trailer: trailers.Trailer) -> int:
        """The index of the trailer's line in the file; -1 where the file has no such line."""
        wanted = self.kept_text.split("\n")[trailer.line - 1].rstrip()
        rows = compose.split_lines(self.text)
        ends = (
            n
            for n, row in enumerate(rows)
            if self.comment_string and row.startswith(self.comment_string + _SCISSORS_LINE)
        )
        own = rows[: next(ends, len(rows))]
        return next((n for n in reversed(range(len(own))) if own[n].rstrip() == wanted), -1)

    def write_lines(self, lines: list[str]) -> None:
        """Put these lines into the file, nothing changed in them."""
        with open(self.path, "wb") as file:  # noqa: PTH123 - as above
            file.write("".join(lines).encode(errors="surrogateescape"))

    @property
    def git_dir(self) -> str:
        """Where git keeps the file, and what else is under way."""
        return os.environ.get("GIT_DIR") or os.path.dirname(self.path)  # noqa: PTH120 - as above
