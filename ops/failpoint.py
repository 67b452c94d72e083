"""Places where a test lets a worker die: ROLLCALL_FAILPOINT=<name>:<n> kills it at the n-th passing of that point."""

from __future__ import annotations

import os
import signal

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
