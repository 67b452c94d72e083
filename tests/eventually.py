"""Waiting for what another process does."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    predicate: Callable[[], T | Awaitable[T]], timeout: float = 30, interval: float = 0.02, what: str = ""
) -> T:
    """Poll until the predicate (plain or async) answers something true, and return that.

    An AssertionError raised by the predicate counts as "not yet". Raises AssertionError after ``timeout`` seconds,
    with the last answer or the last failed assertion.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen: object
        try:
            answer = predicate()
            value: T = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            seen = value
        except AssertionError as error:
            seen = error
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{what or 'condition'} did not hold within {timeout} s; last seen: {seen!r}"
            )
        await asyncio.sleep(interval)
