"""A secret: where it comes from may be told, what it is never is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fyre.errors import UserError


class Secret:
    """Read anew at each use, so that one that is replaced in its file holds at once. Never shown, not even by repr."""

    def __init__(
        self, description: str, origin: str, *, path: Path | None = None, value: str = ""
    ) -> None:
        """``what`` it is and ``origin``, where it was said, are for errors. Raises ``UserError`` where it is empty."""
        self.description, self.origin, self._path, self._last_value = (
            description,
            origin,
            path,
            value.strip(),
        )
        if path is not None:
            try:
                self._last_value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "not text"
                raise UserError(
                    f"{origin}: {description} can't be read: {path}: {why}",
                    hint="is the file mounted?",
                ) from error
        if not self._last_value:
            raise UserError(f"{origin}: {description} is empty", hint="put the secret there")

    def read_secret(self) -> str:
        """The secret; the one before while its file can't be read."""
        if self._path is not None:
            with suppress(OSError, UnicodeDecodeError):  # a volume that is being replaced
                self._last_value = (
                    self._path.read_text(encoding="utf-8").strip() or self._last_value
                )
        return self._last_value

    def read_lines(self) -> list[bytes]:
        """A secret for each line."""
        return [line.strip().encode() for line in self.read_secret().splitlines() if line.strip()]

    def __repr__(self) -> str:
        return f"<{self.description} from {self.origin}>"
