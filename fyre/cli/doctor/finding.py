"""A finding of `fyre doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``fix`` is empty if all is well."""

    what: str
    fix: str = ""

    @property
    def is_ok(self) -> bool:
        """Return True if there is nothing to fix."""
        return not self.fix
