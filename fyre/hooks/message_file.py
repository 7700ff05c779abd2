"""The message file that git gives to a hook, comments included, and what git keeps of it."""

from __future__ import annotations

import os

from fyre import hooks
from fyre.message import compose, near_misses, trailers

_SCISSORS_LINE = " ------------------------ >8 ------------------------"


class MessageDraft:
    """A message before it is committed.

    ``text`` is the file as it is, ``kept_text`` the part that git will commit.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        # pathlib would cost more time than all the rest of a hook
        with open(path, "rb") as file:  # noqa: PTH123
            self.text = file.read().decode(errors="surrogateescape")
        self.comment_string = ""
        self.kept_text = self._strip_uncommitted()

    def _strip_uncommitted(self) -> str:
        settings = hooks.git_output(
            "config", "--get-regexp", r"^(commit\.cleanup|core\.comment(char|string))$"
        )
        config = dict(line.split(" ", 1) for line in settings.splitlines() if " " in line)
        # git sets GIT_EDITOR=: for its hooks if no editor opens, and then it keeps lines that look
        # like comments.
        cleanup = config.get("commit.cleanup", "default")
        edited = os.environ.get("GIT_EDITOR") != ":"
        if cleanup in ("verbatim", "whitespace") or (cleanup != "strip" and not edited):
            return self.text
        char = config.get("core.commentstring") or config.get("core.commentchar") or "#"
        self.comment_string = self._auto_comment_char() if char == "auto" else char
        return near_misses.strip_comments(self.text, self.comment_string)

    def _auto_comment_char(self) -> str:
        """Return the character that git chose for ``auto``: the first one of its own last line."""
        last_line = next((line for line in reversed(self.text.split("\n")) if line.strip()), "#")
        return last_line[0] if last_line[0] in "#;@!$%^&|:" else "#"

    def find_line(self, trailer: trailers.Trailer) -> int:
        """Return the index of the trailer's line in the file; -1 if the file has no such line."""
        trailer_line = self.kept_text.split("\n")[trailer.line - 1].rstrip()
        lines = compose.split_lines(self.text)
        scissors = (
            n
            for n, line in enumerate(lines)
            if self.comment_string and line.startswith(self.comment_string + _SCISSORS_LINE)
        )
        message_lines = lines[: next(scissors, len(lines))]
        return next(
            (
                n
                for n in reversed(range(len(message_lines)))
                if message_lines[n].rstrip() == trailer_line
            ),
            -1,
        )

    def write_lines(self, lines: list[str]) -> None:
        """Write these lines to the file as they are."""
        with open(self.path, "wb") as file:  # noqa: PTH123 - as above
            file.write("".join(lines).encode(errors="surrogateescape"))

    @property
    def git_dir(self) -> str:
        """The directory in which git keeps the file, and the state of a rebase or merge."""
        return os.environ.get("GIT_DIR") or os.path.dirname(self.path)  # noqa: PTH120 - as above
