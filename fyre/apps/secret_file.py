"""A secret from a file or a variable; its origin may be shown, its value never."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fyre.errors import UserError


class Secret:
    """A secret that is read again at each use, so that a new value in its file is used at once.

    The value is never shown, not even by ``repr``.
    """

    def __init__(
        self, description: str, origin: str, *, path: Path | None = None, value: str = ""
    ) -> None:
        """``description`` and ``origin`` (where the secret was given) are for error messages.

        Raises ``UserError`` if the secret is empty or can't be read.
        """
        self.description, self.origin = description, origin
        self._path, self._last_value = path, value.strip()
        if path is not None:
            try:
                self._last_value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not text"
                raise UserError(
                    f"{origin}: {description} can't be read: {path}: {reason}",
                    hint="is the file mounted?",
                ) from error
        if not self._last_value:
            raise UserError(f"{origin}: {description} is empty", hint="put the secret there")

    def read_secret(self) -> str:
        """Return the secret; the last known value while its file can't be read."""
        if self._path is not None:
            with suppress(OSError, UnicodeDecodeError):  # the volume may just be replaced
                self._last_value = (
                    self._path.read_text(encoding="utf-8").strip() or self._last_value
                )
        return self._last_value

    def read_lines(self) -> list[bytes]:
        """Return one secret for each line."""
        return [line.strip().encode() for line in self.read_secret().splitlines() if line.strip()]

    def __repr__(self) -> str:
        return f"<{self.description} from {self.origin}>"
