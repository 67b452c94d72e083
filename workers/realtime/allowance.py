"""How many frames a client may send. Pure, but for the clock.

An honest client acknowledges each event as it comes, as fast as events come; so these frames count for less than those that
ask for something.
"""

from __future__ import annotations

import time
from typing import Final

from contracts.realtime.requests import Ack, ClientFrame, Read

FRAMES_A_SECOND: Final = 100.0  # that a client may send in the long run
FRAMES_AT_ONCE: Final = 300.0
MARKS_A_FRAME: Final = 10  # frames that acknowledge, which count for one


class Allowance:
    """What one client may still send."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = FRAMES_AT_ONCE
        self._at = time.monotonic()

    def take(self, frame: ClientFrame | None) -> bool:
        """Whether the client may send the frame; None is one that cannot be read."""
        cost = 1 / MARKS_A_FRAME if isinstance(frame, Ack | Read) else 1.0
        now = time.monotonic()
        self._left = min(FRAMES_AT_ONCE, self._left + (now - self._at) * FRAMES_A_SECOND)
        self._at = now
        if self._left < cost:
            return False
        self._left -= cost
        return True
