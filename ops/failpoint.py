"""Places where a test lets a worker die: ROLLCALL_FAILPOINT=<name>:<n> kills it at the n-th passing of that point."""

from __future__ import annotations

import os
import signal
from typing import Final

# Every name that is passed anywhere: any other would never kill, and a test of a crash would pass without one.
POINTS: Final = (
    "after_read",
    "before_commit",
    "after_commit",
    "after_intent",
    "between_publish_and_mark",
    "before_bulk",
    "after_bulk",
    "rebuild_made",
    "rebuild_begun",
    "rebuild_chunk_written",
    "rebuild_chunk_saved",
    "rebuild_filled",
    "rebuild_checked",
    "rebuild_alias_moved",
    "rebuild_live",
    "rebuild_dropped",
)

_name, _, _count = os.environ.get("ROLLCALL_FAILPOINT", "").partition(":")
_left = int(_count) if _count.isdecimal() else 0


def hit(name: str) -> None:
    """Pass a point. SIGKILL, so that nothing of the process gets to tidy up."""
    global _left  # noqa: PLW0603 - one countdown a process is the meaning of the variable
    if name != _name or _left <= 0:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
