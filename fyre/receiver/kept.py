"""Answers that are kept for a while, so that nobody is asked twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Kept:
    """At most ``most`` answers, each for ``seconds``; an error is no answer. One thread's."""

    seconds: float
    most: int
    clock: Callable[[], float] = time.monotonic
    _answers: dict[Hashable, tuple[float, Any]] = field(default_factory=dict)  # the oldest first

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer to a question: the one that is kept, else what ``ask`` says. Raises what ``ask`` raises."""
        known = self._answers.get(question)
        if known is not None and self.clock() < known[0] + self.seconds:
            found: T = known[1]
            return found
        answer = ask()
        self._answers.pop(question, None)
        self._answers[question] = self.clock(), answer
        while len(self._answers) > self.most:
            del self._answers[next(iter(self._answers))]
        return answer
