"""Doing something periodically in a loop that does other things too."""

from __future__ import annotations

import time


class Due:
    """Whether something that is done every so many seconds is due; at first it is."""

    __slots__ = ("_every", "_next")

    def __init__(self, every: float) -> None:
        self._every = every
        self._next = -float("inf")

    def now(self) -> bool:
        """True once a period."""
        moment = time.monotonic()
        if moment < self._next:
            return False
        self._next = moment + self._every
        return True

    def in_(self, seconds: float) -> None:
        """Make it due then."""
        self._next = time.monotonic() + seconds
