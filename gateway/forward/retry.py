"""How long to wait before the next attempt.

Exponential backoff with full jitter: a random time between nothing and a ceiling that doubles with each failure, so
that many senders who failed together do not come back together. Source: M. Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015. A wait that the server asks for is the least that is waited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LONGEST_ASKED_SECONDS: Final = 300.0
"""A Retry-After beyond this is not believed."""
_MOST_DOUBLINGS: Final = 30


class Backoff:
    """The waits of one sequence of failures. `random` returns floats in [0, 1)."""

    def __init__(self, least: float, most: float, random: Callable[[], float]) -> None:
        self._least, self._most, self._random = least, most, random
        self.failures = 0

    def delay(self, asked: float | None = None) -> float:
        """Seconds to wait after one more failure; `asked` is what the server said in Retry-After."""
        ceiling = min(self._most, self._least * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        jittered = self._random() * ceiling
        return jittered if asked is None else min(max(asked, 0.0), LONGEST_ASKED_SECONDS) + jittered

    def reset(self) -> None:
        """After a success."""
        self.failures = 0
