"""What goes on beside a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


@contextlib.asynccontextmanager
async def beside(work: Callable[[], Awaitable[object]], pause: float = 0.01) -> AsyncIterator[None]:
    """Work that is done over and over until the block ends, the last time to its end. What it raises is raised there."""
    ended = asyncio.Event()

    async def over_and_over() -> None:
        while not ended.is_set():
            await work()
            await asyncio.sleep(pause)

    task = asyncio.create_task(over_and_over())
    try:
        yield
    finally:
        ended.set()
        await task
