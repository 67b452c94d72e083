"""A rebuild's progress, for a test that does something in the middle of it."""

from __future__ import annotations

import asyncio


class Halfway:
    """``reached`` is set when half of the contacts are written; the rebuild goes on meanwhile."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, step: str, done: int, total: int) -> None:
        self.told.append((step, done, total))
        if step == "filling" and 0 < done >= total // 2:
            self.reached.set()
