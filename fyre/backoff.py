"""Exponential backoff: the pause before something that failed is tried again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

_EXPONENT_MAX = 64  # by then every pause has its maximum; a float's power overflows at 1024


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses in seconds: ``first``, then ``factor`` times as long each time, at most ``most``."""

    first: float
    most: float
    factor: float = 2.0
    jitter: float = 0.0  # random share of a pause, so that callers that failed together spread out

    def after(self, pause: float) -> float:
        """Return the pause that follows one of ``pause`` seconds; the first one after 0."""
        return min(pause * self.factor, self.most) if pause else self.first

    def nth(self, number: int) -> float:
        """Return the pause number ``number``, counted from 0, without jitter."""
        return min(self.first * self.factor ** min(number, _EXPONENT_MAX), self.most)

    def with_jitter(self, pause: float) -> float:
        """Return a pause with its jitter: at most ``pause``, at least all of it but that share."""
        return pause * random.uniform(1.0 - self.jitter, 1.0)  # noqa: S311 - to spread out, not to be secret
