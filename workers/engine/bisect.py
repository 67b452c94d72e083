"""Finding the messages that a batch cannot be applied with. Pure: what applying means is the caller's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from workers.engine.record import Applied

T = TypeVar("T")


class Poison(Exception):
    """Raised by an attempt that left no trace: these messages cannot be applied together. The cause says why."""


async def settle(
    messages: Sequence[T],
    attempt: Callable[[Sequence[T]], Awaitable[Applied]],
    bury: Callable[[T, Poison], Awaitable[Applied]],
) -> Applied:
    """Apply messages in order, halving what raises Poison; a message that raises it alone is buried.

    One poison in n messages costs at most 2·log2(n) + 1 attempts. The outcomes are in the order of the messages.
    """
    try:
        return await attempt(messages)
    except Poison as poison:
        if len(messages) == 1:
            return await bury(messages[0], poison)
    return await settle_halves(messages, attempt, bury)


async def settle_halves(
    messages: Sequence[T],
    attempt: Callable[[Sequence[T]], Awaitable[Applied]],
    bury: Callable[[T, Poison], Awaitable[Applied]],
) -> Applied:
    """The same for messages whose attempt together is known to fail."""
    middle = len(messages) // 2
    first = await settle(messages[:middle], attempt, bury)
    second = await settle(messages[middle:], attempt, bury)
    return Applied(first.outcomes + second.outcomes, first.events + second.events)
