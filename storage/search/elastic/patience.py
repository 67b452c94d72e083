"""Asking Elasticsearch again while it cannot answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from storage.search.elastic.bulk import Retry
from storage.search.elastic.indexes import Gone

PATIENCE: Final = 60.0  # seconds, of one question
PAUSES: Final = (0.25, 5.0)  # seconds between two tries: the first, the longest

T = TypeVar("T")


async def patiently(
    ask: Callable[[], Awaitable[T]], waiting: Callable[[Retry], None] = lambda _why: None
) -> T:
    """What ``ask`` answers in the end; ``waiting`` is told of every try that fails. Raises Retry after PATIENCE, Gone at once."""
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE
    pause, longest = PAUSES
    while True:
        try:
            return await ask()
        except Gone:
            raise
        except Retry as error:
            if clock() > until:
                raise
            waiting(error)
        await asyncio.sleep(random.uniform(0.5, 1) * pause)
        pause = min(2 * pause, longest)
