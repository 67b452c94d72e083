"""The inbox worker with a handler that fails: on every message whose text holds ``MARK``."""

from __future__ import annotations

import sys
from typing import Any

import uvloop

import workers.inbox
from ops.settings import load
from workers.fleet import FLEET
from workers.host import run

MARK = "POISON"

_handle = workers.inbox.handle


def _failing(scratch: Any, inbound: Any, opened: Any) -> Any:
    answer = _handle(scratch, inbound, opened)  # fail half-way, with changes in hand
    if MARK in (inbound.item.description or ""):
        raise RuntimeError("a handler's own failure")
    return answer


if __name__ == "__main__":
    workers.inbox.handle = _failing
    sys.exit(uvloop.run(run(FLEET["inbox"], load())))
